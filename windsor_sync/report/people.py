"""Shows people, to a person who may see them: one user's story, and lists as CSV. Who asked for what is recorded first."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from windsor_sync.domain.run import Run
from windsor_sync.errors import StoredFileError
from windsor_sync.snapshots.members import members_of, users_with_email
from windsor_sync.state.audit_log import trail
from windsor_sync.state.suppressions import hash_in_use, suppressed_users
from windsor_sync.usecases.change_log import named_changes
from windsor_sync.usecases.why import Account, why
from windsor_sync.usecases.workspace import Workspace

MOST_USERS = 10
"""Users with one e-mail that a look-up shows."""

ROWS_A_PIECE = 5_000
REJECTED = ("rejected", "not due")
"""Fates of changes that Windsor rejected: tried in this run, or before and not due again."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula."""


def look_up(workspace: Workspace, said: str, *, who: str) -> list[tuple[str, list[Account]]]:
    """Return the story of a user in each audience; of an e-mail, where that is allowed, of each user that has it.

    The audit trail has the hash of what was asked for, by which it can be held against an id, and not the id.
    """
    asked = hash_in_use(workspace.database).of(said)
    with workspace.database.write() as connection:
        trail(connection, who=who, what="look up user", subject="a user", why=None, user_hash=asked)
    is_email = "@" in said and workspace.settings.page.look_up_by_email
    users = _with_email(workspace, said) if is_email else []
    return [(user, why(workspace, user)) for user in users or [said]]


def _with_email(workspace: Workspace, email: str) -> list[str]:
    """Return the users who have the e-mail in the newest snapshots."""
    heads = [workspace.ledger.head(row.id) for row in workspace.registry.known()]
    files = [head.snapshot for head in heads if head is not None and head.snapshot is not None]
    return sorted({user for file in files for user in users_with_email(file, email, MOST_USERS)})[:MOST_USERS]


def changes_csv(workspace: Workspace, run: Run, *, who: str, only: str | None = None) -> Iterator[str]:
    """Yield the changes of a run with their fate; `only`: those that were rejected. Raises StoredFileError when not kept."""
    with workspace.database.write() as connection:
        trail(connection, who=who, what=f"download {only or 'changes'}", subject=run.audience, why=None, run=run.run_id)
    rows = named_changes(workspace, run, REJECTED if only else ())
    yield from _csv(("user_id", "anonymous_id", "change", "value", "fate", "code", "windsors_message"), rows)


def members_csv(workspace: Workspace, audience_id: int, audience: str, *, who: str) -> Iterator[str]:
    """Yield the members of the newest sealed snapshot, with the value of a computed trait."""
    with workspace.database.write() as connection:
        trail(connection, who=who, what="download members", subject=audience, why=None)
    head = workspace.ledger.head(audience_id)
    if head is None or head.snapshot is None:
        raise StoredFileError(f"No snapshot of {audience} is kept.")
    yield from _csv(("user_id", "anonymous_id", "value"), _not_suppressed(workspace, members_of(head.snapshot)))


def _not_suppressed(workspace: Workspace, members: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield the members who are not suppressed by now, without their suppressed anonymous ids."""
    suppressed = suppressed_users(workspace.database)
    for user_id, anonymous_ids, value in members:
        left = [each for each in (anonymous_ids or "").split("\n") if each and each not in suppressed]
        if user_id not in suppressed and (user_id or left):
            yield user_id, "\n".join(left) or None, value


def _csv(titles: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """Yield a CSV file in pieces."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(titles)
    for number, row in enumerate(rows, 1):
        writer.writerow([_cell(value) for value in row])
        if number % ROWS_A_PIECE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: an apostrophe stands before a text that looks like a formula, and no number."""
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
