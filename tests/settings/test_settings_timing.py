"""`schedule` takes a length, a cron expression with a time zone, or assets."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from windsor_sync.settings import InvalidSettings, Settings, load
from windsor_sync.settings.timing import USUAL, Cron, OnAssets, Timing, interval_of, next_after

BERLIN = Cron("0 */3 * * *", "Europe/Berlin")
NOW = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def read(folder: Path, schedule: str, **env: str) -> Settings:
    path = folder / "windsor.yaml"
    audience = "audiences: [{name: VIP, schedule: 1h, snapshot: {path: x.csv}}]\n"
    path.write_text(f"destination: {{url: 'https://windsor.example/'}}\n{audience}{schedule}\n", encoding="utf-8")
    return load(path, env=env)


@pytest.mark.parametrize(
    ("text", "timing"),
    [
        ("3h", timedelta(hours=3)),
        ("{cron: '0 */3 * * *', timezone: Europe/Berlin}", BERLIN),
        ("{cron: '0 */3 * * *'}", Cron("0 */3 * * *")),
        ("'0 */3 * * * Europe/Berlin'", BERLIN),
        ("{on: ['s3://exports/vip', dbt_vip]}", OnAssets(("s3://exports/vip", "dbt_vip"), USUAL)),
        ("{true: ['s3://exports/vip']}", OnAssets(("s3://exports/vip",), USUAL)),  # rewritten by a program
        ("{on: ['s3://exports/vip'], every: 2h}", OnAssets(("s3://exports/vip",), timedelta(hours=2))),
    ],
)
def test_a_schedule_is_a_length_a_cron_expression_or_assets(tmp_path: Path, text: str, timing: Timing) -> None:
    found = read(tmp_path, f"schedule: {{audiences: {text}}}")
    assert found.schedule.audiences == timing
    assert found.audiences[0].schedule == timedelta(hours=1)


def test_a_variable_says_a_cron_expression_with_its_zone(tmp_path: Path) -> None:
    variable = {"WINDSOR_SYNC_SCHEDULE__AUDIENCES": "0 */3 * * * Europe/Berlin"}
    assert read(tmp_path, "", **variable).schedule.audiences == BERLIN


@pytest.mark.parametrize(
    "text",
    [
        "'* * *'",
        "'0 0 */3 * * *'",
        "'61 * * * *'",
        "'0 * * * * Mars/Olympus'",
        "{cron: '0 * * * *', timezone: '../../etc/passwd'}",
        "{cron: '0 * * * *', every: 2h}",
        "'0 0 30 2 *'",  # never
        "{cron: '0 0 31 4,6 *'}",
        "'R * * * *'",  # another time whenever it is asked
        "'0 R(1-5) * * *'",
        "{on: []}",
        "{on: s3://x}",
        "{on: ['s3://x'], true: ['s3://y']}",  # one of them would be lost
        "{true: ['s3://x'], True: ['s3://y']}",
        "{every: 2h}",
        "10s",
    ],
)
def test_what_is_no_schedule_is_refused_with_what_would_be(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"schedule\.audiences: found .*; expected a duration of at least 1m"):
        read(tmp_path, f"schedule: {{audiences: {text}}}")


def test_the_next_time_is_by_the_clocks_of_the_zone_across_both_changes() -> None:
    spring, autumn = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin
    for first, odd in ((spring, 2), (autumn, 4)):
        moments = [first]
        for _ in range(12):
            moments.append(next_after(BERLIN, moments[-1]))
        gaps = [after - before for before, after in pairwise(moments)]
        assert gaps == [timedelta(hours=odd), *[timedelta(hours=3)] * 11]


def test_how_far_apart_starts_are() -> None:
    assert interval_of(BERLIN) == timedelta(hours=3)
    assert interval_of(Cron("0 8,20 * * *")) == timedelta(hours=12)
    assert next_after(timedelta(hours=2), NOW) == NOW + timedelta(hours=2)
    assert next_after(OnAssets(("x",), timedelta(hours=2)), NOW) == NOW + timedelta(hours=2)
    assert next_after(Cron("0 * * * *"), NOW) == datetime(2026, 6, 1, 13, tzinfo=UTC)
