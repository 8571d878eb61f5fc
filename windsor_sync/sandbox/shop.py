"""The demo's shop: real purchases, and the snapshots Engage would have made of them on a given day."""

import csv
import json
from collections.abc import Iterable
from datetime import date
from importlib import resources
from pathlib import Path

import pandas as pd

AUDIENCE = "Order Completed Last 30days"
TRAIT = "Total Revenue 180 Days"
FIRST_DAY = date(1997, 4, 1)
"""Late enough that some customers have not bought for a month."""


def purchases() -> pd.DataFrame:
    """Every purchase: customer_id (text, leading zeros kept), date, number_of_cds, dollar_value."""
    packed = resources.files("windsor_sync.sandbox").joinpath("data/purchases.csv.gz")
    with resources.as_file(packed) as path:
        return pd.read_csv(path, dtype={"customer_id": "str"}, parse_dates=["date"])


def email_of(customer_id: str) -> str:
    """The address the demo makes up; the data has none."""
    return f"customer-{customer_id}@example.com"


def members_on(bought: pd.DataFrame, day: date) -> list[str]:
    """Who completed an order in (day − 30 days, day]."""
    return sorted(_window(bought, day, 30)["customer_id"].unique())


def revenue_on(bought: pd.DataFrame, day: date) -> dict[str, float]:
    """Dollars spent in (day − 180 days, day] by each customer who bought then, to the cent."""
    spent = _window(bought, day, 180).groupby("customer_id")["dollar_value"].sum().round(2)
    return {str(customer): float(dollars) for customer, dollars in spent.items()}


def write_snapshots(bought: pd.DataFrame, day: date, folder: Path) -> None:
    """Write the day's two downloads: the audience formatted (a column an id), the trait unformatted (ids as JSON)."""
    _write(
        folder / "order_completed" / f"{day}.csv",
        ("key", "user_id", "email"),
        ((_profile(customer), customer, email_of(customer)) for customer in members_on(bought, day)),
    )
    _write(
        folder / "total_revenue" / f"{day}.csv",
        ("key", "value", "external_ids"),
        (
            (_profile(customer), dollars, json.dumps({"user_id": [customer], "email": [email_of(customer)]}))
            for customer, dollars in revenue_on(bought, day).items()
        ),
    )


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
