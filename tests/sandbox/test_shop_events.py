"""The demo's archive: Segment's layout, the real purchases, and in each line what the tally says of it."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from windsor_sync.demo import shop
from windsor_sync.demo.shop_events import ShopTally, write_archive
from windsor_sync.sandbox.messages import read_message
from windsor_sync.sandbox.store import Store
from windsor_sync.segment.calls import Call, encode, normalise, parse_timestamp, validate
from windsor_sync.segment.routing import Filtered, Routing
from windsor_sync.segment.trait_keys import trait_key

DAYS = [shop.FIRST_DAY + timedelta(days=number) for number in range(4)]
ROUTING = Routing(synced_keys=frozenset((trait_key(shop.AUDIENCE),)))
FILE_NAME = re.compile(r"\d{12,13}\.[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.gz")


@pytest.fixture(scope="module")
def bought() -> pd.DataFrame:
    return shop.purchases()


@pytest.fixture(scope="module")
def archive(bought: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ShopTally]]:
    """The folder of the four days, and what was written on each."""
    folder = tmp_path_factory.mktemp("archive")
    return folder, [write_archive(bought, day, folder) for day in DAYS]


@pytest.fixture(scope="module")
def forwarded(archive: tuple[Path, list[ShopTally]]) -> list[dict[str, Any]]:
    """What Windsor has to get, in the order of its receipt by Segment."""
    return [message for what, message in judged(archive[0]) if what == "call" and message]


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.gz"), key=lambda path: int(path.name.partition(".")[0]))


def lines_of(folder: Path) -> Iterator[bytes]:
    for path in files_of(folder):
        yield from gzip.decompress(path.read_bytes()).splitlines()


def judged(folder: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each line with what becomes of it: malformed, duplicate, the code of a filter, or call."""
    seen: set[str] = set()
    for line in lines_of(folder):
        try:
            message = normalise(json.loads(line))
        except ValueError:
            yield "malformed", None
            continue
        assert validate(message) is None
        is_new = message["messageId"] not in seen
        seen.add(message["messageId"])
        yield (ROUTING.decide(message) or "call") if is_new else "duplicate", message


def test_every_line_becomes_what_the_tally_says(archive: tuple[Path, list[ShopTally]]) -> None:
    folder, tallies = archive
    whole = sum(tallies, ShopTally())
    found = list(judged(folder))
    what = Counter(what for what, _ in found)
    assert Counter(message["type"] for kind, message in found if kind == "call" and message) == whole.calls
    assert {code: what[code] for code in Filtered if what[code]} == dict(whole.filtered)
    assert (what["duplicate"], what["malformed"]) == (whole.duplicates, whole.malformed)
    assert (len(found), len(files_of(folder))) == (whole.lines, whole.files)


def test_each_day_has_all_six_calls_and_something_of_everything_that_is_left_out(
    archive: tuple[Path, list[ShopTally]],
) -> None:
    for tally in archive[1]:
        assert set(tally.calls) == {call.value for call in Call}
        assert set(tally.filtered) == {Filtered.FILTERED_BY_INTEGRATIONS_OBJECT, Filtered.SYNCED_FROM_SNAPSHOTS}
        assert tally.duplicates > 0
        assert tally.malformed > 0
        assert tally.lines == sum(tally.calls.values()) + sum(tally.filtered.values()) + tally.duplicates + 1
    assert 2_000 < sum(tally.lines for tally in archive[1]) < 5_000


def test_the_files_lie_where_segment_puts_them(archive: tuple[Path, list[ShopTally]]) -> None:
    root = archive[0] / "segment-logs"
    assert (root / "dummy-object.txt").is_file()
    midnights = {int(path.parent.name) for path in files_of(archive[0])}
    assert midnights == {int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000 for day in DAYS}
    assert all(FILE_NAME.fullmatch(path.name) and path.parents[2] == root for path in files_of(archive[0]))


def test_an_archive_is_the_same_to_the_byte_every_time(
    bought: pd.DataFrame, archive: tuple[Path, list[ShopTally]], tmp_path: Path
) -> None:
    tallies = [write_archive(bought, day, tmp_path) for day in reversed(DAYS)]
    tallies[-1] = write_archive(bought, DAYS[0], tmp_path)
    assert list(reversed(tallies)) == archive[1]
    contents = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (archive[0], tmp_path)
    ]
    assert contents[0] == contents[1]


def test_each_purchase_is_one_completed_order_with_its_dollars(
    bought: pd.DataFrame, forwarded: list[dict[str, Any]]
) -> None:
    orders = [message for message in forwarded if message["type"] == "track"]
    made = bought[bought["date"].isin([pd.Timestamp(day) for day in DAYS])]
    customers = {shop.anonymous_id_of(customer): customer for customer in set(made["customer_id"])}
    told = sorted(
        (
            message.get("userId") or customers[message["anonymousId"]],
            message["timestamp"][:10],
            message["properties"]["revenue"],
        )
        for message in orders
    )
    real = zip(made["customer_id"], made["date"].dt.strftime("%Y-%m-%d"), made["dollar_value"], strict=True)
    assert told == sorted((str(customer), day, float(dollars)) for customer, day, dollars in real)
    assert {message["event"] for message in orders} == {"Order Completed"}
    assert all(message["properties"]["currency"] == "USD" and message["properties"]["products"] for message in orders)


def test_a_stranger_s_pages_come_first_then_the_alias_then_what_the_user_does(forwarded: list[dict[str, Any]]) -> None:
    aliases = [message for message in forwarded if message["type"] == "alias"]
    for alias in aliases:
        day = alias["timestamp"][:10]
        strange = [
            message
            for message in forwarded
            if message.get("anonymousId") == alias["previousId"]
            and not message.get("userId")
            and alias["timestamp"] > message["timestamp"] > day
        ]
        assert [message["type"] for message in strange][-2:] == ["page", "page"]
        known = [
            message["type"]
            for message in forwarded
            if message.get("userId") == alias["userId"]
            and message["timestamp"] > alias["timestamp"]
            and message["timestamp"].startswith(day)
        ]
        assert known[:3] == ["identify", "track", "group"]
    assert len({alias["userId"] for alias in aliases}) == len(aliases)


def test_times_are_as_segment_writes_them(forwarded: list[dict[str, Any]]) -> None:
    digits, unsent, slow = Counter[int](), 0, 0
    for message in forwarded:
        original = message["originalTimestamp"]
        digits[len(original.partition(".")[2]) - 1] += 1
        slow += parse_timestamp(message["timestamp"]) - parse_timestamp(original) > timedelta(minutes=1)
        if message["sentAt"] is None:
            unsent += 1
            continue
        travelled = parse_timestamp(message["sentAt"]) - parse_timestamp(original)
        told = parse_timestamp(message["receivedAt"]) - travelled
        assert abs(told - parse_timestamp(message["timestamp"])) < timedelta(milliseconds=1)
    assert set(digits) == {3, 9}
    assert unsent > 0
    assert slow > 0


def test_some_integrations_objects_hold_objects_and_some_name_windsor_alone(forwarded: list[dict[str, Any]]) -> None:
    objects = [message["integrations"] for message in forwarded]
    assert any(isinstance(value, dict) for integrations in objects for value in integrations.values())
    assert {"All": False, "Windsor": True} in objects


def test_customers_are_strangers_until_they_sign_up(
    bought: pd.DataFrame, archive: tuple[Path, list[ShopTally]]
) -> None:
    before, after = (shop.ids_on(bought, day) for day in (DAYS[0] - timedelta(days=1), DAYS[-1]))
    signed_up = {customer for customer, known in before.items() if known != after[customer]}
    assert {after[customer] for customer in signed_up} == signed_up
    assert 100 < len(signed_up) == sum(tally.calls["alias"] for tally in archive[1])
    members = [set(shop.members_on(bought, day)) for day in DAYS]
    assert sum(before[customer] in members[0] and customer in members[-1] for customer in signed_up) > 10


def test_a_snapshot_has_the_user_id_of_those_who_signed_up_and_everybody_s_anonymous_id(
    bought: pd.DataFrame, tmp_path: Path
) -> None:
    shop.write_snapshots(bought, DAYS[0], tmp_path)
    known = set(shop.ids_on(bought, DAYS[0]).values())
    audience = pd.read_csv(tmp_path / "order_completed" / f"{DAYS[0]}.csv", dtype=str)
    assert sorted(audience["user_id"].fillna(audience["anonymous_id"])) == shop.members_on(bought, DAYS[0])
    assert audience["anonymous_id"].notna().all()
    trait = pd.read_csv(tmp_path / "total_revenue" / f"{DAYS[0]}.csv", dtype={"external_ids": str})
    ids = [json.loads(row) for row in trait["external_ids"]]
    assert {(each.get("user_id") or each["anonymous_id"])[0] for each in ids} == known


def test_the_sandbox_s_windsor_takes_every_call_and_has_one_user_a_customer(
    bought: pd.DataFrame, forwarded: list[dict[str, Any]]
) -> None:
    store = Store()
    for message in forwarded:
        store.apply(read_message(encode(message)), 0.0)
    users = store.users()
    customers = {known: customer for customer, known in shop.ids_on(bought, DAYS[-1]).items()}
    came = {str(customer) for customer in bought[bought["date"].isin(map(pd.Timestamp, DAYS))]["customer_id"]}
    assert sorted(customers[user.id] for user in users) == sorted(came)
    assert all(user.properties["email"] == shop.email_of(customers[user.id]) and user.group for user in users)
    calls = Counter(message["type"] for message in forwarded)
    assert (store.stats()["duplicates"], store.stats()["hidden_events"]) == (0, calls["page"])
    assert len(store.feed()) == calls["track"] + calls["screen"]


def test_a_day_without_purchases_is_a_day_of_empty_files(bought: pd.DataFrame, tmp_path: Path) -> None:
    tally = write_archive(bought, date(1996, 12, 31), tmp_path)
    assert (tally.files, tally.lines) == (4, 0)
    assert list(lines_of(tmp_path)) == []
