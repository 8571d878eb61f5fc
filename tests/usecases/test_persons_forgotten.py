"""`forget`, and Segment's suppression list, mean a person: every id that Windsor has merged, in every stored file."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from tests.chaos.processes import IS_CHAOS
from tests.chaos.test_kill_leaves_no_users import where_canaries_are
from tests.cli.test_tables_and_words import call
from tests.support.people import People
from tests.support.world import World
from windsor_sync.errors import StoredFileError
from windsor_sync.persons.kin import with_kin
from windsor_sync.state.tables import audit_trail, merges
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet
from windsor_sync.storage.file_store import FileStore
from windsor_sync.usecases import forget as privacy
from windsor_sync.usecases import suppression_list as suppressions
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import Forgotten, forget, is_suppressed
from windsor_sync.usecases.learn_merges import rebuild

CANARY = "canary-wren-77ac"
IDS = tuple(f"{CANARY}-{name}" for name in ("first", "second", "third"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture
def people(world: World) -> People:
    return People(world)


def with_a_person_of_three_ids(people: People) -> None:
    """Told under the first id, merged twice; of the merges one file has the older one and another the newer one."""
    people.snapshot(IDS[0], "ben", "old-cy")
    people.sync()
    people.alias((IDS[0], IDS[1]), ("old-cy", "cy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("windsor_sync.persons.merges.LEAST_RECENT", 0)
        patch.setattr("windsor_sync.persons.merges.SHARE_RECENT", 1_000_000)
        people.alias(("x", "y"))
    people.alias((IDS[1], IDS[2]))
    people.snapshot(IDS[1], "ben", "cy")
    people.sync()
    known = people.world.workspace.merges.known()
    assert known.base
    assert known.recent


def forgotten(people: People, user: str = IDS[1]) -> Forgotten:
    return forget(people.world.workspace, user, who="dana", why="asked")


def everywhere(people: People) -> set[str]:
    return {str(path) for path in where_canaries_are(people.world.folder / ".windsor")}


def test_a_person_is_forgotten_under_every_id_that_windsor_has_merged(people: People, state_url: str) -> None:
    people.world.document["state"] = state_url
    user = IDS[0] if state_url.startswith("sqlite") else IDS[2]
    with_a_person_of_three_ids(people)
    assert everywhere(people)
    done = forgotten(people, user)
    assert done.ids[0] == user
    assert set(done.ids) == set(IDS)
    assert everywhere(people) == set()
    workspace = people.world.workspace
    assert all(is_suppressed(workspace.database, name) for name in IDS)
    assert with_kin(workspace.database, workspace.files, workspace.stored, ["cy"]) == {"cy", "old-cy"}
    assert audit(workspace, repair=False) == []
    assert people.planned() == 0
    people.sync()
    assert everywhere(people) == set()


def test_an_alias_that_names_a_forgotten_person_again_brings_none_of_their_ids_back(people: People) -> None:
    with_a_person_of_three_ids(people)
    forgotten(people)
    sent = people.world.sent
    people.alias((IDS[0], "new-id"), ("another", IDS[2]))
    assert people.world.sent == sent
    assert with_kin(
        people.world.workspace.database, people.world.workspace.files, people.world.workspace.stored, ["new-id"]
    ) == {"new-id"}
    rebuild(people.world.workspace)
    forgotten(people)
    assert everywhere(people) == set()


@pytest.mark.thorough
def test_a_forget_that_is_killed_anywhere_and_repeated_leaves_no_id_of_the_person(people: People) -> None:
    with_a_person_of_three_ids(people)
    world, moment, was_killed = people.world, 0, True
    world.reopen()
    home, copy = world.folder / ".windsor", world.folder / "as-it-was"
    shutil.copytree(home, copy)
    while was_killed:
        world.reopen()
        shutil.rmtree(home)
        shutil.copytree(copy, home)
        was_killed = killed_at(moment, people)
        forgotten(people)
        assert everywhere(people) == set(), moment
        assert all(is_suppressed(world.workspace.database, name) for name in IDS), moment
        assert audit(world.workspace, repair=False, is_quick=True) == [], moment
        moment += 1 if IS_CHAOS else 23
    assert moment > 16
    assert people.planned() == 0


def killed_at(moment: int, people: People) -> bool:
    """Begin to forget, and die before the step of that number; whether there was one."""
    left = moment

    def mortal(step: Callable[..., Any]) -> Callable[..., Any]:
        def dies(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return step(*args, **options)

        return dies

    with pytest.MonkeyPatch.context() as patch:
        for name in ("keep", "delete"):
            patch.setattr(FileStore, name, mortal(getattr(FileStore, name)))
        for name in ("_suppress", "take_place_of", "_purge_merges", "_remove_older_merges"):
            patch.setattr(privacy, name, mortal(getattr(privacy, name)))
        try:
            forgotten(people)
        except Killed:
            return True
    return False


def test_the_command_names_the_ids_and_nothing_else_does(people: People, caplog: pytest.LogCaptureFixture) -> None:
    with_a_person_of_three_ids(people)
    with caplog.at_level("DEBUG"):
        said = call(people.world, "forget", IDS[0]).out
    assert said.startswith(
        f"Suppressed, with the other ids that Windsor has merged with this one: {IDS[1]}, {IDS[2]}. Removed from 2 snapshots and "
    )
    assert CANARY not in caplog.text
    with people.world.workspace.database.read() as connection:
        assert CANARY not in str(connection.execute(select(audit_trail)).all())


def test_a_visitors_id_leaves_the_row_of_the_user_who_had_it(world: World) -> None:
    people = People(world, identify_by="anonymous_id")
    people.snapshot(("", CANARY), ("ben", "b"))
    people.sync()
    people.snapshot(("ana", CANARY), ("ana", "other"), ("ben", "b"))
    people.sync()
    assert everywhere(people)
    done = forgotten(people, CANARY)
    assert (done.ids, done.snapshots) == ((CANARY,), 2)
    assert everywhere(people) == set()
    head = people.world.workspace.ledger.head(1)
    assert head is not None
    assert head.snapshot is not None
    with open_duckdb() as connection:
        rows = connection.execute(f"SELECT user_id, anonymous_id FROM {parquet(head.snapshot)} ORDER BY 1").fetchall()
    assert rows == [("ana", "other"), ("ben", "b")]
    assert people.planned() == 0
    people.sync()
    assert people.shown("ana") is True
    assert everywhere(people) == set()


def test_damaged_merges_leave_the_given_id_forgotten_and_name_the_remedy(people: People) -> None:
    with_a_person_of_three_ids(people)
    known = people.world.workspace.merges.known()
    path = people.world.folder / ".windsor" / "files" / str(known.recent)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoredFileError, match="windsor-sync recover --events") as raised:
        forgotten(people)
    assert CANARY not in str(raised.value)
    assert is_suppressed(people.world.workspace.database, IDS[1])
    rebuild(people.world.workspace)
    forgotten(people)
    for name in (IDS[0], IDS[2]):  # what the damaged file alone knew may be lost: then the other ids have to be named
        forgotten(people, name)
    assert everywhere(people) == set()


def test_merges_of_another_destination_are_followed_too(people: People) -> None:
    with_a_person_of_three_ids(people)
    workspace = people.world.workspace
    with workspace.database.write() as connection:
        connection.execute(merges.update().values(destination="another"))
    assert set(forgotten(people, IDS[0]).ids) == set(IDS)
    assert everywhere(people) == set()


def test_who_segment_suppresses_is_suppressed_under_every_id_until_segment_lets_go(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_person_of_three_ids(people)
    workspace, listed = people.world.workspace, [IDS[1]]

    class Api:
        def suppressed_users(self) -> list[str]:
            return listed

    object.__setattr__(workspace, "segment", Api)
    monkeypatch.setattr(suppressions, "_is_fresh", lambda _moment: False)
    suppressions.refresh(workspace)
    assert all(is_suppressed(workspace.database, name) for name in IDS)
    listed.clear()
    suppressions.refresh(workspace)
    assert not any(is_suppressed(workspace.database, name) for name in IDS)


def test_the_books_count_who_stays_after_a_person_with_two_rows_was_forgotten(people: People) -> None:
    people.alias(("old", "new"), ("x", "y"))
    people.snapshot("old", "new", "x", "y", "ben")
    assert people.sync().books.members == 3
    forgotten(people, "new")
    for rows in (("old", "new", "x", "y", "ben"), ("old", "new", "x", "y", "ben", "cy")):
        people.snapshot(*rows)
        run = people.sync()
        members = len(rows) - 3
        assert (run.books.members, run.books.members_before, run.books.left_out["merged"]) == (members, 2, 1)


def test_who_was_merged_by_a_run_that_died_is_forgotten_under_both_ids(people: People) -> None:
    people.snapshot(IDS[0], IDS[1], "ben")
    people.sync()

    def dies(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("windsor_sync.usecases.close_run.learn", dies)
        with pytest.raises(Killed):
            people.alias((IDS[0], IDS[1]))
    people.world.reopen()
    assert set(forgotten(people, IDS[0]).ids) == {IDS[0], IDS[1]}
    assert everywhere(people) == set()
