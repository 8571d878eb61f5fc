"""What a backfill's plan says before anyone has approved it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.support.world import KEY, World
from windsor_sync.delivery.shared_rate import Weight, sharing
from windsor_sync.errors import ChangesWithheld, ConfigError
from windsor_sync.state.runs import recent
from windsor_sync.usecases.backfill import Wish, moment_meant, plan, run_backfill
from windsor_sync.usecases.plan import estimate

MakeWorld = Callable[..., World]


def test_requests_are_counted_by_the_wires_batches(make_world: MakeWorld) -> None:
    plain, hook = make_world(requests_per_second=100), make_world(requests_per_second=100, wire="windsor_hook")
    found = [estimate(world.workspace.settings, world.workspace.database, 41) for world in (plain, hook)]
    assert [one.requests for one in found] == [41, 3]
    assert found[0].seconds == pytest.approx(0.41)


def test_the_pace_is_what_those_who_send_now_leave_by_weight(make_world: MakeWorld) -> None:
    world = make_world(requests_per_second=90)
    with sharing(
        world.workspace.database, destination="windsor", task="events", requests_per_second=90, weight=Weight.EVENTS
    ):
        assert estimate(world.workspace.settings, world.workspace.database, 300).requests_per_second == 30
        assert estimate(world.workspace.settings, world.workspace.database, 300).seconds == 10
    assert estimate(world.workspace.settings, world.workspace.database, 300).requests_per_second == 90


def test_a_plan_records_and_sends_nothing_and_names_nobody(world: World) -> None:
    world.snapshot({"canary": "canary@example.com"})
    found = plan(world.workspace, world.computation(), Wish(is_resync=True).request(world.computation(), "test"))
    assert (found["audience"], found["entered"], found["to_send"], found["messages"]) == (KEY, 1, 1, 1)
    assert "canary" not in str(found)
    assert (world.sent, recent(world.workspace.database)) == (0, [])


def test_a_plan_counts_what_the_limit_leaves(world: World) -> None:
    world.snapshot(["ana", "ben", "cem"])
    found = plan(world.workspace, world.computation(), Wish(limit=2).request(world.computation(), "test"))
    assert (found["entered"], found["to_send"], found["messages"]) == (3, 2, 2)


def test_a_permission_is_for_one_start_only(world: World) -> None:
    world.snapshot(["ana"])
    with pytest.raises(ChangesWithheld, match="Nobody who may approve has permitted this backfill"):
        run_backfill(world.workspace, world.computation(), Wish().request(world.computation(), "test"), world.stop)
    assert world.sent == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T06:00:00Z", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        (" 2026-11-01T06:00:00+02:00 ", datetime(2026, 11, 1, 4, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(text: str, moment: datetime) -> None:
    assert moment_meant(text) == moment


def test_what_is_no_moment_is_said(world: World) -> None:
    with pytest.raises(ConfigError, match="'last week' is not a moment"):
        moment_meant("last week")
