"""Every command that a sentence names as a remedy is run as it is printed, on the damage that it is named for, and heals it."""

import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from tests.support.archive import Archive, arrived
from tests.support.world import KEY, World
from tests.usecases.test_damaged_files import forget_the_source, stored
from tests.usecases.test_state_restored_or_lost import backed_up, lose, restore
from windsor_sync.cli import main
from windsor_sync.sandbox import Faults
from windsor_sync.state.copying import copy_state
from windsor_sync.state.ledger import Ledger
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.recover_state import recover_state
from windsor_sync.usecases.retire import retire

PACKAGE = Path(__file__).parents[2] / "windsor_sync"

SENTENCES = (
    "state/audiences", "state/marks", "state/moved", "state/stored_files", "state/suppressions", "storage/errors",
    "usecases/audit", "usecases/close_run", "usecases/forget", "usecases/orphans",
)  # fmt: skip
"""Modules whose sentences name what heals a file, the state, a run or an audience."""

MEMBERS = [f"user-{number:03}" for number in range(200)]
LATER = MEMBERS[20:]


def run(world: World, *words: str) -> tuple[int, str]:
    """Run windsor-sync in this process; its exit status and all that it printed."""
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setenv("WINDSOR_API_KEY", world.windsor.api_key)
        patch.setenv("HOME", str(world.folder))  # `check` looks for an Airflow there
        patch.delenv("AIRFLOW_HOME", raising=False)
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(world.config), *words])
    return int(ended.value.code or 0), said.getvalue()


def named_in(text: str) -> list[str]:
    """The commands that a text names."""
    return re.findall(r"`windsor-sync ([^`]+)`", text)


def without_a_snapshot(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(LATER)
    forget_the_source(world)
    stored(world, "snapshots")[0].unlink()


def without_an_outbox(world: World) -> None:
    world.snapshot(MEMBERS)
    world.windsor.set_faults(Faults(rejected_users=frozenset(MEMBERS[30:40])))
    world.sync()
    world.windsor.set_faults(Faults())
    world.snapshot(LATER)
    stored(world, "outboxes")[0].unlink()


def with_half_an_outbox(world: World) -> None:
    without_an_outbox(world)
    (path,) = re.findall(r"file (outboxes/\S+)", run(world, "audit")[1])
    (world.folder / ".windsor" / "files" / path).write_bytes(b"PAR1")


def with_a_restored_state(world: World) -> None:
    world.snapshot(MEMBERS[:100])
    world.sync()
    backup = backed_up(world)
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(LATER)
    restore(world, backup)


def without_a_state(world: World) -> None:
    with_a_restored_state(world)
    lose(world, world.folder)


def without_a_known_ledger(world: World) -> None:
    with_a_restored_state(world)
    recover_state(world.workspace, "a test", None)


def retired_without_an_outbox(world: World) -> None:
    world.snapshot(MEMBERS)
    world.sync()
    world.windsor.set_faults(Faults(rejected_users=frozenset(MEMBERS[:1])))
    retire(world.workspace, KEY, "a test", None, world.stop)
    world.windsor.set_faults(Faults())
    stored(world, "outboxes")[1].unlink()
    world.document["audiences"] = []
    world.reopen()


def with_a_dead_run(world: World) -> None:
    world.snapshot(LATER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "checkpoint", _die)
        with pytest.raises(KeyboardInterrupt):
            world.sync()
    world.reopen()


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def moved(world: World) -> None:
    world.snapshot(LATER)
    world.sync()
    world.reopen()
    copy_state(f"sqlite:///{world.folder}/.windsor/state.db", f"sqlite:///{world.folder}/copy.db")


def without_its_key(world: World) -> None:
    world.snapshot(LATER)
    world.sync()
    forget(world.workspace, LATER[0], who="a test", why=None)
    world.reopen()
    (world.folder / ".windsor" / "suppressions-state.db.key").unlink()


def withheld(world: World) -> None:
    del world.document["defaults"]["max_exited_percent"]
    world.snapshot(MEMBERS)
    world.sync()
    world.snapshot(MEMBERS[180:])


def under_another_trait(world: World) -> None:
    world.snapshot(LATER)
    world.sync()
    world.document["audiences"][0]["trait"] = "another_trait"
    world.reopen()


def removed(world: World) -> None:
    world.snapshot(LATER)
    world.sync()
    world.document["audiences"] = []
    world.reopen()


def disabled(world: World) -> None:
    world.snapshot(LATER)
    world.sync()
    world.document["audiences"][0]["enabled"] = False
    world.reopen()


def renamed(world: World) -> None:
    del world.document["audiences"][0]["id"]
    world.snapshot(LATER)
    world.sync()
    world.document["audiences"] = [world.entry("Bought Lately", "audience")]
    world.reopen()


@dataclass(frozen=True, slots=True)
class Case:
    """A damage, the command whose output names the remedy, and what it has to name."""

    damage: Callable[[World], None]
    asked: str
    status: int
    named: tuple[str, ...]
    members: tuple[str, ...] = tuple(LATER)
    """whom Windsor shows as members once all was done"""
    is_audited: bool = True


RECOVER = (f"recover {KEY}",)
STATE = ("recover --state", "sync --all")

CASES = (
    Case(without_a_snapshot, "sync --all", 9, RECOVER),
    Case(without_a_snapshot, "audit", 1, RECOVER),
    Case(without_a_snapshot, f"plan {KEY}", 9, RECOVER),
    Case(without_an_outbox, "sync --all", 9, RECOVER),
    Case(without_an_outbox, "audit --quick", 1, RECOVER),
    Case(with_half_an_outbox, "forget user-150", 9, RECOVER),
    Case(with_a_restored_state, "sync --all", 9, STATE),
    Case(with_a_restored_state, "audit", 9, STATE),
    Case(with_a_restored_state, "check", 2, STATE),
    Case(without_a_state, "sync --all", 9, STATE),
    Case(without_a_state, "forget user-150", 9, STATE),
    Case(without_its_key, "sync --all", 9, ("recover --key",)),
    Case(without_its_key, "audit", 9, ("recover --key",)),
    Case(without_its_key, "check", 2, ("recover --key",)),
    Case(without_a_known_ledger, "audit", 1, RECOVER),
    Case(retired_without_an_outbox, "audit", 1, (f"retire {KEY}", "recover"), members=()),
    Case(with_a_dead_run, "audit", 1, ()),
    Case(moved, "sync --all", 2, ("state reopen",)),
    Case(withheld, "sync --all", 3, ("approve RUN --max-exited 180",), members=tuple(MEMBERS[180:])),
    Case(removed, "check", 0, (f"retire {KEY}",), members=()),
    Case(removed, "audit", 0, (f"retire {KEY}",), members=()),
    Case(removed, "plan --all", 0, (f"retire {KEY}",), members=()),
    Case(removed, "audiences", 0, (f"retire {KEY}",), members=()),
    Case(disabled, "audit", 0, (f"retire {KEY}",), members=()),
    Case(renamed, "sync --all", 3, ("approve RUN --max-entered 180",), is_audited=False),
    Case(under_another_trait, "sync --all", 2, (f"retire {KEY}",), members=(), is_audited=False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.damage.__name__}: {case.asked}")
def test_the_command_that_is_printed_heals_what_it_is_printed_for(world: World, case: Case) -> None:
    world.document["defaults"]["max_exited_percent"] = None
    world.document["computed_traits"] = []
    case.damage(world)
    status, text = run(world, *case.asked.split())
    named = [re.sub(r"[\w]+-\d+-\d{8}T\d{6}Z-\d+", "RUN", words) for words in named_in(text)]
    assert (status, named) == (case.status, list(case.named)), text
    for words in named_in(text):
        if words != "recover":  # "with its name", once it is back in windsor.yaml
            assert run(world, *shlex.split(words))[0] in (0, 130), words
    if case.damage == with_a_dead_run:
        assert "--repair" in text
        run(world, "audit", "--repair")
    world.reopen()
    if case.members and case.is_audited:
        run(world, "sync", "--all")
    assert world.members_shown() - {"user-150"} == set(case.members) - {"user-150"}
    if case.asked.startswith("forget"):
        assert run(world, *case.asked.split())[0] == 0
    if case.is_audited:
        assert audit(world.workspace, repair=False) == []


@pytest.mark.parametrize("asked", ["check", "audit", "plan --all", "audiences"])
def test_the_trait_that_is_printed_keeps_the_key_of_a_renamed_audience(world: World, asked: str) -> None:
    world.document["computed_traits"] = []
    renamed(world)
    status, text = run(world, *asked.split())
    (trait,) = {*re.findall(r"`trait: ([^`]+)` in its new entry", text)}
    assert (status, trait) == (0, KEY), text
    world.document["audiences"][0]["trait"] = trait
    world.reopen()
    world.snapshot(LATER[1:])
    assert run(world, "sync", "--all")[0] == 0
    assert world.members_shown() == set(LATER[1:])
    assert audit(world.workspace, repair=False) == []


def test_enabled_as_it_is_printed_goes_on_with_a_disabled_audience(world: World) -> None:
    disabled(world)
    assert "set `enabled: true`" in run(world, "check")[1]
    del world.document["audiences"][0]["enabled"]
    world.reopen()
    world.snapshot(LATER[1:])
    assert run(world, "sync", KEY)[0] == 0
    assert world.members_shown() == set(LATER[1:])


def test_the_command_that_is_printed_brings_back_events_whose_outbox_is_lost(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", f"user-{number}") for number in range(9)])
    world.windsor.set_faults(Faults(revoked_after=2))
    assert run(world, "forward")[0] == 5
    world.windsor.set_faults(Faults())
    stored(world, "outboxes")[0].unlink()
    status, text = run(world, "forward")
    assert (status, named_in(text)) == (9, ["recover --events"])
    assert run(world, "recover", "--events")[0] == 0
    assert run(world, "forward")[0] == 0
    assert sum(map(len, arrived(world).values())) == 9
    assert audit(world.workspace, repair=False) == []


def test_the_command_that_is_printed_releases_held_aliases(world: World) -> None:
    archive = Archive(world, alias="hold")
    archive.write([archive.message("alias", "user-1", previousId="guest-1")])
    status, text = run(world, "forward", "--json")
    assert status == 0
    (named,) = {words for words in named_in(text) if words.startswith("forward")}
    assert run(world, *named.split())[0] == 0
    assert [message.call for message in world.windsor.store.accepted] == ["alias"]


def test_the_command_that_is_printed_shows_what_was_rejected(world: World) -> None:
    world.snapshot(MEMBERS[:3])
    world.windsor.set_faults(Faults(rejected_users=frozenset(MEMBERS[:1])))
    status, text = run(world, "sync", KEY)
    (named,) = named_in(text)
    assert (status, named.split()[0]) == (4, "runs")
    status, text = run(world, *named.split())
    assert (status, "rejected" in text) == (0, True)


def test_no_sentence_names_a_command_that_no_test_runs() -> None:
    tested = {" ".join(words.split()[:2]) for case in CASES for words in case.named}
    tested |= {"recover --events", "forward --release-aliases", "audit", "runs {run.run_id}"}
    tested = {words.replace(KEY, "KEY") for words in tested} - {"recover"}
    for module in SENTENCES:
        text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
        for words in re.findall(r"`windsor-sync ([^`]+)`", text):
            plain = re.sub(r"\{shlex\.quote\(.*?\)\}|\{pinned\}", "KEY", words)
            plain = plain.replace("approve {run.run_id}", "approve RUN")
            assert " ".join(plain.split()[:2]) in tested | {"recover"}, f"{module}: {words}"
