"""A month in the life of a shop's audiences, written straight into a state: what the pictures in the documents show."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from windsor_sync.state.database import Database
from windsor_sync.state.tables import audiences, runs, snapshots

RUNS = 48
EVERY = timedelta(hours=2, minutes=30)
SHOP = (
    ("Order Completed Last 30days", "order_completed_last_30days", "audience", 18_400),
    ("VIP Customers", "vip_customer", "audience", 2_150),
    ("Dormant Shoppers", "dormant_shoppers", "audience", 31_900),
    ("Abandoned Cart Last 7days", "abandoned_cart_last_7days", "audience", 5_320),
    ("Total Revenue 180 Days", "total_revenue_180_days", "trait", 44_800),
)
WITHHELD, REJECTING = "dormant_shoppers", "vip_customer"


def show(
    database: Database, destination: str, shop: Sequence[tuple[str, str, str, int]] = SHOP, last: int = RUNS
) -> None:
    """Fill the state with so many runs of each audience; the newest run began an hour ago."""
    luck = random.Random(7)
    with database.write() as connection:
        for audience_id, (name, key, computation_class, members) in enumerate(shop, 1):
            began = datetime.now(UTC) - EVERY * (last - 1) - timedelta(hours=1)
            row = {"id": audience_id, "destination": destination, "trait_key": key, "name": name, "runs": last}
            connection.execute(insert(audiences).values(**row, computation_class=computation_class, created_at=began))
            before = 0
            for number in range(1, last + 1):
                moment = began + EVERY * (number - 1)
                run, members_now = _run(luck, key, number, moment, before, members, last=last)
                snapshot = _snapshot(number + audience_id * 1_000, audience_id, moment, members_now)
                connection.execute(insert(snapshots).values(**snapshot))
                connection.execute(insert(runs).values(**run, audience_id=audience_id, snapshot_id=snapshot["id"]))
                before = members_now


def _run(
    luck: random.Random, key: str, number: int, moment: datetime, before: int, members: int, *, last: int
) -> tuple[dict[str, Any], int]:
    """One run and how many members it left: an initial sync, then about one in a hundred comes or goes."""
    entered = members if number == 1 else int(before * luck.uniform(0.004, 0.016))
    exited = 0 if number == 1 else int(before * luck.uniform(0.002, 0.014))
    updated = int(before * luck.uniform(0.05, 0.09)) if key.startswith("total") else 0
    is_last = number == last
    withheld = 0
    if is_last and key == WITHHELD:
        exited = withheld = int(before * 0.46)
    rejected = luck.randint(3, 9) if key == REJECTING and number > last - 6 else 0
    state = "withheld" if withheld else "rejected" if rejected else "done"
    delivered = entered + exited + updated - withheld - rejected
    sentence = f"Windsor was told {delivered:,} changes."
    if rejected:
        sentence = (
            f"Windsor rejected {rejected} of {entered + exited} changes of VIP Customers ({rejected} × 400 email is not valid). "
            "They are not yet in Windsor, and are tried again after 1, 2, 4 … runs."
        )
    if withheld:
        sentence = (
            f"{exited:,} of {before:,} members exited (46 %; 30 % are allowed) in Dormant Shoppers. These changes are withheld "
            f"and not yet in Windsor; {delivered:,} others are delivered."
        )
    run = {
        "id": f"{key}-{number}-{moment:%Y%m%dT%H%M%SZ}",
        "number": number,
        "kind": "sync",
        "trigger": f"airflow engage_audience_sync scheduled__{moment:%Y-%m-%dT%H:%M:%S}",
        "state": state,
        "held": ["exited"] if withheld else [],
        "options": {
            "turnover": {"entered": entered, "exited": exited, "updated": updated, "moved": 0},
            "told_true": before + entered - exited + withheld,
        },
        "started_at": moment,
        "finished_at": moment + timedelta(seconds=luck.randint(4, 90)),
        "sentence": sentence,
        "members_before": before,
        "entered": entered,
        "exited": exited,
        "updated": updated,
        "delivered": delivered,
        "rejected": rejected,
        "withheld": withheld,
    }
    return run, before + entered - exited


def _snapshot(snapshot_id: int, audience_id: int, moment: datetime, members: int) -> dict[str, Any]:
    return {
        "id": snapshot_id,
        "audience_id": audience_id,
        "path": f"snapshots/{snapshot_id}.parquet",
        "checksum": f"{snapshot_id:064}",
        "recipe": "0" * 64,
        "taken_at": moment,
        "sealed_at": moment,
        "size_bytes": members * 40,
        "rows_read": members,
        "members": members,
        "left_out": {},
    }
