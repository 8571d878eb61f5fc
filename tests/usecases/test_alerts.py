"""One message for each change of state, whoever finds it out, to a real webhook receiver."""

import logging
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.receiver import Receiver
from tests.support.world import AUDIENCE, KEY, TRAIT_KEY, World
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import SnapshotError, WindsorSyncError
from windsor_sync.sandbox import Faults
from windsor_sync.sandbox.faults import Outage
from windsor_sync.sources import warehouse_session
from windsor_sync.sources.warehouse_deadline import Deadline
from windsor_sync.state import alerts as state
from windsor_sync.state.tables import runs
from windsor_sync.usecases.alert_targets import webhooks
from windsor_sync.usecases.alerts import after_failure, after_run, look_at_all, tell

MANY = [f"user-{number:03}" for number in range(200)]
DAY = timedelta(days=1)


@pytest.fixture
def watched(world: World, receiver: Receiver) -> World:
    """A world whose alerts go to the receiver."""
    world.document["alerts"] = [{"webhook": receiver.url}]
    return world


def synced(world: World, key: str = KEY) -> Run | WindsorSyncError:
    """Sync, and tell what came of it, as the command line and tasks do."""
    found: Run | WindsorSyncError
    try:
        found = world.sync(key)
    except WindsorSyncError as error:
        found = error
        after_failure(world.workspace, key, error)
    else:
        after_run(world.workspace, found)
    look_at_all(world.workspace)
    tell(world.workspace, webhooks(world.workspace.settings))
    return found


def at(world: World, now: datetime, **how: Any) -> None:
    """Look and tell at a moment."""
    look_at_all(world.workspace, now=now, **how)
    tell(world.workspace, webhooks(world.workspace.settings), now=now)


def a_day_passes(world: World) -> None:
    """Let every run be a day older."""
    with world.workspace.database.write() as connection:
        for row in connection.execute(select(runs.c.id, runs.c.started_at)).all():
            moved = {"started_at": row.started_at - DAY, "finished_at": row.started_at - DAY}
            connection.execute(update(runs).where(runs.c.id == row.id).values(**moved))


def test_a_healthy_audience_is_no_news(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    synced(watched)
    assert receiver.got == []


def test_withheld_is_told_once_and_so_is_its_end(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    synced(watched)
    watched.snapshot(MANY[:10])
    synced(watched)
    synced(watched)
    assert receiver.events == ["withheld"]
    watched.snapshot(MANY)
    synced(watched)
    synced(watched)
    assert receiver.events == ["withheld", "recovered"]
    first, last = receiver.got
    assert (first["subject"], first["audiences"], last["audiences"]) == (f"{KEY} at windsor", [KEY], [KEY])
    assert "190 of 200 members exited" in first["text"]
    assert last["text"].startswith(f"{KEY} at windsor: recovered")
    assert "user-" not in repr(receiver.got)


def test_a_refused_key_is_told_once_however_many_audiences_find_it_out(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    watched.values({"ana": 1})
    watched.windsor.set_faults(Faults(revoked_after=0))
    synced(watched)
    synced(watched, TRAIT_KEY)
    assert receiver.events == ["credentials_refused"]
    watched.windsor.set_faults(Faults())
    synced(watched, TRAIT_KEY)
    synced(watched)
    assert receiver.events == ["credentials_refused", "recovered"]
    assert receiver.got[0]["subject"] == "windsor"


def test_a_windsor_that_is_down_is_told_once_for_all_audiences(watched: World, receiver: Receiver) -> None:
    watched.destination["give_up_after_s"] = 0.2
    watched.snapshot(["ana"])
    watched.values({"ana": 1})
    watched.windsor.set_faults(Faults(outage=Outage.UNAVAILABLE))
    synced(watched)
    synced(watched, TRAIT_KEY)
    assert receiver.events == ["unavailable"]
    watched.windsor.set_faults(Faults())
    synced(watched)
    assert receiver.events == ["unavailable", "recovered"]


def test_old_news_changes_nothing(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    watched.windsor.set_faults(Faults(revoked_after=0))
    refused = synced(watched)
    assert isinstance(refused, Run)
    watched.windsor.set_faults(Faults())
    synced(watched)
    after_run(watched.workspace, refused)  # a task that was slow to end
    tell(watched.workspace, webhooks(watched.workspace.settings))
    assert receiver.events == ["credentials_refused", "recovered"]


def test_an_unusable_snapshot_is_told_once_until_one_can_be_used(watched: World, receiver: Receiver) -> None:
    path = watched.snapshot(["ana"])
    path.write_text("this,is,not\nan,engage,download\n", encoding="utf-8")
    assert isinstance(synced(watched), SnapshotError)
    synced(watched)
    assert receiver.events == ["unusable"]
    path.unlink()
    watched.snapshot(["ana"])
    synced(watched)
    assert receiver.events == ["unusable", "recovered"]


def test_a_rejection_above_the_share_is_told_and_one_below_it_is_not(watched: World, receiver: Receiver) -> None:
    watched.document["defaults"] |= {"max_rejected_percent": 40}
    watched.windsor.set_faults(Faults(rejected_users=frozenset({"ben"})))
    watched.snapshot(["ana", "ben", "cid"])
    synced(watched)
    assert receiver.events == []
    watched.windsor.set_faults(Faults(rejected_users=frozenset({"ben", "dan"})))
    watched.snapshot(["ana", "ben", "cid", "dan"])
    synced(watched)
    assert receiver.events == ["rejected"]
    assert "dan" not in repr(receiver.got)


def test_stale_snapshots_of_several_audiences_are_one_message(watched: World, receiver: Receiver) -> None:
    watched.snapshot(["ana"])
    watched.values({"ana": 1})
    synced(watched)
    synced(watched, TRAIT_KEY)
    watched.document["defaults"]["max_age"] = "36h"
    watched.reopen()
    synced(watched)
    synced(watched)
    assert receiver.events == ["stale"]
    assert sorted(receiver.got[0]["audiences"]) == [KEY, TRAIT_KEY]
    assert receiver.got[0]["title"] == "2 audiences at windsor: the snapshot is stale"
    watched.document["defaults"]["max_age"] = None
    watched.reopen()
    synced(watched)
    assert receiver.events == ["stale", "recovered"]


def test_a_stale_snapshot_that_fails_its_sync_is_not_told_twice(watched: World, receiver: Receiver) -> None:
    watched.snapshot(["ana"])
    synced(watched)
    watched.document["defaults"] |= {"max_age": "36h", "max_age_action": "fail"}
    watched.reopen()
    assert isinstance(synced(watched), SnapshotError)
    assert receiver.events == ["stale"]


def test_a_query_that_takes_too_long_tells_windsor_nothing_and_is_an_unusable_snapshot(
    watched: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDSOR_CONNECTION_WAREHOUSE", f"sqlite:///{watched.folder}/warehouse.db")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS user_id FROM n"
    snapshot = {"connection": "warehouse", "query": "SELECT 'ana' AS user_id"}
    watched.document["audiences"] = [{"name": AUDIENCE, "snapshot": snapshot}]
    synced(watched)
    soon = timedelta(seconds=0.1)  # a file may not say less than a minute
    monkeypatch.setattr(warehouse_session, "Deadline", lambda _: Deadline(soon))
    snapshot["query"] = endless
    watched.reopen()
    assert isinstance(synced(watched), SnapshotError)
    assert receiver.events == ["unusable"]
    assert "`query_timeout`" in receiver.got[0]["text"]
    assert watched.shown() == {"ana": True}


def test_no_name_is_a_mention_a_link_or_a_tag_to_who_reads_a_message(watched: World, receiver: Receiver) -> None:
    name = "<!channel> @here <https://evil.example|your bank> [bank](https://evil.example) <b onclick=x>"
    watched.document["audiences"][0]["name"] = name
    watched.document["audiences"][0]["trait"] = "<@U1>"
    watched.snapshot(MANY)
    synced(watched, "<@U1>")
    watched.snapshot(MANY[:10])
    synced(watched, "<@U1>")
    told = receiver.got[0]
    assert "channel" in told["text"]
    assert not set("<>@") & set(told["text"] + told["title"])
    assert all(sign not in told["text"] for sign in ("](", "https:"))
    assert (told["audiences"], told["subject"]) == (["<@U1>"], "<@U1> at windsor")


def test_a_key_without_an_audience_is_told(watched: World, receiver: Receiver) -> None:
    watched.snapshot(["ana"])
    synced(watched)
    watched.document["audiences"] = []
    watched.reopen()
    at(watched, datetime.now(UTC))
    at(watched, datetime.now(UTC))
    assert receiver.events == ["orphaned"]
    assert f"windsor-sync retire {KEY}" in receiver.got[0]["text"]


def test_an_unusual_size_is_told_once_and_a_lasting_one_is_not_called_over_at_the_next_run(
    watched: World, receiver: Receiver
) -> None:
    watched.document["defaults"] |= {"max_exited_percent": None}
    for number in range(5):
        watched.snapshot(MANY[number:])
        synced(watched)
    watched.snapshot(MANY[:130])
    synced(watched)
    synced(watched)
    synced(watched)
    assert receiver.events == ["size"]
    assert "130 members now; it had 196 to 200 in the 5 runs before" in receiver.got[0]["text"]
    watched.snapshot(MANY)
    synced(watched)
    assert receiver.events == ["size", "recovered"]


def test_a_sync_that_did_not_run_is_told_once_by_whatever_still_runs(watched: World, receiver: Receiver) -> None:
    watched.snapshot(["ana"])
    watched.values({"ana": 1})
    synced(watched)
    synced(watched, TRAIT_KEY)
    now = datetime.now(UTC)
    at(watched, now + timedelta(hours=3), is_due_looked_for=True)
    assert receiver.events == []
    at(watched, now + timedelta(hours=4), is_due_looked_for=True)
    at(watched, now + DAY, is_due_looked_for=True)
    assert receiver.events == ["late"]
    assert receiver.got[0]["audiences"] == []
    assert "Check that the scheduler runs" in receiver.got[0]["text"]


def test_a_sync_that_begins_late_tells_nobody_so_and_the_end_of_what_was_told_is_one_message(
    watched: World, receiver: Receiver
) -> None:
    watched.snapshot(["ana"])
    watched.values({"ana": 1})
    synced(watched)
    synced(watched, TRAIT_KEY)
    a_day_passes(watched)
    at(watched, datetime.now(UTC))
    assert receiver.events == []
    at(watched, datetime.now(UTC), is_due_looked_for=True)
    synced(watched)
    assert receiver.events == ["late", "recovered"]
    # The trait was not synced for a day, and is given an interval after the first sync that ran again.
    at(watched, datetime.now(UTC) + timedelta(hours=2), is_due_looked_for=True)
    assert receiver.events == ["late", "recovered"]


def test_one_audience_that_is_left_out_is_late_by_itself(watched: World, receiver: Receiver) -> None:
    watched.snapshot(["ana"])
    watched.values({"ana": 1})
    for key in (KEY, TRAIT_KEY):
        synced(watched, key)
    after_failure(watched.workspace, KEY, WindsorSyncError("a defect"), datetime.now(UTC) + DAY)
    at(watched, datetime.now(UTC) + DAY, is_due_looked_for=True)
    assert (receiver.events, receiver.got[0]["audiences"]) == (["late"], [TRAIT_KEY])


def test_a_receiver_that_is_down_loses_nothing_and_is_not_flooded(
    watched: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    watched.snapshot(MANY)
    watched.windsor.set_faults(Faults(revoked_after=0))
    receiver.status = 500
    with caplog.at_level(logging.WARNING):
        synced(watched)
        synced(watched)
    assert len(receiver.paths) == 1  # put off by a minute
    assert "answered 500" in caplog.text
    assert "secret" not in caplog.text
    now = datetime.now(UTC)
    for minutes in (2, 4, 5, 9):
        at(watched, now + timedelta(minutes=minutes))
    assert len(receiver.paths) == 4  # after 1, 2, 4 minutes
    receiver.status = 200
    at(watched, now + timedelta(hours=1))
    at(watched, now + timedelta(hours=2))
    assert receiver.events == ["credentials_refused"]
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 1


def test_a_message_that_a_receiver_never_takes_keeps_no_other_from_arriving(watched: World, receiver: Receiver) -> None:
    receiver.refused_event = "credentials_refused"
    watched.snapshot(MANY)
    synced(watched)
    watched.snapshot(MANY[:10])
    after_run(watched.workspace, watched.sync())
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.values({"ana": 1.5})
    after_run(watched.workspace, watched.sync("total_revenue_180_days"))
    now = datetime.now(UTC)
    for minutes in (0, 2, 4, 8, 16):
        at(watched, now + timedelta(minutes=minutes))
    assert receiver.events == ["withheld"]
    receiver.refused_event = ""
    at(watched, now + timedelta(hours=2))
    assert receiver.events == ["withheld", "credentials_refused"]


def test_a_clock_that_was_put_back_a_year_keeps_no_message(watched: World, receiver: Receiver) -> None:
    next_year = datetime.now(UTC) + 365 * DAY
    receiver.status = 500
    after_failure(watched.workspace, KEY, SnapshotError("The header is gone."), next_year)
    tell(watched.workspace, webhooks(watched.workspace.settings), now=next_year)
    receiver.status = 200
    at(watched, datetime.now(UTC))
    watched.snapshot(MANY)
    after_run(watched.workspace, watched.sync())
    at(watched, datetime.now(UTC))
    assert receiver.events == ["unusable", "recovered"]


def test_what_came_and_went_while_the_receiver_was_down_is_told_as_its_end(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    watched.windsor.set_faults(Faults(revoked_after=0))
    receiver.status = 503
    synced(watched)
    watched.windsor.set_faults(Faults())
    synced(watched)
    receiver.status = 200
    at(watched, datetime.now(UTC) + timedelta(hours=1))
    assert receiver.events == ["recovered"]
    assert "the key is refused, since" in receiver.got[0]["text"]


def test_who_dies_while_telling_repeats_it_once_and_later(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    watched.windsor.set_faults(Faults(revoked_after=0))
    run = watched.sync()
    after_run(watched.workspace, run)
    (target,) = webhooks(watched.workspace.settings)
    now = datetime.now(UTC)
    assert len(state.claim(watched.workspace.database, target, "windsor", now)) == 1  # and dies
    at(watched, now + timedelta(minutes=4))
    assert receiver.events == []
    at(watched, now + timedelta(minutes=6))
    at(watched, now + timedelta(minutes=12))
    assert receiver.events == ["credentials_refused"]


def test_of_many_that_find_it_out_at_once_one_tells(watched: World, receiver: Receiver) -> None:
    watched.snapshot(MANY)
    watched.windsor.set_faults(Faults(revoked_after=0))
    after_run(watched.workspace, watched.sync())
    targets = webhooks(watched.workspace.settings)
    threads = [Thread(target=tell, args=(watched.workspace, targets)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receiver.events == ["credentials_refused"]


def test_each_is_told_what_they_asked_for(watched: World, receiver: Receiver) -> None:
    watched.document["alerts"] = [{"webhook": receiver.url, "events": ["stale", "withheld"]}]
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(MANY)
    synced(watched)
    watched.windsor.set_faults(Faults())
    synced(watched)
    watched.snapshot(MANY[:10])
    synced(watched)
    watched.snapshot(MANY)
    synced(watched)
    assert receiver.events == ["withheld"]
    watched.snapshot(MANY[:10])
    synced(watched)
    assert receiver.events == ["withheld", "withheld"]


def test_a_redirect_is_not_followed_and_a_secret_address_is_never_shown(
    watched: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched.document["alerts"] = [{"connection": "pager"}]
    monkeypatch.setenv("WINDSOR_CONNECTION_PAGER", receiver.url + "?sig=geheim")
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(MANY)
    receiver.status = 302
    with caplog.at_level(logging.DEBUG):
        synced(watched)
    assert receiver.paths == ["/hooks/T0/secret?sig=geheim"]
    assert "webhook pager" in caplog.text
    assert not [word for word in ("secret", "geheim", "/hooks") if word in caplog.text]
    receiver.status = 200
    at(watched, datetime.now(UTC) + timedelta(hours=1))
    assert receiver.events == ["credentials_refused"]


def test_a_connection_beside_an_address_is_a_bearer_token(
    watched: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.document["alerts"] = [{"webhook": receiver.url, "connection": "pager"}]
    monkeypatch.setenv("WINDSOR_CONNECTION_PAGER", "t0ken")
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(MANY)
    synced(watched)
    assert receiver.headers[0]["Authorization"] == "Bearer t0ken"


def test_receivers_behind_one_address_are_told_apart_by_their_tokens(
    watched: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for team in ("ops", "crm"):
        monkeypatch.setenv(f"WINDSOR_CONNECTION_{team.upper()}", team)
    watched.document["alerts"] = [{"webhook": receiver.url, "connection": team} for team in ("ops", "crm")]
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(MANY)
    synced(watched)
    assert sorted(headers["Authorization"] for headers in receiver.headers) == ["Bearer crm", "Bearer ops"]


@pytest.mark.parametrize("secret", ["", "http://example.com/hook", "https://u:p@example.com/x", "ftp://h/x"])
def test_an_address_that_cannot_be_right_is_logged_and_stops_nothing(
    watched: World, secret: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched.document["alerts"] = [{"connection": "pager"}]
    monkeypatch.setenv("WINDSOR_CONNECTION_PAGER", secret)
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(MANY)
    run = synced(watched)
    assert isinstance(run, Run)
    assert run.state is RunState.REFUSED
    assert "An alert did not reach webhook pager" in caplog.text
    assert not secret or secret not in caplog.text
