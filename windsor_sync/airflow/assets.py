"""Each audience in Windsor is an Asset: other DAGs start when it changed, and read its counts from the event."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from airflow.sdk import Context

AUDIENCES = AssetAlias("windsor_audiences")
"""Stands in a mapped task for the asset of whichever audience it is about."""


def audience_asset(key: str) -> Asset:
    """The audience, or computed trait, as Windsor has it: `schedule=[audience_asset("vip_customer")]`."""
    name = quote(key, safe="")
    return Asset(name=f"windsor_{name}", uri=f"windsor://audiences/{name}", group="windsor")


def changed(context: "Context", key: str, counts: dict[str, Any]) -> None:
    """Say that Windsor was told changes; the event carries the counts and no user."""
    context["outlet_events"][AUDIENCES].add(audience_asset(key), extra=counts)
