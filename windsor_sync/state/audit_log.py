"""The audit trail: what people did by hand, with who did it and why."""

import getpass
import os
import pwd
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select

from windsor_sync.state.database import Database, StateRow, Transaction
from windsor_sync.state.tables import audit_trail


def trail(connection: Transaction, *, who: str, what: str, subject: str, why: str | None, **details: Any) -> None:
    """Write down what a person did, in the same transaction as doing it."""
    connection.execute(
        insert(audit_trail).values(at=datetime.now(UTC), who=who, what=what, subject=subject, why=why, details=details)
    )


def this_person() -> str:
    """Return the name of the person at the command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "unknown"


def user_of_this_process() -> str:
    """Return the user's name as the system has it, whatever LOGNAME says; the number of one without a name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def trailed(database: Database, what: str, subject: str) -> list[StateRow]:
    """Return what was done of one kind about one subject, newest first."""
    query = select(audit_trail).where(audit_trail.c.what == what, audit_trail.c.subject == subject)
    with database.read() as connection:
        return list(connection.execute(query.order_by(audit_trail.c.id.desc())))


def deeds_of(connection: Transaction, what: str) -> list[StateRow]:
    """Return everything of one kind that was done, oldest first."""
    query = select(audit_trail).where(audit_trail.c.what == what).order_by(audit_trail.c.id)
    return list(connection.execute(query))
