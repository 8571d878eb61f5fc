"""A company whose people get other ids: rows with anonymous ids in its snapshots, aliases in its archive."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.domain.change import FALSE_FIRST
from windsor_sync.domain.run import Run
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet
from windsor_sync.usecases.diff_and_guard import planned
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.request import Request as SyncRequest

Row = tuple[str, str]
"""User id and anonymous id, each maybe empty."""


class People:
    """A world with an archive, and short names for what happens to its people."""

    def __init__(self, world: World, key: str = KEY, events: Mapping[str, Any] | None = None, **entry: Any) -> None:
        """`entry` and `events`: settings of the audience (or of the computed trait that `key` names) and of the events."""
        self.world = world
        self.key = key
        world.document["audiences" if key == KEY else "computed_traits"][0] |= entry
        self.archive = Archive(world, **(events or {}))

    def snapshot(self, *rows: Row | str) -> Path:
        """Write a newer download; text is a user id alone."""
        pairs = [(row, "") if isinstance(row, str) else row for row in rows]
        return self.world._write("audience", ("user_id", "anonymous_id"), pairs)

    def download(self, *rows: tuple[str, str, str, str]) -> Path:
        """Write a newer download of (user id, anonymous id, e-mail, value)."""
        if self.key == KEY:
            return self.world._write("audience", ("user_id", "anonymous_id", "email"), [row[:3] for row in rows])
        return self.world._write("trait", ("user_id", "anonymous_id", "email", "value"), rows)

    def alias(self, *pairs: tuple[str, str]) -> list[Run]:
        """Forward an alias a pair: previous id, user id."""
        self.archive.write([self.archive.message("alias", user, previousId=previous) for previous, user in pairs])
        return self.forward()

    def forward(self, **request: Any) -> list[Run]:
        return forward(self.world.workspace, ForwardRequest(**request), self.world.stop)

    def sync(self, **request: Any) -> Run:
        run = self.world.sync(self.key, SyncRequest(**request) if request else None)
        run.books.check(run.run_id)
        return run

    def planned(self) -> int:
        """How many messages a sync would send now."""
        with planned(self.world.workspace, self.world.computation(self.key), SyncRequest()) as prepared:
            return len(list(prepared.messages()))

    def shown(self, name: str) -> Any:
        """What Windsor shows of the person whom an id names; None where it knows nothing."""
        user = self.world.windsor.store.user(name)
        return None if user is None else user.properties.get(self.key)

    def show(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self.shown(name) for name in names}

    def told_by(self, run: Run) -> list[tuple[str, Any]]:
        """(id, value) of the messages of a run, in their order."""
        assert run.outbox is not None
        rows = f"SELECT coalesce(user_id, anonymous_id), change FROM {parquet(self.world.workspace.files.location(run.outbox))}"
        with open_duckdb() as connection:
            found = connection.execute(f"{rows} ORDER BY seq").fetchall()
        return [(name, change not in FALSE_FIRST) for name, change in found]
