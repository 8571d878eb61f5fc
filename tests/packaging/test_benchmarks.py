"""`make bench` names a ratio that became worse than the stored one; what the other benchmarks count with is right."""

from array import array
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from benchmarks.frame import Goal, Row, regressions
from benchmarks.rate import busiest_second
from benchmarks.server.tally import ARRIVALS, FALSE, TRUE, UNKNOWN, tallying
from benchmarks.workers import Size, Synced, defects


@pytest.mark.parametrize(
    ("row", "is_named"),
    [
        (Row("seal", "sealed", "bare", 2.5), True),
        (Row("seal", "sealed", "bare", 2.3), False),
        (Row("seal", "sealed", "bare", 1.0), False),
        (Row("diff", "changed, times faster", "pandas", 1.5), True),
        (Row("diff", "changed, times faster", "pandas", 2.5), False),
        (Row("delivery", "engine", "wrk", 1.5, goal=Goal(at_least=1)), True),
        (Row("seal", "memory", "bare", 900, "MB"), False),
    ],
)
def test_a_ratio_more_than_a_fifth_worse_than_the_stored_one_is_named(row: Row, *, is_named: bool) -> None:
    assert bool(regressions([row], {row.name: 2.0})) == is_named
    assert regressions([row], {}) == []


def test_the_windsor_of_measurements_keeps_each_users_last_value_and_when_it_came(tmp_path: Path) -> None:
    with tallying(tmp_path / "told", 0.0, users=4) as url, httpx.Client(base_url=url) as windsor:
        for number, value in ((1, True), (3, True), (1, False)):
            windsor.post("/", json={"userId": f"user-{number:08}", "traits": {"vip": value, "email": "a@example.com"}})
        assert windsor.get("/").json() == 3

    assert list((tmp_path / "told" / "vip").read_bytes()) == [UNKNOWN, FALSE, UNKNOWN, TRUE]
    came = array("d", (tmp_path / "told" / ARRIVALS).read_bytes())
    assert list(came) == sorted(came)
    assert busiest_second(came) == len(came) == 3


SYNCED = Synced("a", 1.0, 1.0, changes=10, messages=10, busiest_second=5, wrong=0, tasks={}, tried_again=0, load=0)
KILLED = replace(SYNCED, what="b", messages=12, tried_again=1)
NOTHING = replace(SYNCED, what="d", changes=0, messages=0, busiest_second=0)


@pytest.mark.parametrize(
    ("syncs", "said"),
    [
        ([SYNCED, KILLED, NOTHING], []),
        ([SYNCED, replace(KILLED, wrong=1), NOTHING], ["b: 1 users have a wrong value"]),
        ([SYNCED, replace(KILLED, messages=9), NOTHING], ["b: changes are missing"]),
        ([replace(SYNCED, busiest_second=6), KILLED, NOTHING], ["a: 6 requests in one second"]),
        ([SYNCED, replace(KILLED, tried_again=0), NOTHING], ["b: no task was tried again"]),
        ([SYNCED, KILLED, replace(NOTHING, messages=1)], ["d: 1 messages"]),
    ],
)
def test_a_sync_that_lost_something_or_was_too_fast_is_named(syncs: list[Synced], said: list[str]) -> None:
    assert defects(syncs, Size(1, 10, requests_per_second=5, latency_s=0, in_flight=1)) == said
