"""The conditions that are wrong now, and what each receiver of alerts was told of them.

The two are kept apart, so that it does not matter which task, process or command finds something out, and which one sends the
message. A target is brought up to what is wrong now: what it could not be told is tried again later, and a condition that
came and went while nobody could be reached is told as one message about its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from windsor_sync.domain.alert import AlertEvent, Condition, Target
from windsor_sync.errors import harmless
from windsor_sync.state.database import Database, StateRow
from windsor_sync.state.tables import conditions, told_alerts

TELLING, TOLD, ENDING = "telling", "told", "ending"

CLAIMED_FOR = timedelta(minutes=5)
"""So long nobody else sends a message that is being sent; whoever died meanwhile may have sent it."""

LONGEST_PAUSE = timedelta(hours=1)
"""A message that does not arrive is tried again after 1, 2, 4 … minutes, and at least hourly."""

CLOCKS_DIFFER = timedelta(minutes=5)
"""What was recorded further in the future than this came from a clock that was put back since: it makes no news old."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One condition, or its end, that this process is to tell a target now."""

    target: str
    condition: Condition
    is_end: bool
    tries: int


def begin_condition(database: Database, found: Condition, at: datetime) -> None:
    """Record that something is wrong since `at`; one that is known keeps its first sentence. Older news is ignored."""
    values = {
        "sentence": harmless(found.sentence),
        "run_id": found.run_id,
        "since": at,
        "changed_at": at,
        "is_over": False,
    }
    try:
        with database.write() as connection:
            row = connection.execute(select(conditions).where(_is(conditions, found))).one_or_none()
            if row is None:
                connection.execute(insert(conditions).values(**_key(found), **values))
            elif row.is_over and (row.changed_at < at or row.changed_at > _latest()):
                connection.execute(update(conditions).where(_is(conditions, found)).values(**values))
    except IntegrityError:  # PostgreSQL: another task recorded it at the same moment
        return


def end_condition(database: Database, destination: str, audience: str, event: AlertEvent, at: datetime) -> None:
    """Record that something is wrong no more. Older news is ignored."""
    here = and_(
        conditions.c.destination == destination, conditions.c.audience == audience, conditions.c.event == event.value
    )
    is_newer = or_(conditions.c.changed_at < at, conditions.c.changed_at > _latest())
    is_news = and_(here, conditions.c.is_over.is_(False), is_newer)
    with database.write() as connection:
        connection.execute(update(conditions).where(is_news).values(is_over=True, changed_at=at))


def open_conditions(database: Database, destination: str) -> list[Condition]:
    """Return everything that is wrong at a destination."""
    here = conditions.c.destination == destination, conditions.c.is_over.is_(False)
    with database.read() as connection:
        return [_condition(row) for row in connection.execute(select(conditions).where(*here))]


def ended_at(database: Database, destination: str, event: AlertEvent) -> datetime | None:
    """Return when something that concerned the whole destination was over; None where it never was, or is not."""
    here = conditions.c.destination == destination, conditions.c.audience == "", conditions.c.event == event.value
    query = select(conditions.c.changed_at).where(*here, conditions.c.is_over.is_(True))
    with database.read() as connection:
        found: datetime | None = connection.execute(query).scalar_one_or_none()
    return found


def claim(database: Database, target: Target, destination: str, now: datetime) -> list[Telling]:
    """Return what the target is to be told now, each for this process alone."""
    try:
        with database.write() as connection:
            known = _of(connection, conditions, conditions.c.destination == destination)
            told = _of(connection, told_alerts, _to(target.key, destination))
            wanted = [row for place, row in sorted(known.items()) if place[1] in target.events]
            found = [_claimed(connection, target, row, told.get((row.audience, row.event)), now) for row in wanted]
    except IntegrityError:  # PostgreSQL: another task claimed one at the same moment, and the rest comes next time
        return []
    return [telling for telling in found if telling is not None]


def arrived(database: Database, tellings: Sequence[Telling]) -> None:
    """Record that the target knows."""
    with database.write() as connection:
        for one in tellings:
            here = _told(one.target, one.condition)
            if one.is_end:
                connection.execute(delete(told_alerts).where(here))
            else:
                connection.execute(update(told_alerts).where(here).values(state=TOLD))


def put_off(database: Database, failed: Sequence[Telling], unsent: Sequence[Telling], now: datetime) -> None:
    """Record that a message did not arrive, as far as is known, and that others were not sent after it: all are due later."""
    pause = min(timedelta(minutes=2 ** min(min(one.tries for one in failed) - 1, 10)), LONGEST_PAUSE)
    with database.write() as connection:
        for one in (*failed, *unsent):
            tries = one.tries if one in failed else one.tries - 1
            here = _told(one.target, one.condition)
            connection.execute(update(told_alerts).where(here).values(next_try_at=now + pause, tries=tries))


def _claimed(
    connection: Connection, target: Target, row: StateRow, told: StateRow | None, now: datetime
) -> Telling | None:
    """Take one message, if there is one and nobody else has it."""
    condition = _condition(row)
    if told is None:
        return None if row.is_over else _first(connection, target.key, condition, now)
    is_known = told.state == TOLD and not row.is_over
    if is_known or (told.state != TOLD and now < told.next_try_at <= now + LONGEST_PAUSE + CLOCKS_DIFFER):
        return None
    here = _told(target.key, condition)
    if row.is_over and AlertEvent.RECOVERED not in target.events:
        connection.execute(delete(told_alerts).where(here))
        return None
    wanted = ENDING if row.is_over else TELLING
    tries = told.tries + 1 if told.state == wanted else 1
    is_same = and_(here, told_alerts.c.state == told.state, told_alerts.c.next_try_at == told.next_try_at)
    values = {"state": wanted, "tries": tries, "next_try_at": now + CLAIMED_FOR}
    taken = connection.execute(update(told_alerts).where(is_same).values(**values)).rowcount
    return Telling(target.key, condition, is_end=row.is_over, tries=tries) if taken else None


def _first(connection: Connection, target: str, condition: Condition, now: datetime) -> Telling:
    values = {"state": TELLING, "tries": 1, "next_try_at": now + CLAIMED_FOR}
    connection.execute(insert(told_alerts).values(target=target, **_key(condition), **values))
    return Telling(target, condition, is_end=False, tries=1)


def _latest() -> datetime:
    """Return the latest moment that can be right."""
    return datetime.now(UTC) + CLOCKS_DIFFER


def _of(connection: Connection, table: Table, here: ColumnElement[bool]) -> dict[tuple[str, str], StateRow]:
    """Return rows by audience and event."""
    return {(row.audience, row.event): row for row in connection.execute(select(table).where(here))}


def _key(condition: Condition) -> dict[str, Any]:
    return {"destination": condition.destination, "audience": condition.audience, "event": condition.event.value}


def _is(table: Table, condition: Condition) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _key(condition).items()))


def _to(target: str, destination: str) -> ColumnElement[bool]:
    return and_(told_alerts.c.target == target, told_alerts.c.destination == destination)


def _told(target: str, condition: Condition) -> ColumnElement[bool]:
    return and_(told_alerts.c.target == target, _is(told_alerts, condition))


def _condition(row: StateRow) -> Condition:
    return Condition(row.destination, row.audience, AlertEvent(row.event), row.sentence, row.since, row.run_id)
