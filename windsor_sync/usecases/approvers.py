"""Tells who may approve: asked when somebody answers, and again before anything goes out."""

from collections.abc import Callable, Collection

from windsor_sync.errors import ConfigError, harmless
from windsor_sync.settings import Settings
from windsor_sync.settings.model import ROLE
from windsor_sync.state.approvals import Approval, unsettled_approval
from windsor_sync.state.database import Database

UsersOf = Callable[[str], Collection[str]]
"""From a role to the ids of its users"""


def no_users(role: str) -> Collection[str]:  # noqa: ARG001
    """Return no user: a command line knows no roles."""
    return ()


_NO_ROLES = " A command knows no roles: name its users in approval.approvers too."


def permission_of(settings: Settings, user: str, users_of: UsersOf = no_users) -> str | None:
    """Return the entry of `approval.approvers` that lets a user approve; None where nobody is named. Raises ConfigError."""
    approvers = settings.approval.approvers
    if not approvers:
        return None
    roles = [entry for entry in approvers if entry.startswith(ROLE)]
    for entry in approvers:
        role = entry.removeprefix(ROLE)
        if entry == user or (role != entry and user in users_of(role)):
            return entry
    raise ConfigError(
        f"{harmless(user)} may not approve or start this: approval.approvers names {harmless(', '.join(approvers))}. Nothing was "
        f"approved or sent. Let one of them do it.{'' if users_of is not no_users or not roles else _NO_ROLES}"
    )


def is_permitted(settings: Settings, permitted_as: str | None) -> bool:
    """Tell whether what was approved under an entry may go out now."""
    return not settings.approval.approvers or permitted_as in settings.approval.approvers


def usable_approval(settings: Settings, database: Database, audience_id: int | None) -> Approval | None:
    """Return the approval that the audience's next run may use; not one by somebody who may not approve."""
    found = unsettled_approval(database, audience_id) if audience_id is not None else None
    return found if found is not None and is_permitted(settings, found.permitted_as) else None
