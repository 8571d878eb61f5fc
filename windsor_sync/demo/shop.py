"""The demo's shop: real purchases, and the snapshots Engage would have made of them on a given day."""

import csv
import json
from collections.abc import Iterable
from datetime import date
from hashlib import sha256
from importlib import resources
from pathlib import Path
from uuid import UUID

import pandas as pd

AUDIENCE = "Order Completed Last 30days"
TRAIT = "Total Revenue 180 Days"
FIRST_DAY = date(1997, 4, 1)
"""Late enough that some customers have not bought for a month."""


def purchases() -> pd.DataFrame:
    """Every purchase: customer_id (text, leading zeros kept), date, number_of_cds, dollar_value."""
    packed = resources.files("windsor_sync.demo").joinpath("data/purchases.csv.gz")
    with resources.as_file(packed) as path:
        return pd.read_csv(path, dtype={"customer_id": "str"}, parse_dates=["date"])


def email_of(customer_id: str) -> str:
    """The address the demo makes up; the data has none."""
    return f"customer-{customer_id}@example.com"


def anonymous_id_of(customer_id: str) -> str:
    """Return the anonymous id of the customer's device, which the demo makes up."""
    return str(UUID(sha256(f"device/{customer_id}".encode()).hexdigest()[:32]))


def is_from_app(customer_id: str) -> bool:
    """Whether the customer uses the phone, as every fifth does."""
    return int(customer_id) % 5 == 0


def has_account(customer_id: str, orders: int) -> bool:
    """Whether the shop knows the customer by a user id: the phone asks for one at once, the browser at the second order."""
    return orders > 1 or is_from_app(customer_id)


def ids_on(bought: pd.DataFrame, day: date) -> dict[str, str]:
    """Return each customer's id at the end of the day: the user id, or without an account the anonymous id."""
    orders = bought[bought["date"] <= pd.Timestamp(day)].groupby("customer_id").size()
    return {
        customer: customer if has_account(customer, number) else anonymous_id_of(customer)
        for customer, number in zip(map(str, orders.index), orders, strict=True)
    }


def members_on(bought: pd.DataFrame, day: date) -> list[str]:
    """Return the customers with an order in (day − 30 days, day], by their ids of that day."""
    ids = ids_on(bought, day)
    return sorted(ids[customer] for customer in _window(bought, day, 30)["customer_id"].unique())


def revenue_on(bought: pd.DataFrame, day: date) -> dict[str, float]:
    """Return the dollars that each customer spent in (day − 180 days, day], to the cent, by their ids of that day."""
    ids = ids_on(bought, day)
    spent = _window(bought, day, 180).groupby("customer_id")["dollar_value"].sum().round(2)
    return {ids[str(customer)]: float(dollars) for customer, dollars in spent.items()}


def write_snapshots(bought: pd.DataFrame, day: date, folder: Path) -> None:
    """Write the day's two downloads: the audience formatted (a column an id), the trait unformatted (ids as JSON)."""
    customers = {known: customer for customer, known in ids_on(bought, day).items()}
    _write(
        folder / "order_completed" / f"{day}.csv",
        ("key", "user_id", "anonymous_id", "email"),
        (
            (_profile(customer), known if known == customer else "", anonymous_id_of(customer), email_of(customer))
            for known in members_on(bought, day)
            for customer in (customers[known],)
        ),
    )
    _write(
        folder / "total_revenue" / f"{day}.csv",
        ("key", "value", "external_ids"),
        (
            (_profile(customers[known]), dollars, json.dumps(_external_ids(customers[known], known)))
            for known, dollars in revenue_on(bought, day).items()
        ),
    )


def _external_ids(customer_id: str, known: str) -> dict[str, list[str]]:
    ids = {"anonymous_id": [anonymous_id_of(customer_id)], "email": [email_of(customer_id)]}
    return {"user_id": [customer_id], **ids} if known == customer_id else ids


def _window(bought: pd.DataFrame, day: date, days: int) -> pd.DataFrame:
    end = pd.Timestamp(day)
    return bought[(bought["date"] > end - pd.Timedelta(days=days)) & (bought["date"] <= end)]


def _profile(customer_id: str) -> str:
    return f"profile-{customer_id}"


def _write(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    draft.replace(path)
