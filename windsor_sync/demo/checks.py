"""Compares Windsor with the shop's own records at the end of the demo."""

import json
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from subprocess import Popen
from typing import TYPE_CHECKING, Any

import pandas as pd

from windsor_sync.demo import shop
from windsor_sync.demo.shop_events import ShopTally
from windsor_sync.demo.shop_visits import Order, orders_on, visit
from windsor_sync.errors import WindsorSyncError
from windsor_sync.segment.trait_keys import trait_key

if TYPE_CHECKING:
    from windsor_sync.domain.run import ForwardingRun

PAGE_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Windsor:
    """The sandbox as a process of its own."""

    url: str
    process: Popen[bytes]

    def users(self) -> dict[str, dict[str, Any]]:
        """Every user as the sandbox shows it, by user id."""
        return {user["id"]: user for user in self._all("users")}

    def messages(self) -> list[dict[str, Any]]:
        """Every message it accepted, in order of arrival."""
        return list(self._all("messages"))

    def _all(self, kind: str) -> Iterator[dict[str, Any]]:
        found = 0
        while True:
            with urllib.request.urlopen(f"{self.url}api/{kind}?offset={found}&limit={PAGE_ROWS}") as answer:  # noqa: S310
                page = json.load(answer)
            yield from page[kind]
            found += len(page[kind])
            if found >= page["total"] or not page[kind]:
                return


def check_users(windsor: Windsor, bought: pd.DataFrame, day: date) -> str:
    """Compare every person with the day's snapshots; raises WindsorSyncError when one differs.

    A customer who signed up is one user of Windsor, under the user id; the anonymous id is no second user.
    """
    audience, trait = trait_key(shop.AUDIENCE), trait_key(shop.TRAIT)
    users = {user: shown["properties"] for user, shown in windsor.users().items()}
    members = set(shop.members_on(bought, day))
    shown = {user for user, properties in users.items() if properties.get(audience) is True}
    values = {user: properties[trait] for user, properties in users.items() if trait in properties}
    revenue = shop.revenue_on(bought, day)
    ids = shop.ids_on(bought, day)
    strangers = users.keys() ^ set(ids.values())
    if shown != members or values != revenue or strangers:
        raise WindsorSyncError(
            f"Windsor does not show the snapshot of {day}: {len(shown ^ members):,} users differ in {audience}, "
            f"{sum(values.get(user) != revenue.get(user) for user in values | revenue):,} in {trait}, and {len(strangers):,} are "
            "not one person in both."
        )
    left = sum(properties.get(audience) is False for properties in users.values())
    return (
        f"Checked: Windsor's {len(users):,} users are the shop's customers, one each, and equal the snapshots of {day}: "
        f"{len(members):,} have {audience}: true, {left:,} who left have false, {len(revenue):,} have their {trait}."
    )


def check_steps(forwarded: "Sequence[ForwardingRun]", archived: ShopTally) -> None:
    """Compare what became of the archive's lines with what was written; raises WindsorSyncError when a step differs."""
    from windsor_sync.events.books import overview

    found = Counter[str]()
    for run in forwarded:
        found.update(overview(run))
    expected = {
        "received": archived.lines,
        "failed_on_ingest": archived.malformed,
        "filtered_at_destination": archived.filtered.total(),
        "duplicates": archived.duplicates,
        "delivered": archived.calls.total(),
    }
    wrong = {step: (found[step], number) for step, number in expected.items() if found[step] != number}
    if wrong:
        raise WindsorSyncError(f"The steps (found, expected) of the forwarded events are not the archive's: {wrong}.")


def check_events(windsor: Windsor, bought: pd.DataFrame, days: Sequence[date], archived: ShopTally) -> str:
    """Compare what was forwarded with the visits of the days; raises WindsorSyncError when something differs."""
    orders = [order for day in days for order in orders_on(bought, day)]
    made = sorted((call for order in orders for call in visit(order)), key=lambda call: call["timestamp"])
    expected = _by_user((call.get("userId") or call["anonymousId"], call["messageId"]) for call in made)
    of_events = {call["messageId"] for call in made}
    arrived = [one for one in windsor.messages() if one["messageId"] in of_events]
    found = _by_user((one["userId"], one["messageId"]) for one in arrived)
    users, ids = windsor.users(), shop.ids_on(bought, days[-1])
    wrong = {
        "users whose events are not there once and in order": sum(
            found.get(user) != expected.get(user) for user in expected | found
        ),
        "aliases that are not merged": sum(not _is_merged(users, order) for order in orders if order.opens_account),
        "users who are not in their group": sum(
            not _is_in_group(users[ids[order.customer_id]], order) for order in orders
        ),
        "events more or less than the archive has": abs(archived.calls.total() - len(arrived)),
    }
    if any(wrong.values()):
        raise WindsorSyncError(f"Windsor does not show the shop's events: {wrong}.")
    return (
        f"Checked: of {archived.lines:,} lines in the archive, Windsor has the {len(arrived):,} events that are for it, each "
        f"once and each user's in order; {archived.calls['alias']:,} aliases are merged, "
        f"{len({order.customer_id for order in orders}):,} users are in their group."
    )


def _by_user(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return each user's messageIds in order, from pairs of user and messageId."""
    found: dict[str, list[str]] = {}
    for user, message_id in pairs:
        found.setdefault(user, []).append(message_id)
    return found


def _is_merged(users: dict[str, dict[str, Any]], order: Order) -> bool:
    """The stranger of the visit is the customer now, and nobody else."""
    return order.anonymous_id not in users and order.anonymous_id in users[order.customer_id]["merged_ids"]


def _is_in_group(user: dict[str, Any], order: Order) -> bool:
    group = user["group"]
    return group is not None and group["id"] == f"since-{order.first_day:%Y-%m}"
