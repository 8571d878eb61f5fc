"""What an older version left on disk, made by its own code (see older_installation.py), in the hands of this one."""

import json
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.world import FIRST_DAY, KEY, TRAIT_KEY, World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.domain.run import RunState
from windsor_sync.usecases import forward
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget, is_suppressed
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.why import why

USERS = [f"user-{number:02}" for number in range(40)]
"""Those of older_installation.py, which only that version can import."""

PACKED = Path(__file__).with_name("older_installation.tar.xz")

FORGOTTEN = USERS[7]
REJECTED = USERS[30:35]


@pytest.fixture
def upgraded(world: World) -> World:
    """The older version's folder, and a Windsor that knows what that version has told it."""
    with tarfile.open(PACKED) as packed:
        packed.extractall(world.folder, filter="data")
    told = json.loads((world.folder / "windsor.json").read_text())
    for user, traits in told["shown"].items():
        world.windsor.store.apply({"type": "identify", "userId": user, "traits": traits}, 0)
    world.document = json.loads((world.folder / "document.json").read_text())
    world.document["defaults"]["max_age"] = None
    world._moment = FIRST_DAY + timedelta(days=2)
    return world


def test_a_state_of_an_older_version_is_whole(upgraded: World) -> None:
    assert audit(upgraded.workspace, repair=False) == []
    assert upgraded.workspace.database.emails_from() == "own"
    assert is_suppressed(upgraded.workspace.database, FORGOTTEN)
    (account, *_) = why(upgraded.workspace, USERS[12])
    assert account.told is True


def test_what_an_older_version_owes_is_sent_and_nothing_twice(upgraded: World) -> None:
    before = upgraded.sent
    run = upgraded.sync(request=Request(limits=Limits(retry=Retry())))
    assert run.state is RunState.DONE
    assert upgraded.members_shown() - {FORGOTTEN} == set(USERS[10:35])
    assert upgraded.sent - before == run.books.delivered < len(USERS)
    assert upgraded.sync(TRAIT_KEY, Request(limits=Limits(retry=Retry()))).state is RunState.DONE
    assert upgraded.shown(TRAIT_KEY)[USERS[8]] == 9
    so_far = upgraded.sent
    assert (upgraded.sync().books.changes, upgraded.sync(TRAIT_KEY).books.changes) == (0, 0)
    assert upgraded.sent == so_far
    assert audit(upgraded.workspace, repair=False) == []


def test_events_that_an_older_version_owes_arrive_once(upgraded: World) -> None:
    told = json.loads((upgraded.folder / "windsor.json").read_text())["events"]
    for _ in range(2):
        for run in forward.forward(upgraded.workspace, forward.ForwardRequest(), upgraded.stop):
            assert run.state is RunState.DONE
    sent = [message.message_id for message in upgraded.windsor.store.accepted if message.call == "track"]
    written = {f"message-{number}" for number in range(20)}
    assert set(told) | set(sent) == written - {"message-12"}  # of the forgotten user
    assert len(set(told) & set(sent)) <= 2  # in flight when the key was refused


@pytest.mark.parametrize("folder", ["snapshots", "outboxes"])
def test_a_file_of_an_older_version_that_is_gone_is_noticed_and_recovered(upgraded: World, folder: str) -> None:
    files = upgraded.folder / ".windsor" / "files" / folder / KEY
    for file in files.iterdir():
        file.unlink()
    for source in (upgraded.folder / "snapshots" / "audience").iterdir():
        source.unlink()
    upgraded.snapshot(USERS[20:30])
    found = audit(upgraded.workspace, repair=False)
    assert {f"windsor-sync recover {KEY}" in finding.remedy for finding in found} == {True}
    run = upgraded.sync(request=Request("backfill", limits=Limits(is_resync=True)))
    assert run.state is RunState.DONE
    assert upgraded.members_shown() - {FORGOTTEN} == set(USERS[20:30])
    assert audit(upgraded.workspace, repair=False) == []


def test_a_user_is_forgotten_in_the_files_of_an_older_version_and_those_are_pruned(upgraded: World) -> None:
    forget(upgraded.workspace, USERS[20], who="ann", why=None)
    files = [file for file in (upgraded.folder / ".windsor" / "files").rglob("*.parquet") if "seen" not in file.parts]
    assert not [file for file in files if USERS[20].encode() in file.read_bytes()]
    prune(upgraded.workspace, kept_days=0)
    upgraded.snapshot(USERS[12:35])
    upgraded.sync(request=Request(limits=Limits(retry=Retry())))
    assert upgraded.members_shown() - {FORGOTTEN, USERS[20]} == set(USERS[12:35]) - {USERS[20]}
    assert audit(upgraded.workspace, repair=False) == []
