"""A company whose processes may die, and its audience or computed trait as a test has set it up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select, update

from tests.chaos.mortal import Life, Message, mortal
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.settings import Computation
from windsor_sync.state.ledger import Head
from windsor_sync.state.tables import installation, leases, runs, snapshots
from windsor_sync.storage.duckdb_engine import open_duckdb, quoted
from windsor_sync.usecases.workspace import Workspace

HASTY = EngineLimits(
    checkpoint_rows=2,
    give_up_after_s=0.05,
    rejections_to_stop=4,
    first_backoff_s=0.001,
    longest_backoff_s=0.01,
    tries_in_turn=2,
    rows_put_off=2,
)
"""Checkpoints, give-ups and rows put off, all of them with a handful of users."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What windsor.yaml says."""

    is_trait: bool = False
    sends_null: bool = False
    """a computed trait: `on_missing: null`"""
    identify_by: str = "user_id"
    emails: str = "first"
    guard_floor: int = 0
    max_entered_percent: float | None = None
    delivery_shards: int = 1
    max_in_flight: int = 1

    @property
    def key(self) -> str:
        """The trait this is about."""
        return TRAIT_KEY if self.is_trait else KEY

    @property
    def sends_exits(self) -> bool:
        """Whether Windsor is told of those who left."""
        return self.sends_null or not self.is_trait

    @property
    def absent(self) -> bool | None:
        """What Windsor is told of those who left."""
        return None if self.is_trait else False


class Row(NamedTuple):
    """A member as the snapshot has one."""

    emails: tuple[str, ...] = ()
    value: Any = True


Members = Mapping[str, Row]


class Company(World):
    """One audience or computed trait; a process that dies is replaced by `reopen`."""

    def __init__(
        self,
        folder: Path,
        windsor: Sandbox,
        setup: Setup,
        *,
        name: str = "windsor",
        installed_as: str = "chaos",
        **document: Any,
    ) -> None:
        super().__init__(folder, windsor, name=name, max_in_flight=setup.max_in_flight, timeout_s=2)
        self.document |= document
        self.setup = setup
        self.life = Life()
        self.downloads: list[tuple[Path, Members]] = []
        self._mortal: Workspace | None = None
        self.document["defaults"] = {
            "guard_floor": setup.guard_floor,
            "max_age": None,
            "max_entered_percent": setup.max_entered_percent,
            "identify_by": setup.identify_by,
            "emails": setup.emails,
        }
        self.entry_of_yaml["delivery_shards"] = setup.delivery_shards
        if setup.sends_null:
            self.entry_of_yaml["on_missing"] = None
        self._name_the_installation(installed_as)

    @property
    def entry_of_yaml(self) -> dict[str, Any]:
        """The audience's or computed trait's own part of windsor.yaml."""
        entry: dict[str, Any] = self.document["computed_traits" if self.setup.is_trait else "audiences"][0]
        return entry

    def _name_the_installation(self, name: str) -> None:
        """Always the same, so that the same steps have the same messageIds, and with them the same faults."""
        with self.workspace.database.write() as connection:
            connection.execute(update(installation).values(id=name))

    @property
    def workspace(self) -> Workspace:
        """Opened once, in a process that lives as long as `life`."""
        if self._mortal is None:
            self._mortal = self.alive(super().workspace, self.life)
        return self._mortal

    def alive(self, workspace: Workspace, life: Life) -> Workspace:
        """The workspace of a process with that life."""
        limits = replace(HASTY, max_in_flight=self.setup.max_in_flight)
        return mortal(replace(workspace, engine_limits=limits), life, self.setup.key)

    def reopen(self) -> None:
        """Another process; it has waited until the leases of a dead one were over."""
        self.life.moments_left = None
        if self._mortal is not None:
            with self._mortal.database.write() as connection:
                connection.execute(update(leases).values(deadline=datetime.now(UTC) - timedelta(seconds=1)))
        self._mortal = None
        super().reopen()

    @property
    def audience(self) -> Computation:
        """The audience or computed trait as configured."""
        return self.computation(self.setup.key)

    @property
    def wire(self) -> Sequence[Message]:
        """Every message that left so far."""
        return self.life.wire

    def press_stop(self, *_: object) -> None:
        """What a SIGTERM does."""
        self.stop.press()

    def calm(self) -> None:
        """No faults, nobody wants to stop."""
        self.windsor.set_faults(Faults())
        self.stop = CancelToken()

    # -- snapshots -------------------------------------------------------------------------------------------

    def download(self, members: Members) -> Path:
        """Write a newer download of the audience or computed trait; one without a row would be refused."""
        nobody = ("",) * len(self._header)
        path = self._write(self._folder, self._header, [self._cells(*each) for each in members.items()] or [nobody])
        self.downloads.append((path, dict(members)))
        return path

    def failed_download(self) -> Path:
        """Write a newer download that ends after the names of its columns."""
        return self._write(self._folder, self._header, [])

    @property
    def _folder(self) -> str:
        return "trait" if self.setup.is_trait else "audience"

    @property
    def _header(self) -> tuple[str, ...]:
        return ("user_id", "anonymous_id", "email", "email_1") + (("value",) if self.setup.is_trait else ())

    def _cells(self, user: str, row: Row) -> tuple[str, ...]:
        ids = ("", user) if user.startswith("anon") else (user, "")
        emails = (*row.emails, "", "")[:2]
        value = row.value if isinstance(row.value, str) else json.dumps(row.value)
        return (*ids, *emails, *((value,) if self.setup.is_trait else ()))

    # -- the ledger, read beside the product's own reading -----------------------------------------------------

    def unanswered_of_dead(self) -> set[str]:
        """Users whom a run that died may have told something other than that they left, by what it recorded."""
        head = self.workspace.ledger.head(self.row.id) if self.row is not None else None
        return _within_reach(head) if head is not None and head.outbox is not None else set()

    @property
    def most_let_go(self) -> int:
        """How many changes a checkpoint lets go at most, sent or not."""
        return self.setup.max_in_flight + HASTY.checkpoint_rows

    @property
    def row(self) -> Any:
        """The audience in the state; None before its first sync."""
        return next((row for row in self.workspace.registry.known() if row.trait_key == self.setup.key), None)

    @property
    def is_retired(self) -> bool:
        """Whether the audience was retired."""
        return self.row is not None and self.row.retired_at is not None

    def stored_users(self) -> set[str]:
        """Whoever is named in a file that the state knows of."""
        with self.workspace.database.read() as connection:
            paths = {*connection.execute(select(snapshots.c.path)).scalars()}
            paths |= {path for path in connection.execute(select(runs.c.outbox)).scalars() if path is not None}
        files = [self.workspace.files.location(path) for path in sorted(paths)]
        if not files:
            return set()
        with open_duckdb() as connection:
            listed = ", ".join(quoted(path) for path in files)
            rows = connection.execute(
                f"SELECT DISTINCT user_id FROM read_parquet([{listed}], union_by_name = true)"
            ).fetchall()
        return {user for (user,) in rows if user is not None}


def _within_reach(head: Head) -> set[str]:
    parts = [part for shard in head.shards for part in shard.parts()]
    stretches = " OR ".join(f"(seq >= {part.position} AND seq < {part.reach})" for part in parts)
    with open_duckdb() as connection:
        rows = connection.execute(
            f"SELECT coalesce(user_id, anonymous_id) FROM read_parquet({quoted(head.outbox or '')}) "
            f"WHERE change <> 'exited' AND status = 'send' AND ({stretches})"
        ).fetchall()
    return {user for (user,) in rows if user is not None}
