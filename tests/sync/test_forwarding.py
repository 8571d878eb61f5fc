"""Ordinary events: what is new in the archive reaches Windsor, each event once and in its user's order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.archive import FIRST_DAY, Archive, arrived, sent
from tests.support.world import KEY, World
from windsor_sync.delivery.engine import Delivery
from windsor_sync.delivery.shared_rate import Weight
from windsor_sync.errors import ConfigError, LeaseHeld
from windsor_sync.events.books import overview
from windsor_sync.forward import Request, forward
from windsor_sync.privacy import forget
from windsor_sync.registry import EVENTS
from windsor_sync.runs import Run, RunState, recent
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import rate_shares

CALLS = ("identify", "page", "screen", "track", "group")


def six_calls(archive: Archive, user: str) -> list[dict[str, Any]]:
    """All six calls about one user, who was anonymous first."""
    return [
        archive.message("page", None, anonymousId=f"anon-{user}", name="Home"),
        archive.message("alias", user, previousId=f"anon-{user}"),
        archive.message("identify", user, traits={"email": f"{user}@example.com"}),
        archive.message("track", user),
        archive.message("screen", user, name="Basket"),
        archive.message("group", user, groupId="acme", traits={"plan": "free"}),
    ]


def forwarded(world: World, **request: Any) -> list[Run]:
    return forward(world.workspace, Request(**request), world.stop)


def one_run(world: World, **request: Any) -> Run:
    (run,) = forwarded(world, **request)
    run.books.check(run.run_id)
    return run


def test_each_event_arrives_once_and_in_order_when_new_files_come_between_two_forwardings(world: World) -> None:
    archive = Archive(world)
    archive.write([message for user in ("ana", "ben") for message in six_calls(archive, user)])
    assert one_run(world).books.delivered == 12
    archive.write([archive.message(call, user, groupId="acme") for user in ("ana", "ben") for call in CALLS])
    archive.write(six_calls(archive, "cem"), day=FIRST_DAY - timedelta(days=30))  # late, in an old folder
    assert one_run(world).books.delivered == 16
    assert forwarded(world) == []
    assert arrived(world) == sent(archive.written)
    assert world.windsor.store.stats()["duplicates"] == 0
    ana = world.windsor.store.user("ana")
    assert ana is not None
    assert ana.group is not None
    assert (ana.properties["email"], ana.group.id, ana.merged_ids) == ("ana@example.com", "acme", ["anon-ana"])


def test_a_repeated_message_is_sent_once_within_a_file_a_run_and_the_window(world: World) -> None:
    archive = Archive(world)
    message = archive.message("track", "ana")
    archive.write([message, message])
    archive.write([message])
    first = one_run(world)
    archive.write([message, archive.message("track", "ana")])
    second = one_run(world)
    assert (first.books.delivered, overview(first)["duplicates"]) == (1, 2)
    assert (second.books.delivered, overview(second)["duplicates"]) == (1, 1)


def test_an_overwritten_file_brings_only_what_is_new_in_it(world: World) -> None:
    archive = Archive(world)
    messages = [archive.message("track", "ana") for _ in range(3)]
    path = archive.write(messages)
    assert one_run(world).books.delivered == 3
    other = archive.write([*messages, archive.message("track", "ana")])
    other.rename(path)
    run = one_run(world)
    assert (run.books.delivered, overview(run)["duplicates"]) == (1, 3)


def test_every_line_ends_in_exactly_one_step_of_the_delivery_overview(world: World) -> None:
    archive = Archive(world, calls=["identify", "track", "page", "group", "alias"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"bad"})))
    repeated = archive.message("track", "ana")
    archive.write(
        [
            repeated,
            repeated,
            "{not json",
            '["a list"]',
            archive.message("track", None),
            archive.message("track", "ana", event=7),
            archive.message("screen", "ana"),
            archive.message("track", "ana", integrations={"All": False}),
            archive.message("track", "bad"),
            archive.message("identify", "ana", traits={"plan": "free"}),
        ]
    )
    run = one_run(world)
    assert run.state is RunState.REJECTED
    assert run.intake is not None
    assert run.intake["failed_on_ingest"]["no_user_anon_id"] == 1
    assert run.intake["filtered"]["FILTERED_BY_INTEGRATIONS_OBJECT"] == 1
    assert overview(run) == {
        "received": 10,
        "carried": 0,
        "failed_on_ingest": 4,
        "filtered_at_destination": 2,
        "duplicates": 1,
        "held": 0,
        "awaiting_retry": 0,
        "failed_delivery": 1,
        "delivered": 2,
    }
    assert forwarded(world) == []  # a rejection is final


def test_engages_own_calls_are_not_sent_twice_when_the_audience_is_synced_from_snapshots(world: World) -> None:
    archive = Archive(world)

    def engage(key: str) -> dict[str, Any]:
        personas = {"computation_class": "audience", "computation_key": key}
        return archive.message("identify", "ana", traits={key: True}, context={"personas": personas})

    archive.write([engage(KEY), engage("an_audience_of_another_space")])
    run = one_run(world)
    assert run.intake is not None
    assert run.intake["filtered"] == {"SYNCED_FROM_SNAPSHOTS": 1}
    assert world.shown(KEY) == {}
    assert world.shown("an_audience_of_another_space") == {"ana": True}


def test_held_aliases_wait_until_a_person_releases_them(world: World) -> None:
    archive = Archive(world, alias="hold")
    archive.write(six_calls(archive, "ana"))
    run = one_run(world)
    assert (run.state, run.books.delivered, run.books.withheld) == (RunState.DONE, 5, 1)
    assert "--release-aliases" in (run.sentence or "")
    archive.write([archive.message("track", "ana")])
    assert one_run(world).books.withheld == 1
    assert forwarded(world) == []
    assert world.windsor.store.user("anon-ana") is not None
    released = one_run(world, releases_aliases=True)
    assert (released.books.delivered, released.books.withheld) == (1, 0)
    user = world.windsor.store.user("anon-ana")
    assert user is not None
    assert user.id == "ana"


def test_an_outage_loses_nothing_and_keeps_every_users_order(world: World) -> None:
    archive = Archive(world)
    world.destination |= {"give_up_after_s": 0.3, "timeout_s": 2, "max_in_flight": 8}
    users = [f"user-{number}" for number in range(40)]
    archive.write([archive.message(call, user, groupId="acme") for call in CALLS for user in users])
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    down = one_run(world)
    assert down.state is RunState.UNAVAILABLE
    assert down.books.owed == down.books.changes == 200
    archive.write([archive.message("track", user) for user in users])
    world.windsor.set_faults(Faults(error_rate=0.2, reset_rate=0.1, latency_ms=(0, 5), lost_answer_rate=0.05))
    world.destination["give_up_after_s"] = 60
    world.reopen()
    run = one_run(world)
    assert (run.state, run.books.delivered, overview(run)["carried"]) == (RunState.DONE, 240, 200)
    assert arrived(world) == sent(archive.written)


def test_who_is_suppressed_after_the_reading_is_told_nothing_and_leaves_the_stored_files(world: World) -> None:
    archive = Archive(world)
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    archive.write([*six_calls(archive, "ana"), *six_calls(archive, "ben")])
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    assert one_run(world).books.owed == 12
    assert forget(world.workspace, "ana", who="a test", why=None).outboxes == 1
    stored = b"".join(path.read_bytes() for path in (world.folder / ".windsor").rglob("*.parquet"))
    assert b"ana@example.com" not in stored
    world.windsor.set_faults(Faults())
    run = one_run(world)
    assert (run.state, run.books.delivered) == (RunState.DONE, 7)  # ben's six, and the page of ana's anonymous past
    assert set(arrived(world)) == {"ben", "anon-ben", "anon-ana"}


def test_who_is_forgotten_leaves_every_file_of_an_outbox(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windsor_sync.events.sealing.STRETCH_WEIGHT", 4)
    archive = Archive(world)
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    archive.write([*six_calls(archive, "ana"), *six_calls(archive, "ben")])
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    assert one_run(world).books.owed == 12
    assert len(list((world.folder / ".windsor").rglob("outboxes/events/*/*.parquet"))) == 3
    assert forget(world.workspace, "ben", who="a test", why=None).outboxes == 1
    stored = b"".join(path.read_bytes() for path in (world.folder / ".windsor").rglob("*.parquet"))
    assert b"ben@example.com" not in stored
    world.windsor.set_faults(Faults())
    assert one_run(world).books.delivered == 7
    assert set(arrived(world)) == {"ana", "anon-ana", "anon-ben"}


def test_day_folders_before_since_are_left_alone(world: World) -> None:
    archive = Archive(world, since="2026-01-01")
    archive.write([archive.message("track", "old")], day=FIRST_DAY - timedelta(days=1))
    archive.write([archive.message("track", "new")])
    one_run(world)
    assert set(arrived(world)) == {"new"}
    one_run(world, since=datetime(2025, 1, 1, tzinfo=UTC).date())
    assert set(arrived(world)) == {"new", "old"}


def test_a_large_backlog_goes_out_in_several_runs_oldest_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(world)
    for _ in range(5):
        archive.write([archive.message("track", "ana")])
    monkeypatch.setattr("windsor_sync.forward.MOST_BYTES", 1)
    assert [run.books.delivered for run in forwarded(world)] == [1] * 5
    assert arrived(world) == sent(archive.written)


def test_two_forwardings_never_run_at_once(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    with world.workspace.hold(EVENTS, "somebody else"), pytest.raises(LeaseHeld):
        forwarded(world)
    assert one_run(world).books.delivered == 1


def test_forwarding_and_audiences_do_not_hold_each_other(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    world.snapshot(["ana"])
    with world.workspace.hold(EVENTS, "a forwarding"):
        assert world.sync().state is RunState.DONE
    one_run(world)
    assert {run.kind for run in recent(world.workspace.database)} == {"sync", "forward"}
    assert world.plan() == []


def test_forwarding_claims_two_parts_of_the_rate_where_an_audience_claims_one(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    weights: list[int] = []

    def look(_run: Run, _so_far: Delivery) -> None:
        with world.workspace.database.read() as connection:
            tasks = select(rate_shares.c.weight).where(rate_shares.c.task != "")
            weights.extend(connection.execute(tasks).scalars())

    forward(world.workspace, Request(), world.stop, on_progress=look)
    world.snapshot(["ana"])
    world.sync(on_progress=look)
    assert list(dict.fromkeys(weights)) == [Weight.EVENTS, Weight.AUDIENCES] == [2, 1]


def test_without_an_events_section_the_remedy_is_named(world: World) -> None:
    with pytest.raises(ConfigError, match="no section `events`"):
        forwarded(world)
