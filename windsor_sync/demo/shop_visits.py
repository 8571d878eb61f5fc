"""The demo's shop as Segment's libraries saw it: the calls that each real purchase would have made.

The data has a day for each purchase and nothing else, so hours, devices and pages are made up: the same ones every
time, from a hash of the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, TypeAlias

import pandas as pd

from windsor_sync.demo import shop
from windsor_sync.segment.calls import parse_timestamp
from windsor_sync.segment.routing import Filtered
from windsor_sync.segment.trait_keys import trait_key

Message: TypeAlias = dict[str, Any]

SHOP = "https://shop.example.com"
STEP = timedelta(seconds=40)
"""between two calls of a visit"""
LAG = timedelta(milliseconds=800)
"""from a call to Segment's receipt of it"""
PHONES_ARE_SLOW_BY = timedelta(minutes=3)
LATEST_START_S = 86_400 - 15 * 60  # so that no visit passes midnight

BROWSER = {"name": "analytics.js", "version": "2.11.1"}
PHONE = {"name": "analytics-ios", "version": "4.1.8"}
SERVER = {"name": "analytics-go", "version": "3.3.0"}
ENGAGE = {"name": "unknown", "version": "unknown"}


@dataclass(frozen=True, slots=True)
class Order:
    """One purchase of a customer."""

    customer_id: str
    number: int
    """of this customer's orders, from 1"""
    day: date
    first_day: date
    """when the customer bought for the first time"""
    cds: int
    dollars: float

    @property
    def id(self) -> str:
        """The order's number at the shop."""
        return f"{self.customer_id}-{self.number}"

    @property
    def is_from_app(self) -> bool:
        """Whether the visit was made on the phone."""
        return shop.is_from_app(self.customer_id)

    @property
    def has_account(self) -> bool:
        """Whether the customer has a user id at the end of the visit."""
        return shop.has_account(self.customer_id, self.number)

    @property
    def opens_account(self) -> bool:
        """Whether the customer gets a user id during the visit."""
        return self.has_account and not shop.has_account(self.customer_id, self.number - 1)

    @property
    def anonymous_id(self) -> str:
        """Return the anonymous id of the customer's device."""
        return shop.anonymous_id_of(self.customer_id)

    @property
    def customer(self) -> dict[str, str]:
        """Return the customer's id at the end of the visit."""
        return {"userId": self.customer_id} if self.has_account else {"anonymousId": self.anonymous_id}

    @property
    def start(self) -> datetime:
        """Return when the visit begins (UTC)."""
        second = int(_digest("start", self.id), 16) % LATEST_START_S
        return datetime.combine(self.day, time(), UTC) + timedelta(seconds=second)


def orders_on(bought: pd.DataFrame, day: date) -> list[Order]:
    """The day's purchases, by customer."""
    past = bought[bought["date"] <= pd.Timestamp(day)]
    customers = past.groupby("customer_id")
    numbered = past.assign(number=customers.cumcount() + 1, first_day=customers["date"].transform("min"))
    today = numbered[numbered["date"] == pd.Timestamp(day)].sort_values(["customer_id", "number"])
    columns = ("customer_id", "number", "first_day", "number_of_cds", "dollar_value")
    return [
        Order(str(customer), int(number), day, first_day.date(), int(cds), float(dollars))
        for customer, number, first_day, cds, dollars in zip(*(today[name] for name in columns), strict=True)
    ]


def visit(order: Order) -> Iterator[Message]:
    """The calls of one purchase, in the order they happened; every one of them is for Windsor."""
    browse = _screens if order.is_from_app else _pages
    yield from browse(order)
    if order.opens_account:
        yield _call(order, 2, "alias", BROWSER, userId=order.customer_id, previousId=order.anonymous_id)
    yield _identify(order)
    yield _order_completed(order)
    yield _group(order)


def elsewhere(order: Order) -> Iterator[tuple[Filtered, Message]]:
    """Calls of the same purchase that are not for Windsor, each with the filter that stops it."""
    for step, integrations in ((6, {"All": False, "Mailchimp": True}), (7, {"All": True, "Windsor": False})):
        said = {"event": "Review Requested", "properties": {"order_id": order.id}, "integrations": integrations}
        yield Filtered.FILTERED_BY_INTEGRATIONS_OBJECT, _call(order, step, "track", SERVER, **order.customer, **said)
    yield Filtered.SYNCED_FROM_SNAPSHOTS, _engage(order)


def again(message: Message) -> Message:
    """Return the call once more, by a sender that did not hear Segment's answer and tries again at the end of the day."""
    last = _iso(datetime.combine(parse_timestamp(message["timestamp"]), time(23, 59, 59), UTC))
    return {**message, "sentAt": last, "receivedAt": last}


def _pages(order: Order) -> Iterator[Message]:
    """Two pages in a browser, without a user id as long as the customer has not signed in."""
    ids = {"anonymousId": order.anonymous_id} | ({} if order.opens_account else order.customer)
    for step, (name, path) in enumerate((("Home", "/"), ("Basket", "/basket"))):
        properties = {"path": path, "url": SHOP + path, "title": f"{name} – CD shop", "referrer": "", "search": ""}
        yield _call(order, step, "page", BROWSER, **ids, name=name, properties=properties)


def _screens(order: Order) -> Iterator[Message]:
    ids = {"anonymousId": order.anonymous_id, "userId": order.customer_id}
    for step, name in enumerate(("Home", "Basket")):
        appsflyer = {"AppsFlyer": {"appsFlyerId": _digest("appsflyer", order.customer_id)[:16]}}
        yield _call(order, step, "screen", PHONE, **ids, name=name, properties={}, integrations=appsflyer)


def _identify(order: Order) -> Message:
    traits = {"email": shop.email_of(order.customer_id), "name": f"Customer {order.customer_id}"}
    ids = {"anonymousId": order.anonymous_id} | order.customer
    return _call(order, 3, "identify", PHONE if order.is_from_app else BROWSER, **ids, traits=traits)


def _order_completed(order: Order) -> Message:
    price = round(order.dollars / max(order.cds, 1), 2)
    properties = {
        "order_id": order.id,
        "revenue": order.dollars,
        "currency": "USD",
        "products": [{"product_id": "cd", "category": "Music", "price": price, "quantity": order.cds}],
    }
    integrations: dict[str, Any] = {"All": True, "Salesforce": {"object": "Order"}}
    if order.is_from_app:
        integrations = {"All": False, "Windsor": True}
    said = {"event": "Order Completed", "properties": properties, "integrations": integrations}
    return _call(order, 4, "track", SERVER, **order.customer, **said)


def _group(order: Order) -> Message:
    """Put the customer among those who first bought in the same month: the shop has no companies."""
    month = f"{order.first_day:%Y-%m}"
    traits = {"name": f"First bought in {month}"}
    return _call(order, 5, "group", SERVER, **order.customer, groupId=f"since-{month}", traits=traits)


def _engage(order: Order) -> Message:
    """Return the events that Engage itself sends when a purchase makes the customer a member of the audience."""
    key = str(trait_key(shop.AUDIENCE))
    personas = {"computation_class": "audience", "computation_id": "aud_demo", "computation_key": key}
    context = {"personas": {**personas, "namespace": "spa_demo", "space_id": "spa_demo"}}
    return _call(
        order,
        8,
        "identify",
        ENGAGE,
        **order.customer,
        traits={key: True, "email": shop.email_of(order.customer_id)},
        context={**context, "library": ENGAGE, "integrations": {"personas": False}},
        integrations={"All": False, "Windsor": True, "Warehouses": {"all": False}},
    )


def _call(order: Order, step: int, call: str, library: dict[str, str], **content: Any) -> Message:
    """One message as the archive has it, with the times and ids that Segment and its libraries add."""
    happened = order.start + step * STEP
    name = _digest("message", order.id, str(step))
    return {
        "anonymousId": None,
        "context": {"library": library, "ip": "192.0.2.1", "locale": "en-US"},
        "integrations": {},
        **content,
        "messageId": f"{library['name']}-{name[:32]}",
        **_times(happened, library, name),
        "type": call,
        "channel": "server" if library in (SERVER, ENGAGE) else "client",
        "version": 2,
    }


def _times(happened: datetime, library: dict[str, str], name: str) -> dict[str, str | None]:
    """timestamp = receivedAt − (sentAt − originalTimestamp), as Segment corrects a device's clock.

    Servers write nanoseconds, and what comes from Engage, or from a server with an even name, has no sentAt.
    """
    slow = PHONES_ARE_SLOW_BY if library is PHONE else timedelta()
    original, sent = _iso(happened - slow), _iso(happened + LAG - slow)
    is_server = library in (SERVER, ENGAGE)
    if is_server:
        original = f"{original[:-1]}{int(name[:8], 16) % 1_000_000:06}Z"
    return {
        "timestamp": _iso(happened),
        "originalTimestamp": original,
        "sentAt": None if library is ENGAGE or (is_server and int(name, 16) % 2 == 0) else sent,
        "receivedAt": _iso(happened + LAG),
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _digest(*parts: str) -> str:
    return sha256("/".join(parts).encode()).hexdigest()
