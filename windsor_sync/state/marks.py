"""Marks in the file store, by which a state that is older than its files, or not theirs, is noticed before anything is sent.

Before the first message of a run leaves, a mark with the run's number is put into the store, and another one when its
delivery has ended, with the lease's token. A state that was restored from a backup does not know that run, or has a smaller
token; a new, empty state beside marks of another installation is a state that was lost. A mark holds no user. Those who were
forgotten are kept beside the marks, by a keyed hash, so that a lost or restored state cannot tell them again.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, func, select

from windsor_sync.domain.run import Run
from windsor_sync.domain.suppression import keyed
from windsor_sync.errors import StateUnavailable, StoredFileError
from windsor_sync.settings import Destination
from windsor_sync.settings.addresses import ledger_name
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.database import Database
from windsor_sync.state.leases import Lease, resource_of, tokens
from windsor_sync.state.suppression_key import check_value
from windsor_sync.state.suppressions import require_key
from windsor_sync.state.tables import audiences, suppressions
from windsor_sync.storage.file_store import FileStore

FOLDER = "marks"
FORGOTTEN = "forgotten"

_NAME = re.compile(
    rf"{FOLDER}/(?P<installation>[^/]+)/(?P<audience_id>\d+)-(?P<number>\d+)"
    r"(-ended(-(?P<shard>\d+))?-(?P<token>\d+))?\.json"
)


@dataclass(frozen=True, slots=True)
class MarkPlace:
    """A mark by its name alone."""

    path: str
    installation: str
    audience_id: int
    number: int
    """of the run"""
    shard: int | None = None
    token: int = 0
    """of the lease, when the delivery ended; 0 in a mark of the beginning"""


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of a mark: the run and audience whose messages may have been sent, and their destination."""

    installation: str
    destination: str
    address: str
    """host, port and path of the destination"""
    audience_id: int
    audience: str
    """trait key"""
    computation_class: str
    name: str
    segment_id: str | None
    number: int
    run_id: str
    at: str
    """UTC, ISO 8601"""
    version: int = 1


@dataclass(frozen=True, slots=True)
class ForgottenMark:
    """A user who was forgotten, as the file store keeps them."""

    path: str
    user_hash: str
    check: str | None
    """the check value of the key; None of before there was a key"""

    def kept_hash(self, key: Callable[[], bytes | None]) -> str:
        """Return the hash as the state keeps it; without a key, one of before there was a key stays as it is."""
        found = key() if self.check is None else None
        return self.user_hash if found is None else keyed(found, self.user_hash)


class Marks:
    """The marks of a file store, seen from one state and its destination."""

    def __init__(self, database: Database, files: FileStore, destination: Destination) -> None:
        self._database = database
        self._files = files
        self._destination = destination

    def leave(self, audience_id: int, number: int, run_id: str) -> None:
        """Mark that messages of the run may have been sent from now on; once a run, however many tasks deliver it."""
        self._leave(
            MarkPlace(self._path(f"{audience_id}-{number}"), self._database.installation(), audience_id, number), run_id
        )

    def end(self, lease: Lease, run: Run, shard: int | None = None) -> None:
        """Mark that the delivery of a run, or of one shard, has ended, successfully or not, with its answers in the state.

        A state that was copied in the middle of the delivery has a smaller token. When the mark cannot be written, the run goes
        on; such a copy is then not noticed, as after a delivery that was killed.
        """
        name = f"{run.audience_id}-{run.number}-ended{'' if shard is None else f'-{shard}'}-{lease.turn()}"
        place = MarkPlace(
            self._path(name), self._database.installation(), run.audience_id, run.number, shard, lease.token
        )
        with suppress(StateUnavailable):
            self._leave(place, run.run_id)

    def _path(self, name: str) -> str:
        return f"{FOLDER}/{self._database.installation()}/{name}.json"

    def _leave(self, new: MarkPlace, run_id: str) -> None:
        """Write a mark, and remove the marks that it makes needless."""
        if self._files.exists(new.path):
            return
        with self._database.read() as connection:
            row = connection.execute(select(audiences).where(audiences.c.id == new.audience_id)).one()
        older = self.places()
        self._write(new.path, asdict(self.mark_of(row, new.installation, new.number, run_id)))
        for place in older:
            if _is_needless(place, new):
                self._files.delete(place.path)

    def mark_of(self, row: Row[Any], installation: str, number: int, run_id: str) -> Mark:
        """The mark of a run of an audience, as the state has the audience."""
        return Mark(
            installation=installation,
            destination=row.destination,
            address=ledger_name(self._destination.url),
            audience_id=row.id,
            audience=row.trait_key,
            computation_class=row.computation_class,
            name=row.name,
            segment_id=row.segment_id,
            number=number,
            run_id=run_id,
            at=datetime.now(UTC).isoformat(),
        )

    def require_own(self) -> None:
        """Raise StoredFileError where the state is older than its files, empty beside files of a lost one, or without its key."""
        require_key(self._database)
        if older := self._older():
            raise StoredFileError(
                f"The state is older than the file store: {older}. It was restored from a backup, or `state` names another "
                "database. Nothing was sent. If another database is meant, write its URL as `state`; otherwise run "
                "`windsor-sync recover --state`, then `windsor-sync sync --all`."
            )
        if self.strangers():
            raise StoredFileError(
                "The state is new, and the file store holds what another state has told "
                f"{self._destination.name}. Nothing was sent. If the state was moved, write its URL as `state`. If it is lost, "
                "run `windsor-sync recover --state`, then `windsor-sync sync --all`. A second installation needs `files` of its "
                "own."
            )

    def _older(self) -> str | None:
        """Say what the marks show and the state does not know; None where the state knows everything."""
        for place in self.behind():
            if place.token:
                return f"run {place.number} of {self._name(place)} was delivered further than the state knows"
            return (
                f"messages of run {place.number} of {self._name(place)} were sent, and the state does not know that run"
            )
        forgotten = self.forgotten(self._database.installation())
        with self._database.read() as connection:
            known = set(connection.execute(select(suppressions.c.user_hash)).scalars())
        if all(each.kept_hash(self._database.key.find) in known for each in forgotten):
            return None
        return "it does not know of everyone who was forgotten"

    def behind(self) -> list[MarkPlace]:
        """Return this installation's marks of runs, or of ends of deliveries, that the state does not know; unknown runs first.

        The marks are read first: a run is in the state before it leaves its mark.
        """
        installation = self._database.installation()
        ours = [place for place in self.places() if place.installation == installation]
        with self._database.read() as connection:
            known = {row.id: row for row in connection.execute(select(audiences))}
            held = tokens(connection)
        return sorted(
            (place for place in ours if _is_news(place, known.get(place.audience_id), held)),
            key=lambda place: place.token,
        )

    def strangers(self) -> list[Mark]:
        """Marks of other installations at this destination, where this state has no run of its own; else none."""
        with self._database.read() as connection:
            runs = connection.execute(select(func.coalesce(func.sum(audiences.c.runs), 0))).scalar_one()
        if runs:
            return []
        here = self._destination.name, ledger_name(self._destination.url)
        installation = self._database.installation()  # whose first run may have left its mark by now
        found = [self.read(place) for place in self.places() if place.installation != installation]
        return [mark for mark in found if mark is not None and (mark.destination, mark.address) == here]

    def places(self) -> list[MarkPlace]:
        """Every mark by its name."""
        found = (_NAME.fullmatch(stored.path) for stored in self._files.stored(FOLDER))
        return [
            MarkPlace(
                match[0],
                match["installation"],
                int(match["audience_id"]),
                int(match["number"]),
                int(match["shard"]) if match["shard"] else None,
                int(match["token"] or 0),
            )
            for match in found
            if match
        ]

    def read(self, place: MarkPlace) -> Mark | None:
        """Return the content of a mark; None for one that is gone or cannot be understood."""
        with suppress(ValueError, TypeError, FileNotFoundError):
            return Mark(**json.loads(self._files.read(place.path)))
        return None

    def keep_forgotten(self, hashes: Iterable[str], check: str) -> None:
        """Keep who was forgotten in the store too, under the check value of the key."""
        folder = f"{FORGOTTEN}/{self._database.installation()}"
        kept = {stored.path for stored in self._files.stored(folder)}
        for user_hash in hashes:
            if (path := f"{folder}/{check}-{user_hash}.json") not in kept:
                self._write(path, {"user_hash": user_hash, "key_check": check})

    def forgotten(self, installation: str) -> list[ForgottenMark]:
        """Return the users that an installation keeps as forgotten."""
        stored = self._files.stored(f"{FORGOTTEN}/{installation}")
        found = ((file.path, *file.path.rpartition("/")[2].removesuffix(".json").rpartition("-")) for file in stored)
        return [ForgottenMark(path, user_hash, check or None) for path, check, _, user_hash in found]

    def give_keys(self, installation: str, key: Callable[[], bytes]) -> None:
        """Keep again, with a key, who was forgotten before there was one; safe to repeat."""
        for each in self.forgotten(installation):
            if each.check is None:
                self.keep_forgotten([each.kept_hash(key)], check_value(key()))
                self._files.delete(each.path)

    def let_go_of_forgotten(self) -> int:
        """Remove who was forgotten under a key that is lost; returns how many."""
        found = self.forgotten(self._database.installation())
        for each in found:
            self._files.delete(each.path)
        return len(found)

    def _name(self, place: MarkPlace) -> str:
        mark = self.read(place)
        if mark is None:
            return "an audience"
        return "the events" if mark.audience == EVENTS else mark.audience

    def _write(self, path: str, content: dict[str, Any]) -> None:
        with self._files.draft() as draft:
            draft.write_text(json.dumps(content), encoding="utf-8")
            try:
                self._files.keep(draft, path)
            except StateUnavailable:
                if not self._files.exists(path):  # else another task of the run was first
                    raise


def _is_needless(place: MarkPlace, new: MarkPlace) -> bool:
    """Whether a newer mark says all that this one does."""
    if (place.installation, place.audience_id) != (new.installation, new.audience_id):
        return False
    is_earlier_end = place.number == new.number and place.shard == new.shard and 0 < place.token < new.token
    return place.number < new.number or is_earlier_end


def _is_news(place: MarkPlace, audience: Row[Any] | None, held: Mapping[str, int]) -> bool:
    """Whether a state with these tokens does not know what the mark says."""
    if audience is None or audience.runs < place.number:
        return True
    resource = resource_of(audience.trait_key, audience.destination, place.shard)
    return audience.runs == place.number and held.get(resource, 0) < place.token
