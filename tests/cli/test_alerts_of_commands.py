"""The command line tells what its runs find out, and what was due and did not run."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.support.receiver import Receiver
from tests.support.world import KEY, World
from windsor_sync.cli import cli
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import runs
from windsor_sync.usecases.alert_targets import webhooks
from windsor_sync.usecases.alerts import tell


def command(world: World, *words: str) -> tuple[int, str]:
    """Run a command in this process; returns its status and what it printed."""
    from click.testing import CliRunner

    world.reopen()
    environment = {"WINDSOR_API_KEY": world.windsor.api_key}
    arguments = ["--config", str(world.config), *words]
    done = CliRunner().invoke(cli, arguments, env=environment, standalone_mode=False)
    return done.return_value or 0, done.stdout


@pytest.fixture
def watched(world: World, receiver: Receiver) -> World:
    """A world of one audience, whose alerts go to the receiver."""
    world.document |= {"alerts": [{"webhook": receiver.url}], "computed_traits": []}
    world.snapshot(["ana"])
    return world


def test_a_sync_tells_each_change_once_and_ends_as_it_would_without_alerts(watched: World, receiver: Receiver) -> None:
    watched.windsor.set_faults(Faults(revoked_after=0))
    for _ in range(2):
        assert command(watched, "sync", "--all")[0] == 5
    watched.windsor.set_faults(Faults())
    assert command(watched, "sync", "--all")[0] == 0
    assert receiver.events == ["credentials_refused", "recovered"]
    receiver.close()
    watched.windsor.set_faults(Faults(revoked_after=0))
    watched.snapshot(["ben"])
    status, printed = command(watched, "sync", "--all")
    assert status == 5
    assert "Traceback" not in printed


def test_check_due_says_and_tells_what_did_not_run_and_is_quiet_otherwise(watched: World, receiver: Receiver) -> None:
    assert command(watched, "check", "--due") == (0, "Every sync that was due has run.\n")
    assert command(watched, "sync", "--all")[0] == 0
    assert command(watched, "check", "--due") == (0, "Every sync that was due has run.\n")
    with watched.workspace.database.write() as connection:
        begun = connection.execute(select(runs.c.started_at)).scalar_one()
        connection.execute(update(runs).values(started_at=begun - timedelta(hours=9)))
    for _ in range(2):
        status, printed = command(watched, "check", "--due")
        assert (status, printed.startswith("late: Nothing was synced to windsor")) == (2, True)
    assert receiver.events == ["late"]
    status, printed = command(watched, "check", "--due", "--json")
    assert [one["audience"] for one in json.loads(printed)["late"]] == [None]
    assert command(watched, "sync", KEY)[0] == 0
    assert receiver.events == ["late", "recovered"]


def test_the_next_command_tells_that_nothing_ran_before_it(watched: World, receiver: Receiver) -> None:
    assert command(watched, "sync", "--all")[0] == 0
    with watched.workspace.database.write() as connection:
        begun = connection.execute(select(runs.c.started_at)).scalar_one()
        connection.execute(update(runs).values(started_at=begun - timedelta(hours=9)))
    assert command(watched, "sync", "--all")[0] == 0
    assert receiver.events == ["late", "recovered"]


def test_a_command_that_lacks_a_secret_leaves_the_message_to_whoever_has_it(watched: World, receiver: Receiver) -> None:
    watched.document["alerts"] = [{"connection": "pager"}]
    watched.windsor.set_faults(Faults(revoked_after=0))
    assert command(watched, "sync", "--all")[0] == 5
    watched.reopen()
    assert tell(watched.workspace, webhooks(watched.workspace.settings, lambda _: receiver.url)) == 1
    assert receiver.events == ["credentials_refused"]
