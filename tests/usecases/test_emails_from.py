"""`emails_from: all`: who has no e-mail in an audience's own snapshot is told with the one that another snapshot has."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import update

from tests.chaos.processes import IS_CHAOS
from tests.cli.test_tables_and_words import call
from tests.support.people import People
from tests.support.windsor import StartWindsor
from tests.support.world import FIRST_DAY, KEY, World
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.domain.run import Run, RunState
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.views import view_run
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import installation, snapshots
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.diff_and_guard import planned
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.plan import described
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.request import Request

READERS, BUYERS = "readers", "buyers"


class Town:
    """Three audiences of one space: the one of KEY, readers and buyers."""

    def __init__(self, world: World) -> None:
        self.world = world
        more = [world.entry(name.title(), name) for name in (READERS, BUYERS)]
        world.document["audiences"] += more

    def snapshot(self, key: str, members: Mapping[str, str]) -> Path:
        return self.world.snapshot(members, folder="audience" if key == KEY else key)

    def sync(self, *keys: str, **request: Any) -> Run:
        """Sync these audiences, or all in the order of windsor.yaml; returns the last run."""
        for key in keys or (KEY, READERS, BUYERS):
            run = self.world.sync(key, Request(**request) if request else None)
            run.books.check(run.run_id)
        return run

    def told(self, key: str = KEY) -> dict[str, str | None]:
        """The e-mail that the messages of a plan have, by user."""
        return {message["userId"]: message["traits"].get("email") for message in self.world.plan(key)}

    def shown(self, user: str) -> Any:
        found = self.world.windsor.store.user(user)
        return found.properties.get("email") if found else None


@pytest.fixture
def town(world: World) -> Town:
    return Town(world)


def test_who_has_no_email_is_told_with_the_one_of_another_snapshot(
    make_world: Callable[..., World], state_url: str
) -> None:
    town = Town(make_world())
    town.world.document["state"] = state_url
    town.snapshot(READERS, {"ana": "ana@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": "ben@example.org", "cy": ""})
    planned_messages = town.world.plan()
    assert {each["userId"]: each["traits"].get("email") for each in planned_messages} == {
        "ana": "ana@example.org",
        "ben": "ben@example.org",
        "cy": None,
    }
    sent = {each["messageId"] for each in planned_messages}
    run = town.sync(KEY)
    assert {each.message_id for each in town.world.windsor.store.accepted} >= sent
    assert run.options["without_email"] == 1
    assert town.sync(KEY).books.changes == 0


def test_the_newest_snapshot_that_has_one_wins_and_the_audiences_own_before_all(town: Town) -> None:
    town.snapshot(READERS, {"ana": "new@example.org", "ben": ""})
    town.snapshot(BUYERS, {"ana": "old@example.org", "ben": "ben@example.org", "cy": "other@example.org"})
    readers = town.snapshot(READERS, {"ana": "new@example.org", "ben": ""})
    town.sync(READERS, BUYERS)
    assert readers.exists()
    town.snapshot(KEY, {"ana": "", "ben": "", "cy": "own@example.org"})
    assert town.told() == {"ana": "new@example.org", "ben": "ben@example.org", "cy": "own@example.org"}


@pytest.mark.parametrize(
    ("emails", "told"), [("first", ["one@x.org"]), ("last", ["two@x.org"]), ("all", ["one@x.org", "two@x.org"])]
)
def test_of_several_emails_elsewhere_the_setting_of_the_audience_that_is_told_chooses(
    town: Town, emails: str, told: list[str]
) -> None:
    town.world.document["audiences"][0]["emails"] = emails
    town.world.document["audiences"][1]["emails"] = "all"
    town.snapshot(READERS, {"ana": "one@x.org;two@x.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": ""})
    assert [message["traits"]["email"] for message in town.world.plan()] == told


def test_an_email_elsewhere_is_no_change_and_the_audience_that_has_it_tells_windsor(town: Town) -> None:
    everyone = {"ana": "", "ben": ""}
    town.snapshot(KEY, everyone)
    town.snapshot(READERS, {"ana": "ana@example.org"})
    town.snapshot(BUYERS, {"ben": "ben@example.org"})
    town.sync()
    assert (town.shown("ana"), town.shown("ben")) == ("ana@example.org", "ben@example.org")
    town.snapshot(READERS, {"ana": "changed@example.org"})
    town.snapshot(KEY, everyone)
    town.sync(READERS)
    sent = town.world.sent
    assert town.shown("ana") == "changed@example.org"
    assert town.told() == {}
    assert town.sync(KEY).books.changes == 0
    assert town.sync().books.changes == 0
    assert town.world.sent == sent


def test_who_leaves_is_told_false_with_the_email_that_is_the_newest_then(town: Town) -> None:
    town.snapshot(READERS, {"ana": "ana@example.org", "zoe": ""})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": ""})
    town.sync(KEY)
    town.snapshot(READERS, {"ana": "changed@example.org", "zoe": ""})
    town.sync(READERS)
    town.snapshot(KEY, {"ben": ""})
    assert town.told() == {"ana": "changed@example.org"}
    town.sync(KEY)
    assert (town.shown("ana"), town.world.shown()["ana"]) == ("changed@example.org", False)


@pytest.mark.parametrize("where", ["audience", "defaults", "state"])
def test_own_is_a_setting_of_an_audience_of_all_and_of_a_state_that_was_there_before(town: Town, where: str) -> None:
    if where == "state":
        with town.world.workspace.database.write() as connection:
            connection.execute(update(installation).values(emails_from=None))
    else:
        section = town.world.document["defaults" if where == "defaults" else "audiences"]
        (section if where == "defaults" else section[0])["emails_from"] = "own"
        town.world.reopen()
    town.snapshot(READERS, {"ana": "ana@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": ""})
    assert town.told() == {"ana": None}
    assert town.sync(KEY).options["without_email"] == 1
    town.world.document["audiences"][0]["emails_from"] = "all"
    town.world.reopen()
    assert town.told() == {}  # a setting is no change
    town.snapshot(KEY, {"ben": ""})
    assert town.told() == {"ana": "ana@example.org", "ben": None}


@pytest.mark.parametrize("harm", ["lost", "damaged", "pruned", "retired"])
def test_a_file_of_another_audience_that_is_gone_makes_no_change_and_stops_nobody(town: Town, harm: str) -> None:
    town.snapshot(READERS, {"ana": "ana@example.org", "ben": "ben@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "zoe": ""})
    town.sync(KEY)
    [stored] = (town.world.folder / ".windsor" / "files" / "snapshots" / READERS).iterdir()
    if harm == "lost":
        stored.unlink()
    elif harm == "damaged":
        stored.write_bytes(stored.read_bytes()[:-40] + bytes(40))
    elif harm == "retired":
        town.world.document["audiences"] = [
            each for each in town.world.document["audiences"] if each["name"] != "Readers"
        ]
        town.world.reopen()
    else:
        for number in range(3):
            town.snapshot(READERS, {"ben": "ben@example.org", f"user-{number}": ""})
            town.sync(READERS)
        with town.world.workspace.database.write() as connection:
            connection.execute(update(snapshots).values(sealed_at=FIRST_DAY))
        prune(town.world.workspace, kept_days=0)
        assert not stored.exists()
    town.snapshot(KEY, {"ana": "", "zoe": ""})
    assert town.told() == {}
    town.snapshot(KEY, {"ana": "", "ben": ""})
    run = town.sync(KEY)
    assert (run.state, run.books.entered, run.books.exited) == (RunState.DONE, 1, 1)
    assert town.shown("ana") == "ana@example.org"
    expected = [READERS] if harm in ("lost", "damaged") else []
    heals = [finding.remedy for finding in audit(town.world.workspace, repair=False) if "recover" in finding.remedy]
    assert len(heals) == len(expected)
    assert all(key in remedy for key, remedy in zip(expected, heals, strict=True))


def test_a_lost_file_does_not_hide_what_an_older_snapshot_has(town: Town) -> None:
    town.snapshot(BUYERS, {"ana": "old@example.org"})
    town.snapshot(READERS, {"ana": "new@example.org"})
    town.sync(BUYERS, READERS)
    town.snapshot(KEY, {"ana": ""})
    assert town.told() == {"ana": "new@example.org"}
    for stored in (town.world.folder / ".windsor" / "files" / "snapshots" / READERS).iterdir():
        stored.unlink()
    assert town.told() == {"ana": "old@example.org"}


def test_a_change_that_is_owed_keeps_its_messageid_and_takes_an_email_that_is_new(town: Town) -> None:
    town.snapshot(READERS, {"ana": "ana@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": ""})
    first = {each["userId"]: each["messageId"] for each in town.world.plan()}
    town.world.windsor.set_faults(Faults(rejected_users=frozenset({"ana", "ben"})))
    assert town.sync(KEY).books.rejected == 2
    town.world.windsor.set_faults(Faults())
    town.snapshot(BUYERS, {"ben": "ben@example.org"})
    town.sync(BUYERS)
    retry = Request(limits=Limits(retry=Retry()))
    again = {each["userId"]: each for each in town.world.plan(request=retry)}
    assert again["ana"]["messageId"] == first["ana"]
    assert again["ben"]["messageId"] != first["ben"]  # it is another message
    assert again["ben"]["traits"]["email"] == "ben@example.org"
    assert town.world.sync(request=retry).state is RunState.DONE
    assert town.sync(KEY).books.changes == 0


def test_a_resync_and_a_recovery_are_told_with_emails_too(town: Town) -> None:
    town.snapshot(READERS, {"ana": "ana@example.org", "ben": "ben@example.org"})
    town.snapshot(KEY, {"ana": "", "ben": ""})
    town.sync(READERS, KEY)
    town.snapshot(KEY, {"ana": ""})
    town.sync(KEY)
    resync = Request("backfill", limits=Limits(is_resync=True))
    expected = {"ana": (True, "ana@example.org"), "ben": (False, "ben@example.org")}
    for request in (resync, Request("recover", limits=Limits(is_resync=True, is_recovery=True))):
        messages = town.world.plan(request=request)
        assert {each["userId"]: (each["traits"][KEY], each["traits"]["email"]) for each in messages} == expected


def test_a_forgotten_user_leaves_no_borrowed_email(town: Town) -> None:
    canary = "canary-wren@example.org"
    town.snapshot(READERS, {"ana": canary, "zoe": ""})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": ""})
    town.world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    town.sync(KEY)
    kept = town.world.folder / ".windsor"
    assert _has_email(kept, canary)
    forget(town.world.workspace, "ana", who="dana", why=None)
    assert not _has_email(kept, canary)
    town.world.windsor.set_faults(Faults())
    town.sync(KEY, READERS)
    assert not _has_email(kept, canary)
    assert audit(town.world.workspace, repair=False) == []


def _has_email(folder: Path, email: str) -> bool:
    """Whether a stored file has the e-mail in any column; their pages are compressed."""
    with open_duckdb() as connection:
        tables = [
            connection.execute(f"SELECT * FROM {parquet(str(path))}").fetchall() for path in folder.rglob("*.parquet")
        ]
    return any(email in str(cell) for rows in tables for row in rows for cell in row)


def test_emails_are_those_of_the_person_whatever_id_windsor_merged(world: World) -> None:
    town, people = Town(world), People(world)
    people.alias(("old", "new"), ("older", "old"))
    town.snapshot(READERS, {"old": "old@example.org", "zoe": ""})
    town.snapshot(BUYERS, {"new": "", "older": "older@example.org"})
    town.sync(READERS, BUYERS)
    town.snapshot(KEY, {"new": "", "zoe": ""})
    assert town.told() == {"new": "older@example.org", "zoe": None}
    run = town.sync(KEY)
    assert run.options["without_email"] == 1
    forget(world.workspace, "older", who="dana", why=None)
    assert not _has_email(world.folder / ".windsor", "older@example.org")
    assert not _has_email(world.folder / ".windsor", "old@example.org")


def test_the_row_of_another_id_of_the_person_in_the_same_snapshot_counts_first(world: World) -> None:
    town, people = Town(world), People(world)
    people.alias(("old", "new"))
    town.snapshot(READERS, {"new": "elsewhere@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"new": "", "old": "here@example.org"})
    assert town.told() == {"new": "here@example.org"}
    assert "without_email" not in town.sync(KEY).options


def test_members_without_any_email_are_counted_in_plans_runs_and_on_the_page(town: Town) -> None:
    town.snapshot(READERS, {"ana": "ana@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": "", "cy": ""})
    world = town.world
    with planned(world.workspace, world.computation(), Request()) as prepared:
        assert described(prepared)["without_email"] == 2
    run = town.sync(KEY)
    assert run.options["without_email"] == 2
    view = view_run(world.workspace, run.run_id)
    assert "Of these without an e-mail" in render(
        "run.html", links=Links("", airflow=""), view=view, shown=None, may_start=False
    )
    listed = json.loads(call(world, "runs", "--json").out)["runs"][0]
    assert listed["without_email"] == 2
    assert "2 members" in call(world, "runs", run.run_id).out
    assert town.sync(KEY).options["without_email"] == 2  # nothing is read in an idle run
    town.snapshot(READERS, {"ana": "ana@example.org", "ben": "ben@example.org"})
    town.sync(READERS)
    town.snapshot(KEY, {"ana": "", "ben": ""})
    assert "without_email" not in town.sync(KEY).options


class Model:
    """What a reader of the promise expects of the e-mails in messages; it knows snapshots, and no outbox."""

    def __init__(self) -> None:
        self.newest: dict[str, dict[str, str]] = {}
        self.taken: dict[str, datetime] = {}

    def email(self, key: str, user: str) -> str | None:
        """The audience's own e-mail of the user, else that of the newest told snapshot which has one."""
        if own := self.newest.get(key, {}).get(user):
            return own
        others = sorted(self.taken, key=lambda other: self.taken[other], reverse=True)
        return next((found for other in others if (found := self.newest[other].get(user))), None)


@pytest.mark.parametrize("seed", range(50 if IS_CHAOS else 1))
def test_every_message_has_the_email_that_is_known_and_a_second_sync_sends_nothing(
    tmp_path: Path, start_windsor: StartWindsor, seed: int
) -> None:
    draw, town, model = Random(seed), Town(World(tmp_path, start_windsor())), Model()
    town.world.document["defaults"]["guard_floor"] = 1000
    keys, users = (KEY, READERS, BUYERS), [f"user-{number}" for number in range(6)]
    try:
        for _ in range(8 if IS_CHAOS else 3):
            for key in draw.sample(keys, draw.randint(1, 3)) if model.taken else keys:
                chosen = {
                    user: draw.choice(("", "", f"{user}@{draw.randrange(3)}.org")) for user in draw.sample(users, 3)
                }
                town.snapshot(key, {**chosen, "zoe": ""})
                before = dict(model.newest.get(key, {}))
                messages = town.told(key)
                for user, email in messages.items():
                    own = chosen.get(user) or (before.get(user) if user not in chosen else "")
                    assert email == (own or model.email(key, user)), (key, user)
                left = {user for user in before if user not in chosen and user != "zoe"}
                assert {user for user in messages if user not in before or user in left} == (
                    {*chosen, "zoe"} - set(before)
                ) | left
                town.sync(key)
                model.newest[key], model.taken[key] = {**chosen, "zoe": ""}, town.world._moment
            sent = town.world.sent
            assert town.sync().books.changes == 0
            assert town.world.sent == sent
    finally:
        town.world.reopen()
