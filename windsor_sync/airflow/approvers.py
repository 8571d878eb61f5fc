"""Puts `approval.approvers` into Airflow's form, and finds out who answered."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from windsor_sync.errors import ConfigError, harmless
from windsor_sync.settings.model import ROLE

if TYPE_CHECKING:
    from windsor_sync.settings import Settings

SIMPLE = "SimpleAuthManager"


def assigned_users(settings: "Settings") -> list[Any] | None:
    """Return those who may answer the form; None where nobody is named. Raises ConfigError for a role without users."""
    approvers = settings.approval.approvers
    if not approvers:
        return None
    ids: dict[str, None] = {}
    for entry in approvers:
        role = entry.removeprefix(ROLE)
        ids |= dict.fromkeys([entry] if role == entry else users_of(role))
    return [{"id": each, "name": each} for each in ids]


def permission(settings: "Settings", who: Mapping[str, Any]) -> str | None:
    """Return the entry that lets the person of an answer approve; raises ConfigError where there is none."""
    from windsor_sync.usecases.approvers import permission_of

    return permission_of(settings, str(who.get("id")), users_of)


def users_of(role: str) -> Collection[str]:
    """Return the users of a role, which only Airflow's SimpleAuthManager tells a task; raises ConfigError elsewhere."""
    from airflow.sdk import conf

    manager = str(conf.get("core", "auth_manager", fallback="") or SIMPLE).rpartition(".")[2]
    if manager != SIMPLE:
        raise ConfigError(
            f"approval.approvers names the role {harmless(role)}, but {manager} does not tell a task who has it. Nobody was "
            "asked; the changes stay withheld. Name users by their ids in approval.approvers (`airflow users list` shows the ids "
            "of FabAuthManager), or run `windsor-sync approve`."
        )
    listed = str(conf.get("core", "simple_auth_manager_users", fallback="") or "")
    pairs = [each.strip().split(":") for each in listed.split(",")]
    found = [pair[0] for pair in pairs if len(pair) > 1 and pair[1].casefold() == role.casefold()]
    if not found:
        raise ConfigError(
            f"approval.approvers names the role {harmless(role)}, but {manager} lists no user with this role. Nobody was "
            "asked; the changes stay withheld. Name users by their ids in approval.approvers, or run `windsor-sync approve`."
        )
    return found
