"""Changes of state that people are told about, each once: changes withheld, the key refused, and recovered from that.

What was last told is kept in the state, so it does not matter which task, process or command line finds it out. A state in
between (Windsor out of reach, a run stopped) is retried and changes nothing about what people know.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import harmless
from windsor_sync.state.database import Database
from windsor_sync.state.tables import alerts, audiences


class News(StrEnum):
    """A change of state that people are told about."""

    WITHHELD = "withheld"
    REFUSED = "refused"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell people; no user appears in it, and of the names in it nothing is obeyed."""

    news: News
    subject: str
    """the audience or, about the key, the destination"""
    audience: str
    """trait key of the audience whose run found it out"""
    run_id: str
    text: str


@contextmanager
def alerting(database: Database, run: Run) -> Iterator[list[Alert]]:
    """Yield the changes that people are to be told about after this run; they are taken back when the block raises.

    It is noted before it is told, so that of several tasks that find it out at once one tells.
    """
    try:
        found, before = _noted(database, run)
    except IntegrityError:  # PostgreSQL: another task noted it at the same moment, and tells
        found, before = [], []
    try:
        yield found
    except BaseException:
        with database.write() as connection:
            for each in found:
                connection.execute(delete(alerts).where(alerts.c.subject == each.subject))
            if before:
                connection.execute(insert(alerts), before)
        raise


def _noted(database: Database, run: Run) -> tuple[list[Alert], list[dict[str, object]]]:
    """Record what is new, and return it with what was recorded before."""
    with database.write() as connection:
        found = [news for news in _news(connection, run) if news is not None]
        before = _rows(connection, [each.subject for each in found])
        for each in found:
            _note(connection, each)
    return found, before


def _news(connection: Connection, run: Run) -> Iterator[Alert | None]:
    destination = connection.execute(
        select(audiences.c.destination).where(audiences.c.id == run.audience_id)
    ).scalar_one()
    works = run.state in (RunState.DONE, RunState.REJECTED, RunState.WITHHELD) and run.books.delivered > 0
    yield _change(
        connection, run, str(destination), wrong=run.state is RunState.REFUSED, right=works, news=News.REFUSED
    )
    # A backfill of one side, or of so many, is done with the other changes still owed: nobody has judged those.
    is_released = run.state in (RunState.DONE, RunState.REJECTED) and not run.books.owed
    name = f"{run.audience} at {destination}"
    yield _change(connection, run, name, wrong=run.state is RunState.WITHHELD, right=is_released, news=News.WITHHELD)


def _change(connection: Connection, run: Run, subject: str, *, wrong: bool, right: bool, news: News) -> Alert | None:
    subject, audience, sentence = map(harmless, (subject, run.audience, run.sentence or ""))
    is_known = bool(_rows(connection, [subject]))
    if wrong and not is_known:
        return Alert(news, subject, audience, run.run_id, sentence)
    if right and is_known:
        text = f"{subject} has recovered ({news.value} before). {sentence}"
        return Alert(News.RECOVERED, subject, audience, run.run_id, text)
    return None


def _note(connection: Connection, told: Alert) -> None:
    if told.news is News.RECOVERED:
        connection.execute(delete(alerts).where(alerts.c.subject == told.subject))
        return
    values = {"subject": told.subject, "state": told.news.value, "run_id": told.run_id, "at": datetime.now(UTC)}
    connection.execute(insert(alerts).values(**values))


def _rows(connection: Connection, subjects: list[str]) -> list[dict[str, object]]:
    query = select(alerts).where(alerts.c.subject.in_(subjects))
    return [dict(row._mapping) for row in connection.execute(query)]
