"""Ordinary events: what is new in the archive reaches Windsor, each event once and in its user's order."""

import gzip
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import and_, select, update

from tests.cli.test_tables_and_words import call
from tests.support.archive import FIRST_DAY, Archive, arrived, sent
from tests.support.world import KEY, World
from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.shared_rate import Weight
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import ConfigError, LeaseHeld, LeaseLost, SnapshotError, StoredFileError
from windsor_sync.events.books import overview, overview_of
from windsor_sync.sandbox import Faults
from windsor_sync.state.audiences import EVENTS
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import archive_files, leases, rate_shares, runs
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.close_run import error_of
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.recover_events import Recovered, recover_events
from windsor_sync.usecases.retire import retire

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
    return forward(world.workspace, ForwardRequest(**request), world.stop)


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


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "unpacked"])
def test_a_file_that_is_still_being_uploaded_is_read_again_when_it_is_whole(world: World, *, is_packed: bool) -> None:
    archive = Archive(world)
    messages = [archive.message("track", f"user-{number % 7}", properties={"x": number**9}) for number in range(400)]
    path = archive.write(messages)
    whole = path.read_bytes() if is_packed else gzip.decompress(path.read_bytes())
    torn = "torn_file" if is_packed else "malformed_json"
    delivered = 0
    for uploaded in (len(whole) // 3, len(whole) - 6):
        path.write_bytes(whole[:uploaded])
        run = one_run(world)
        assert run.intake is not None
        assert run.intake["failed_on_ingest"] == {torn: 1}
        assert overview(run)["duplicates"] == delivered
        delivered += run.books.delivered
    assert delivered >= 399  # a third, and then all but the last line at most
    path.write_bytes(whole)
    run = one_run(world)
    assert (run.books.delivered, overview(run)["failed_on_ingest"]) == (400 - delivered, 0)
    assert forwarded(world) == []
    assert arrived(world) == sent(messages)
    assert world.windsor.store.stats()["duplicates"] == 0


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


def test_what_is_held_is_not_part_of_what_a_run_has_to_send(world: World) -> None:
    archive = Archive(world, alias="hold")
    archive.write(six_calls(archive, "ana"))
    assert one_run(world).options["to_send"] == 5
    assert one_run(world, releases_aliases=True).options["to_send"] == 1


def test_released_aliases_go_out_in_their_order_among_what_is_new_whatever_goes_wrong(world: World) -> None:
    """Each of them merges the user of the one before, so that any other order leaves somebody behind."""
    archive = Archive(world, alias="hold")
    links = 8
    world.destination["max_in_flight"] = 16
    world.windsor.set_faults(Faults(error_rate=0.2, reset_rate=0.1, lost_answer_rate=0.1, latency_ms=(0, 5)))
    chains = [[f"{chain}-{number}" for number in range(links)] for chain in range(8)]
    archive.write(archive.message("track", chain[0]) for chain in chains)
    archive.write(
        archive.message("alias", chain[number], previousId=chain[number - 1])
        for number in range(1, links)
        for chain in chains
    )
    assert one_run(world).books.withheld == 8 * (links - 1)
    archive.write(archive.message("track", chain[-1]) for chain in chains)
    run = one_run(world, releases_aliases=True)
    assert (run.state, run.books.delivered, run.books.withheld) == (RunState.DONE, 8 * links, 0)
    store = world.windsor.store
    assert {user.id: user.merged_ids for user in store.users()} == {chain[-1]: chain[-2::-1] for chain in chains}
    place = {one.message_id: place for place, one in reversed(list(enumerate(store.accepted)))}
    for number, chain in enumerate(chains):
        of_chain = [one for one in archive.written if one["userId"] in chain]
        seen = [place[one["messageId"]] for one in of_chain]
        assert seen == sorted(seen), number


def test_a_late_file_is_sent_once_when_it_is_found_also_after_newer_messages_of_its_users(world: World) -> None:
    archive = Archive(world)
    late = six_calls(archive, "ana")
    archive.write([archive.message("group", "ana", groupId="newer"), archive.message("identify", "ana")])
    assert one_run(world).books.delivered == 2
    archive.write(late, day=FIRST_DAY - timedelta(days=30))
    assert one_run(world).books.delivered == 6
    assert forwarded(world) == []
    assert [one.call for one in world.windsor.store.accepted][2:] == [one["type"] for one in late]


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
    monkeypatch.setattr("windsor_sync.usecases.forward.MOST_BYTES", 1)
    assert [run.books.delivered for run in forwarded(world)] == [1] * 5
    assert arrived(world) == sent(archive.written)


def test_what_several_runs_of_one_forwarding_hand_on_is_counted_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(world, alias="hold")
    monkeypatch.setattr("windsor_sync.usecases.forward.MOST_BYTES", 1)
    archive.write([archive.message("alias", "ana", previousId="first")])
    forwarded(world)
    for number in range(4):
        archive.write(
            [archive.message("alias", f"user-{number}", previousId=f"old-{number}"), archive.message("track", "ana")]
        )
    runs = forwarded(world)
    assert [overview(run)["held"] for run in runs] == [2, 3, 4, 5]
    total = overview_of(runs)
    assert (total["received"], total["carried"], total["held"], total["delivered"]) == (8, 1, 5, 4)
    assert total["received"] + total["carried"] == sum(total.values()) - total["received"] - total["carried"]


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

    forward(world.workspace, ForwardRequest(), world.stop, on_progress=look)
    world.snapshot(["ana"])
    world.sync(on_progress=look)
    assert list(dict.fromkeys(weights)) == [Weight.EVENTS, Weight.AUDIENCES] == [2, 1]


def test_without_an_events_section_the_remedy_is_named(world: World) -> None:
    with pytest.raises(ConfigError, match="no section `events`"):
        forwarded(world)


def test_a_message_nested_deeper_than_anybody_reads_does_not_stop_the_others(world: World) -> None:
    archive = Archive(world)
    deep = '{"a":' * 1_010 + "1" + "}" * 1_010
    line = json.dumps(archive.message("track", "ana", properties="…")).replace('"\\u2026"', deep)
    archive.write([line, archive.message("track", "ana")])
    run = one_run(world)
    assert run.intake is not None
    assert (run.books.delivered, run.intake["failed_on_ingest"]) == (1, {"bad_request": 1})


def days_pass(world: World, days: int) -> None:
    """As if all that happened so far had happened so many days earlier."""
    with world.workspace.database.write() as connection:
        for table, columns in ((runs, ("started_at", "finished_at")), (archive_files, ("read_at",))):
            for row in connection.execute(select(table)).mappings().all():
                key = and_(*(column == row[column.name] for column in table.primary_key))
                moved = {name: row[name] - timedelta(days=days) for name in columns}
                connection.execute(update(table).where(key).values(**moved))


def test_a_file_that_is_overwritten_every_few_days_sends_nothing_twice(world: World) -> None:
    archive = Archive(world, dedupe_days=7)
    messages = [archive.message("track", "ana") for _ in range(3)]
    path = archive.write(messages)
    assert one_run(world).books.delivered == 3
    for _ in range(3):
        days_pass(world, 5)
        archive.write([*messages, archive.message("track", "ben")]).rename(path)
        assert one_run(world).books.delivered == 1


def test_new_lines_of_a_file_that_was_rewritten_after_its_messages_were_forgotten_are_counted_and_named(
    world: World,
) -> None:
    archive = Archive(world, dedupe_days=7)
    messages = [archive.message("track", "ana") for _ in range(3)]
    path = archive.write(messages)
    assert one_run(world).books.delivered == 3
    days_pass(world, 10)
    archive.write([*messages, "", archive.message("track", "ben"), archive.message("track", "cem")]).rename(path)
    run = one_run(world)
    name = path.relative_to(archive.root).as_posix()
    assert run.intake is not None
    assert run.intake["late"] == {"lines": 2, "files": [name], "number_of_files": 1}
    assert (run.state, run.books.delivered) == (RunState.DONE, 0)
    assert "At least 2 new lines in 1 archive file were not sent" in (run.sentence or "")
    assert name in call(world, "runs", run.run_id).out
    assert re.search(r"\"late_lines\": 2\b", call(world, "runs", run.run_id, "--json").out)
    assert forwarded(world) == []  # counted once
    # The remedy that the sentence names:
    archive.write(archive.written[-2:])
    assert one_run(world).books.delivered == 2
    assert arrived(world) == sent(archive.written)


def test_a_file_that_lost_lines_after_its_messages_were_forgotten_is_nothing_to_speak_of(world: World) -> None:
    archive = Archive(world, dedupe_days=7)
    messages = [archive.message("track", user) for user in ("ana", "ben")]
    path = archive.write(messages)
    assert one_run(world).books.delivered == 2
    days_pass(world, 10)
    archive.write(messages[1:]).rename(path)  # as Segment does when a user is deleted
    assert forwarded(world) == []
    archive.write([messages[1], archive.message("track", "cem")]).rename(path)
    [run] = forwarded(world)
    assert run.intake is not None
    assert run.intake["late"]["lines"] == 1


def test_a_file_is_read_again_exactly_as_long_as_its_messages_are_remembered(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    run = one_run(world)
    with world.workspace.database.read() as connection:
        assert connection.execute(select(archive_files.c.read_at)).scalar_one() == run.started_at


def test_a_destination_that_refuses_everything_stops_the_forwarding_not_only_a_run(world: World) -> None:
    archive = Archive(world)
    world.destination["max_in_flight"] = 1
    world.windsor.set_faults(Faults(rejected_share=1.0))
    archive.write([archive.message("track", f"user-{number}") for number in range(120)])
    run = one_run(world)
    assert (run.state, run.books.delivered, run.books.rejected, run.books.owed) == (RunState.REJECTED, 0, 50, 70)


def test_a_call_that_windsor_does_not_take_stops_no_other_however_many_come_first(world: World) -> None:
    archive = Archive(world)
    world.windsor.set_faults(Faults(unsupported_calls=frozenset({"screen"})))
    archive.write([archive.message("screen", f"user-{number}") for number in range(120)])
    archive.write([archive.message("track", "ana")])
    run = one_run(world)
    assert (run.books.delivered, run.books.rejected, run.books.owed) == (1, 120, 0)
    assert "Leave calls that Windsor does not take out of `events.calls`." in (run.sentence or "")


def test_what_is_held_is_not_promised_to_the_next_run(world: World) -> None:
    archive = Archive(world, alias="hold")
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    world.windsor.set_faults(Faults(error_rate=1.0))
    archive.write([archive.message("alias", "ana", previousId="old"), archive.message("track", "ben")])
    run = one_run(world)
    assert (run.state, run.books.owed, run.books.withheld) == (RunState.UNAVAILABLE, 1, 1)
    assert "the other one stays owed and the next run sends it" in (run.sentence or "")


def test_an_anonymous_user_can_be_forgotten_too(world: World) -> None:
    archive = Archive(world)
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    secret = {"traits": {"email": "anon-ana@example.com"}}
    archive.write(
        [
            archive.message("identify", None, anonymousId="anon-ana", **secret),
            archive.message("identify", "ben", anonymousId="anon-ana"),
        ]
    )
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    assert one_run(world).books.owed == 2
    assert forget(world.workspace, "anon-ana", who="a test", why=None).outboxes == 1
    stored = b"".join(path.read_bytes() for path in (world.folder / ".windsor").rglob("*.parquet"))
    assert b"anon-ana@example.com" not in stored
    world.windsor.set_faults(Faults())
    archive.write([archive.message("page", None, anonymousId="anon-ana")])
    run = one_run(world)
    assert run.intake is not None
    assert run.intake["filtered"] == {"SUPPRESSED": 1}
    assert set(arrived(world)) == {"ben"}


def test_who_lost_the_lease_while_reading_changes_nothing_of_who_came_after(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    later = [archive.message("track", "ben")]
    overtaken: list[Run] = []

    def overtake(_lines: int, _files: int) -> None:
        if overtaken:
            return
        with world.workspace.database.write() as connection:
            connection.execute(update(leases).values(holder=None, deadline=None, token=leases.c.token + 1))
        archive.write(later)
        overtaken.append(one_run(world))

    with pytest.raises(LeaseLost):
        forward(world.workspace, ForwardRequest(), world.stop, on_reading=overtake)
    assert [run.books.delivered for run in overtaken] == [2]
    archive.write(later)
    assert overview(one_run(world))["duplicates"] == 1


class _NotWindsor(BaseHTTPRequestHandler):
    status = 404

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_wrong_address_costs_no_event_however_often_it_is_tried(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", f"user-{number}") for number in range(120)])
    with ThreadingHTTPServer(("127.0.0.1", 0), _NotWindsor) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        world.destination |= {"url": f"http://127.0.0.1:{elsewhere.server_port}/", "max_in_flight": 1}
        for _ in range(2):
            run = one_run(world)
            assert (run.state, run.books.rejected, run.books.owed) == (RunState.REJECTED, 0, 120)
            assert "404" in (run.sentence or "")
        elsewhere.shutdown()
    world.destination["url"] = world.windsor.url
    world.reopen()
    assert one_run(world).books.delivered == 120
    assert arrived(world) == sent(archive.written)


class _MovedAway(_NotWindsor):
    status = 301


@pytest.mark.parametrize("answers", [_NotWindsor, _MovedAway], ids=["404", "301"])
def test_a_wrong_address_costs_no_event_of_a_run_that_has_only_a_few(world: World, answers: type[_NotWindsor]) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana"), archive.message("page", "ana"), archive.message("page", "ben")])
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        world.destination["url"] = f"http://127.0.0.1:{elsewhere.server_port}/"
        for _ in range(2):
            run = one_run(world)
            ended = RunState.UNAVAILABLE if answers is _MovedAway else RunState.REJECTED
            assert (run.state, run.books.rejected, run.books.owed) == (ended, 0, 3)
            assert f"({answers.status})" in (run.sentence or "")
        elsewhere.shutdown()
    world.destination["url"] = world.windsor.url
    world.reopen()
    assert one_run(world).books.delivered == 3
    assert arrived(world) == sent(archive.written)


def test_the_only_event_of_a_run_is_called_that(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    with ThreadingHTTPServer(("127.0.0.1", 0), _NotWindsor) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        world.destination["url"] = f"http://127.0.0.1:{elsewhere.server_port}/"
        said = one_run(world).sentence or ""
        elsewhere.shutdown()
    assert said.startswith("Windsor rejected the only message (404). 0 of 1 message is delivered and recorded (run ")
    assert "); it stays owed and the next run sends it. " in said


def test_a_rejection_of_the_message_is_final_also_where_nothing_else_was_sent(world: World) -> None:
    archive = Archive(world)
    world.windsor.set_faults(Faults(rejected_users=frozenset({"bad"})))
    archive.write([archive.message("track", "bad")])
    run = one_run(world)
    assert (run.state, run.books.rejected, run.books.owed) == (RunState.REJECTED, 1, 0)
    assert forwarded(world) == []


def test_engages_calls_are_known_by_the_audiences_id_where_its_trait_has_another_key(world: World) -> None:
    archive = Archive(world)
    personas = {"computation_class": "audience", "computation_id": "aud_test", "computation_key": "as_engage_calls_it"}
    archive.write([archive.message("identify", "ana", traits={"x": True}, context={"personas": personas})])
    run = one_run(world)
    assert run.intake is not None
    assert run.intake["filtered"] == {"SYNCED_FROM_SNAPSHOTS": 1}


def test_engages_calls_are_known_by_the_audiences_name_where_a_trait_is_pinned_by_hand(world: World) -> None:
    world.document["audiences"].append(world.entry("VIP", "vip", trait="vip_customer"))
    archive = Archive(world)

    def engage(key: str) -> dict[str, Any]:
        personas = {"computation_class": "audience", "computation_key": key}
        return archive.message("identify", "ana", traits={key: True}, context={"personas": personas})

    archive.write([engage("vip"), engage("vip_customer"), engage("")])
    run = one_run(world)
    assert run.intake is not None
    assert (run.intake["filtered"], run.books.delivered) == ({"SYNCED_FROM_SNAPSHOTS": 2}, 1)


def test_what_the_ledger_has_of_an_audience_engage_does_not_tell_until_it_is_retired(world: World) -> None:
    """Synced again after it was disabled, it would else be as its ledger says, and Windsor not."""
    world.snapshot(["ana"])
    world.sync()
    archive = Archive(world)

    def engage() -> dict[str, Any]:
        personas = {"computation_class": "audience", "computation_key": KEY}
        return archive.message("identify", "ana", traits={KEY: False}, context={"personas": personas})

    for document in ([{**world.document["audiences"][0], "enabled": False}], []):
        world.document["audiences"] = document
        world.reopen()
        archive.write([engage()])
        assert overview(one_run(world))["filtered_at_destination"] == 1
    assert world.shown(KEY) == {"ana": True}
    retire(world.workspace, KEY, "a test", None, world.stop)
    archive.write([engage()])
    assert overview(one_run(world))["delivered"] == 1


def test_a_setting_that_stops_one_audience_holds_up_no_event(world: World) -> None:
    world.snapshot(["ana"])
    world.sync()
    world.document["audiences"][0]["trait"] = "another_trait"
    world.document["audiences"].append(world.entry("\u6771\u4eac", "none", trait="tokyo"))
    world.reopen()
    archive = Archive(world)
    personas = {"computation_class": "audience", "computation_key": KEY}
    archive.write(
        [
            archive.message("identify", "ana", traits={KEY: False}, context={"personas": personas}),
            archive.message("track", "ana"),
        ]
    )
    run = one_run(world)
    assert run.intake is not None
    assert (run.intake["filtered"], run.books.delivered) == ({"SYNCED_FROM_SNAPSHOTS": 1}, 1)


def test_two_destinations_in_one_state_get_every_event_once_and_forget_together(world: World) -> None:
    archive = Archive(world)
    archive.write(six_calls(archive, "ana"))
    assert one_run(world).books.delivered == 6
    world.windsor.store.reset()
    world.destination["name"] = "another"
    world.reopen()
    assert one_run(world).books.delivered == 6
    assert arrived(world) == sent(archive.written)
    assert forwarded(world) == []
    assert forget(world.workspace, "ana", who="a test", why=None).outboxes == 2
    stored = b"".join(path.read_bytes() for path in (world.folder / ".windsor").rglob("*.parquet"))
    assert b"ana@example.com" not in stored


def test_what_a_killed_reading_leaves_lies_where_drafts_are_swept(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    found: list[str] = []

    def look(_lines: int, _files: int) -> None:
        found.extend(path.name for path in (world.folder / ".windsor" / "files" / "drafts").iterdir())

    forward(world.workspace, ForwardRequest(), world.stop, on_reading=look)
    assert len(set(found)) == 3  # the outbox to be, the messageIds, and where the refused lines are
    assert all(name.startswith("windsor-sync-scratch-") for name in found)


def without(world: World, kind: str) -> None:
    """The file store loses what it has of a kind."""
    shutil.rmtree(world.folder / ".windsor" / "files" / kind)


@pytest.mark.parametrize("kind", ["outboxes", "seen"])
def test_a_file_store_that_lost_what_is_needed_is_named_and_the_command_it_names_brings_every_message(
    world: World, kind: str
) -> None:
    archive = Archive(world)
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    archive.write([archive.message("track", "ana")])
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    assert one_run(world).books.owed == 1
    without(world, kind)
    world.windsor.set_faults(Faults())
    with pytest.raises(StoredFileError, match=f"{kind}/events/.* is missing.*`windsor-sync recover --events`") as lost:
        forwarded(world)
    assert (arrived(world), lost.value.exit_status) == ({}, 9)
    (found,) = audit(world.workspace, repair=False)
    assert "recover --events" in found.remedy
    recover_events(world.workspace, "a test", None)
    forwarded(world)
    assert len(arrived(world)) == 1
    assert audit(world.workspace, repair=False) == []
    assert recover_events(world.workspace, "a test", None) == Recovered(0, 0)


def test_an_outbox_of_which_nothing_is_owed_is_not_missed(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    assert one_run(world).books.delivered == 1
    without(world, "outboxes")
    archive.write([archive.message("track", "ana")])
    assert one_run(world).books.delivered == 1


def test_more_held_aliases_than_one_checkpoint_lets_go_hold_up_nothing(world: World) -> None:
    archive = Archive(world, alias="hold")
    world.destination["max_in_flight"] = 1
    archive.write([archive.message("alias", f"user-{number}", previousId=f"old-{number}") for number in range(1_100)])
    archive.write([archive.message("track", "ana")])
    run = one_run(world)
    assert (run.books.delivered, run.books.withheld) == (1, 1_100)


def test_a_file_without_a_message_fails_the_run_and_is_tried_again_until_it_has_some(world: World) -> None:
    archive = Archive(world)
    good = archive.message("track", "ana")
    archive.write([good])
    path = archive.write(["user_id,email", "u1,a@example.com"])
    run = one_run(world)
    assert (run.state, run.books.delivered) == (RunState.FAILED, 1)
    assert path.name in (run.sentence or "")
    assert "no line that is a message" in (run.sentence or "")
    assert isinstance(error_of(run), SnapshotError)
    again = one_run(world)
    assert (again.state, again.books.delivered) == (RunState.FAILED, 0)
    other = archive.write([archive.message("track", "ben")])
    other.rename(path)
    assert (one_run(world).books.delivered, forwarded(world)) == (1, [])


def test_a_file_without_a_message_counts_as_read_where_that_is_allowed(world: World) -> None:
    archive = Archive(world, max_malformed_percent=100)
    archive.write(["no message"])
    assert one_run(world).state is RunState.DONE
    assert forwarded(world) == []


def test_too_many_lines_without_a_message_fail_the_run_which_sends_the_others(world: World) -> None:
    archive = Archive(world, max_malformed_percent=10)
    archive.write([*(archive.message("track", f"u{number}") for number in range(8)), "{", "torn"])
    run = one_run(world)
    assert (run.state, run.books.delivered) == (RunState.FAILED, 8)
    assert "2 of 10 lines are no messages; at most 10 % may be" in (run.sentence or "")
    assert forwarded(world) == []
