"""The audiences that a destination knows, and the trait key to which each was pinned at its first sync.

The events that are forwarded to the destination are registered beside them: their runs have the same ledger.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from windsor_sync.errors import ConfigError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.segment.trait_keys import TraitKey, key_problem, retired_problem
from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.tables import audiences

EVENTS = TraitKey("$events")
"""Under which forwarded events are registered; no trait is called that."""

EVENTS_CLASS = "events"


class Configured(Protocol):
    """An audience or computed trait as the settings name it."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def trait(self) -> str | None: ...
    @property
    def key(self) -> TraitKey: ...
    @property
    def reuse_key(self) -> bool: ...
    @property
    def computation_class(self) -> ComputationClass: ...


@dataclass(frozen=True, slots=True)
class Registered:
    """An audience with the key it keeps."""

    key: TraitKey
    runs: int
    """number of its newest run; 0 before the first"""
    audience_id: int | None
    """None until its first sync pins it"""
    is_ledger_lost: bool = False
    """what Windsor was told is not known; the next run recovers it"""


class Registry:
    """The audiences of one destination."""

    def __init__(self, database: Database, destination: str) -> None:
        self._database = database
        self.destination = destination

    def find(self, wanted: Configured) -> Registered:
        """The audience as it is known, or as it would be pinned; raises ConfigError when its key may not be used."""
        with self._database.read() as connection:
            row = self._row(connection, wanted)
        if row is None:
            return Registered(wanted.key, 0, None)
        return _registered(row)

    def by_id(self, audience_id: int) -> Registered:
        """An audience that is known."""
        with self._database.read() as connection:
            row = connection.execute(select(audiences).where(audiences.c.id == audience_id)).one()
        return _registered(row)

    def known(self) -> list[StateRow]:
        """Every audience this destination was ever told of, retired ones included."""
        return [row for row in self.everything() if row.computation_class != EVENTS_CLASS]

    def everything(self) -> list[StateRow]:
        """The audiences, and the forwarded events: all that has runs."""
        with self._database.read() as connection:
            found = connection.execute(select(audiences).where(audiences.c.destination == self.destination))
            return sorted(found, key=lambda row: int(row.id))

    def events(self) -> Registered:
        """The forwarded events as they are known; registered here when they are not."""
        try:
            return self._events()
        except IntegrityError:  # PostgreSQL: another run registered them at the same moment
            return self._events()

    def _events(self) -> Registered:
        here = select(audiences).where(audiences.c.destination == self.destination, audiences.c.trait_key == EVENTS)
        with self._database.write() as connection:
            row = connection.execute(here).one_or_none()
            if row is not None:
                return Registered(EVENTS, row.runs, row.id)
            created = connection.execute(
                insert(audiences).values(
                    destination=self.destination,
                    trait_key=EVENTS,
                    computation_class=EVENTS_CLASS,
                    name="Events",
                    created_at=datetime.now(UTC),
                )
            )
            assert created.inserted_primary_key is not None
            return Registered(EVENTS, 0, int(created.inserted_primary_key[0]))

    def register(self, wanted: Configured) -> Registered:
        """The same, pinning a new audience to its key and remembering a new name or id."""
        try:
            return self._register(wanted)
        except IntegrityError:  # PostgreSQL: another run pinned it at the same moment
            return self._register(wanted)

    def _register(self, wanted: Configured) -> Registered:
        with self._database.write() as connection:
            row = self._row(connection, wanted)
            names = {
                "name": wanted.name,
                "segment_id": wanted.id or (row.segment_id if row is not None else None),
                "retired_at": None,
            }
            if row is None:
                created = connection.execute(
                    insert(audiences).values(
                        destination=self.destination,
                        trait_key=wanted.key,
                        computation_class=wanted.computation_class.value,
                        created_at=datetime.now(UTC),
                        **names,
                    )
                )
                assert created.inserted_primary_key is not None
                return Registered(wanted.key, 0, int(created.inserted_primary_key[0]))
            connection.execute(update(audiences).where(audiences.c.id == row.id).values(**names))
            return _registered(row)

    def _row(self, connection: Transaction, wanted: Configured) -> StateRow | None:
        """The row of this audience: by its id in Segment, so that a rename moves nothing, else by its key."""
        here = select(audiences).where(audiences.c.destination == self.destination)
        if wanted.id is not None:
            row = connection.execute(
                here.where(audiences.c.segment_id == wanted.id, audiences.c.retired_at.is_(None))
            ).one_or_none()
            if row is not None:
                _check_pinned(wanted, row.trait_key)
                return row
        if problem := key_problem(wanted.key):
            raise ConfigError(f"{wanted.name}: {problem}")
        row = connection.execute(here.where(audiences.c.trait_key == wanted.key)).one_or_none()
        if row is not None:
            _check_owner(wanted, row)
        return row


def audience_by_key(database: Database, destination: str, key: str) -> StateRow | None:
    """The audience at this destination; None when it was never synced."""
    if not can_be_stored(key):
        return None
    query = select(audiences).where(audiences.c.destination == destination, audiences.c.trait_key == key)
    with database.read() as connection:
        return connection.execute(query).one_or_none()


def audiences_of(database: Database, destination: str, *, after: int, limit: int) -> list[StateRow]:
    """All that has been registered, oldest first; `after`: of those with a larger id."""
    query = (
        select(audiences)
        .where(audiences.c.destination == destination, audiences.c.id > after)
        .order_by(audiences.c.id)
        .limit(limit)
    )
    with database.read() as connection:
        return list(connection.execute(query))


def everything_registered(database: Database) -> list[StateRow]:
    """Return all that has runs, of any destination, oldest first."""
    with database.read() as connection:
        return list(connection.execute(select(audiences).order_by(audiences.c.id)))


def audience_row(database: Database, audience_id: int) -> StateRow | None:
    """Return one audience, of any destination."""
    with database.read() as connection:
        return connection.execute(select(audiences).where(audiences.c.id == audience_id)).one_or_none()


def lose_ledger(connection: Transaction, audience_id: int) -> None:
    """Record that what Windsor was told of an audience is not known any more."""
    connection.execute(update(audiences).where(audiences.c.id == audience_id).values(ledger_lost_at=datetime.now(UTC)))


def retire_key(connection: Transaction, audience_id: int) -> None:
    """Record that an audience has given its key up."""
    connection.execute(update(audiences).where(audiences.c.id == audience_id).values(retired_at=datetime.now(UTC)))


def bring_back(connection: Transaction, audience_id: int, number: int, **names: Any) -> None:
    """Let the audience's next run follow run `number`, and know that what Windsor was told is not known.

    An audience that the state does not have is entered with `names`.
    """
    moment = datetime.now(UTC)
    known = select(audiences.c.id).where(audiences.c.id == audience_id)
    if connection.execute(known).one_or_none() is None:
        connection.execute(insert(audiences).values(id=audience_id, created_at=moment, **names))
    lost_at = None if names["computation_class"] == EVENTS_CLASS else moment
    connection.execute(
        update(audiences).where(audiences.c.id == audience_id).values(runs=number, ledger_lost_at=lost_at)
    )


def can_be_stored(text: str) -> bool:
    """Whether a database may be asked for it: PostgreSQL takes no NUL, in a comparison neither."""
    return "\0" not in text


def _registered(row: StateRow) -> Registered:
    return Registered(TraitKey(row.trait_key), row.runs, row.id, row.ledger_lost_at is not None)


def _check_pinned(wanted: Configured, pinned: str) -> None:
    if wanted.trait is not None and wanted.trait != pinned:
        raise ConfigError(
            f"{wanted.name} has been synced under the trait {pinned}, windsor.yaml now says {wanted.trait}. Nothing was sent: "
            f"its members would keep {pinned} for ever. Put `trait: {pinned}` back, or run `windsor-sync retire {pinned}` first."
        )


def _check_owner(wanted: Configured, row: StateRow) -> None:
    if row.retired_at is not None:
        if problem := retired_problem(wanted.name, wanted.key, {wanted.key}, reuse_key=wanted.reuse_key):
            raise ConfigError(problem)
    elif row.segment_id is not None and wanted.id is not None:
        raise ConfigError(
            f"{wanted.name} ({wanted.id}) would use the trait {wanted.key}, which belongs to {row.name} ({row.segment_id}). "
            "Nothing was sent. Give it a key of its own with `trait:`, or retire the other one first."
        )
    elif row.computation_class != wanted.computation_class.value:
        raise ConfigError(
            f"{wanted.name} would use the trait {wanted.key} as {wanted.computation_class.value}, but it has been synced as "
            f"{row.computation_class}. Nothing was sent. Give it a key of its own with `trait:`."
        )
