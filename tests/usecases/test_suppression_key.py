"""Suppressions have a key outside the database: nothing is kept without it, and a lost key is noticed before anything is sent."""

import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command as migrations
from alembic.config import Config
from sqlalchemy import create_engine, inspect, select, text

from tests.cli.test_remedies import run as command
from tests.support.archive import Archive
from tests.support.backups import lose
from tests.support.postgres import Postgres
from tests.support.world import World
from tests.usecases.test_older_installation import FORGOTTEN, upgraded
from windsor_sync.domain.suppression import salted
from windsor_sync.errors import ConfigError, StoredFileError
from windsor_sync.state.database import open_database, upgrade_database
from windsor_sync.state.suppression_key import VARIABLE, KeyPlace, key_place
from windsor_sync.state.suppressions import hash_in_use
from windsor_sync.state.tables import installation, suppressions
from windsor_sync.state.upgrading import MIGRATIONS
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget, is_suppressed
from windsor_sync.usecases.forward import ForwardRequest, forward
from windsor_sync.usecases.recover_state import recover_state

__all__ = ["upgraded"]

MEMBERS = ["ana", "ben", "cy"]
A_KEY = "0123456789abcdef" * 4
ANOTHER_KEY = "fedcba9876543210" * 4
BEFORE = "0007"
"""The version of the tables before the key."""
EARLIER = [salted("earlier", f"user-{number}") for number in range(3_000)]


@pytest.fixture
def forgetful(world: World) -> World:
    """A world in which ana was told, and then forgotten."""
    world.snapshot(MEMBERS)
    world.sync()
    forget(world.workspace, "ana", who="dana", why="request 17")
    world.reopen()
    return world


def key_file(world: World) -> Path:
    return world.folder / ".windsor" / "suppressions-state.db.key"


def stored_text(folder: Path) -> str:
    """Names and bytes of every file below a folder, free pages of the database too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return "".join(f"{path}\n{path.read_bytes().decode('latin-1')}\n" for path in paths)


def lose_key(world: World) -> str:
    """Remove the key; returns what it was."""
    text = key_file(world).read_text()
    key_file(world).unlink()
    return text


def test_the_key_is_made_when_it_is_needed_for_this_user_alone_and_outside_the_database(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    assert not key_file(world).exists()
    forget(world.workspace, "ana", who="dana", why=None)
    salt = world.workspace.database.installation()
    world.reopen()
    assert stat.S_IMODE(key_file(world).stat().st_mode) == 0o600
    key = lose_key(world).strip()
    assert re.fullmatch("[0-9a-f]{64}", key)
    everything = stored_text(world.folder / ".windsor")
    assert key not in everything
    assert salted(salt, "ana") not in everything
    assert salted("", "ana") not in everything


def test_an_upgrade_leaves_no_hash_without_a_key_and_nobody_is_told_again(upgraded: World) -> None:
    state = upgraded.folder / ".windsor" / "state.db"
    with closing(sqlite3.connect(state)) as connection, connection:
        (salt,) = connection.execute("SELECT id FROM installation").fetchone()
        rows = [(user_hash, "segment", "2026-01-01 00:00:00") for user_hash in EARLIER]
        connection.executemany("INSERT INTO suppressions VALUES (?, ?, ?)", rows)
    with closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM suppressions WHERE origin = 'segment' AND user_hash > '4'")
    unkeyed = salted(salt, FORGOTTEN)
    before = stored_text(upgraded.folder / ".windsor")
    assert before.count(unkeyed) >= 3  # the table, the trail of who did what, the file store
    assert sum(user_hash in before for user_hash in EARLIER) > len(EARLIER) / 2
    assert is_suppressed(upgraded.workspace.database, FORGOTTEN)
    upgraded.reopen()
    after = stored_text(upgraded.folder / ".windsor")
    assert unkeyed not in after
    assert not any(user_hash in after for user_hash in EARLIER)
    sent = upgraded.sent
    upgraded.sync()
    assert FORGOTTEN not in {message.user_id for message in upgraded.windsor.store.accepted[sent:]}
    assert audit(upgraded.workspace, repair=False) == []


def test_an_upgrade_that_cannot_make_a_key_changes_nothing_and_says_how_to_give_one(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.nothing() as url:
        older(url)
        with pytest.raises(ConfigError, match=rf"export {VARIABLE}=\$\(python3 -c"):
            upgrade_database(url)
        assert "suppression_check" not in columns(url)
        monkeypatch.setenv(VARIABLE, A_KEY)
        upgrade_database(url)
        database = open_database(url)
        with database.read() as connection:
            (kept,) = connection.execute(select(suppressions.c.user_hash)).scalars()
        assert kept == hash_in_use(database).of("ana")
        database.close()


def older(url: str) -> None:
    """Make a state as it was before there was a key, with ana forgotten."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        migrations.upgrade(config, BEFORE)
        salt = connection.execute(select(installation.c.id)).scalar_one()
        row = {"user_hash": salted(salt, "ana"), "origin": "forget"}
        connection.execute(text("INSERT INTO suppressions VALUES (:user_hash, :origin, now())"), row)
    engine.dispose()


def columns(url: str) -> set[str]:
    engine = create_engine(url)
    found = {column["name"] for column in inspect(engine).get_columns("installation")}
    engine.dispose()
    return found


def test_nothing_is_sent_without_the_key_and_all_goes_on_when_it_is_back(
    forgetful: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = lose_key(forgetful)
    archive = Archive(forgetful)
    archive.write([archive.message("track", "ben")])
    forgetful.reopen()
    forgetful.snapshot(["ana", "ben", "dee"])
    sent = forgetful.sent
    attempts: list[Callable[[], object]] = [
        forgetful.sync,
        forgetful.plan,
        lambda: forward(forgetful.workspace, ForwardRequest(), forgetful.stop),
        lambda: forget(forgetful.workspace, "ben", who="dana", why=None),
    ]
    for attempt in attempts:
        with pytest.raises(
            StoredFileError, match=r"Nothing was sent.*suppressions-state\.db\.key.*`windsor-sync recover --key`"
        ):
            attempt()
    monkeypatch.setenv(VARIABLE, ANOTHER_KEY)
    with pytest.raises(StoredFileError, match=f"{VARIABLE} has another key than the one that was used"):
        forgetful.sync()
    assert forgetful.sent == sent
    assert not key_file(forgetful).exists()
    monkeypatch.setenv(VARIABLE, key)
    assert forgetful.sync().books.changes == 2
    monkeypatch.delenv(VARIABLE)
    key_file(forgetful).write_text(key)
    forgetful.snapshot(["ana", "ben"])
    forgetful.sync()
    assert "ana" not in {message.user_id for message in forgetful.windsor.store.accepted[sent:]}


def test_a_key_that_is_lost_for_good_is_given_up_by_the_named_command_which_says_who_asked(forgetful: World) -> None:
    assert command(forgetful, "recover", "--key") == (0, "The key of the suppressions is here. Nothing was done.\n")
    lose_key(forgetful)
    forgetful.snapshot(MEMBERS)
    status, said = command(forgetful, "sync", "--all")
    assert status == 9
    (named,) = re.findall(r"`windsor-sync (recover [^`]+)`", said.splitlines()[0])
    forgetful.reopen()
    status, said = command(forgetful, *named.split())
    assert status == 0
    assert said.startswith("The suppression of 1 forgotten user was given up. Nothing was sent.")
    assert re.search(r"UTC  dana  request 17$", said, re.MULTILINE)
    forget(forgetful.workspace, "ana", who="dana", why="request 17 again")
    sent = forgetful.sent
    forgetful.sync()
    assert "ana" not in {message.user_id for message in forgetful.windsor.store.accepted[sent:]}
    assert audit(forgetful.workspace, repair=False) == []


def test_a_lost_state_comes_back_with_its_key_and_not_without_it(forgetful: World) -> None:
    key = lose_key(forgetful)
    lose(forgetful.state_url)
    with pytest.raises(StoredFileError, match="The key of the suppressions is not here"):
        recover_state(forgetful.workspace, "a test", None)
    key_file(forgetful).write_text(key)
    assert recover_state(forgetful.workspace, "a test", None).forgotten == 1
    assert is_suppressed(forgetful.workspace.database, "ana")
    forgetful.reopen()
    lose_key(forgetful)
    with pytest.raises(StoredFileError, match="The key of the suppressions is not here"):
        forgetful.sync()


def test_the_key_moves_with_the_state_and_another_machine_needs_it(
    forgetful: World, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres.nothing() as url:
        status, said = command(forgetful, "state", "copy", "--to", url)
        moved = forgetful.folder / ".windsor" / "suppressions.key"
        assert (status, stat.S_IMODE(moved.stat().st_mode)) == (0, 0o600)
        assert f"The key of the suppressions is in {moved}: every machine that uses the state needs it." in said
        forgetful.document["state"] = url
        forgetful.snapshot(["ana", "ben", "dee"])
        sent, key = forgetful.sent, moved.read_text()
        moved.unlink()  # as on another machine
        assert command(forgetful, "sync", "--all")[0] == 9
        monkeypatch.setenv(VARIABLE, key)
        forgetful.sync()
        assert {message.user_id for message in forgetful.windsor.store.accepted[sent:]} == {"cy", "dee"}
        forgetful.reopen()
        home = forgetful.folder / "home"
        status, said = command(forgetful, "state", "copy", "--to", f"sqlite:///{home}/state.db")
        assert f"The key of the suppressions is in {VARIABLE}" in said


@pytest.mark.parametrize("given", ["short", "x" * 65, "two words of thirty-two characters"])
def test_what_can_be_no_key_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigError) as refused:
        KeyPlace(None, lambda: given).find()
    assert given not in str(refused.value)


def test_two_that_make_the_key_at_once_have_the_same_one(tmp_path: Path) -> None:
    place = key_place(f"sqlite:///{tmp_path}/state.db")
    assert place.make() == place.make() == place.find()
    assert [path.name for path in tmp_path.iterdir()] == ["suppressions-state.db.key"]


def test_the_hash_of_a_row_that_could_not_be_read_goes_with_its_user(world: World) -> None:
    world.document["audiences"][0]["snapshot"]["max_malformed_percent"] = 100
    world.snapshot([]).write_text('user_id,external_ids\ndee,"{""email"": [""a@exa"\nben,{}\n')
    world.sync()
    left = salted(world.workspace.database.installation(), "dee")
    world.reopen()
    assert left in stored_text(world.folder / ".windsor")
    forget(world.workspace, "dee", who="dana", why=None)
    world.reopen()
    assert left not in stored_text(world.folder / ".windsor")
