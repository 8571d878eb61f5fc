"""A process stands still at each of its touches of the store or the state, past its lease, while another one takes over."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT
from typing import NamedTuple

import pytest
from sqlalchemy import select

from tests.chaos.paused import FORGOTTEN, ROWS
from tests.chaos.processes import IS_CHAOS, ROOT, Command, until
from tests.support.archive import Archive, arrived, sent
from tests.support.world import World
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import LeaseHeld, StateUnavailable
from windsor_sync.settings import load
from windsor_sync.state import connections
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import leases
from windsor_sync.usecases import forward
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

LEASE_S = 0.6
IN_FLIGHT = 4
LATE = 1
"""No program can look at the clock and write in one step: a request that was stopped between the two leaves on waking."""

SAMPLE = 2
"""Points of each case in the short form; the long form has all of them, in PARTS tests a case."""

PARTS = 40 if IS_CHAOS else 1

MAY_END = {0, StateUnavailable.exit_status, LeaseHeld.exit_status}
"""Done; the state was out of reach; the lease was lost."""


class Case:
    """A first sync of an audience: which process is stopped, what the other one does, and what has to hold then."""

    task = "sync"
    is_used_again = False
    """whether its world serves for several points, one after the other"""

    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshots = 0
        self.members: set[str] = set()
        self.once_members: set[str] = set()
        self.once_shown: set[str] = set()
        world.document |= {"defaults": {"max_exited_percent": None, "max_age": None}, "computed_traits": []}
        self.set_up()
        assert world.config.exists()

    def set_up(self) -> None:
        """Add to the configuration what the case needs."""

    def prepare(self) -> None:
        """Bring the state to where the process that will be stopped starts."""
        _ = self.world.workspace

    def comes(self) -> None:
        """Segment computes again: twelve of sixty users leave, twelve enter."""
        self.members = {f"user-{(12 * self.snapshots + number) % 60}" for number in range(24)}
        self.once_members |= self.members
        self.snapshots += 1
        self.world.snapshot(sorted(self.members))

    def work(self, workspace: Workspace) -> None:
        """Bring Windsor up to date."""
        run = sync(workspace, self.world.computation(), Request(), CancelToken())
        assert run.state is RunState.DONE, run.sentence

    def look(self) -> None:
        """Remember whom Windsor shows as members."""
        self.once_shown |= self.world.members_shown()

    def check(self, late: set[str]) -> None:
        """Nobody is lost, stale or foreign, but for users of `late`, whom the process that woke has told once more."""
        assert self.world.members_shown() ^ self.members <= late
        shown = self.world.shown()
        assert set(shown) <= self.once_members
        told_false_only = set(shown) - self.once_shown - self.world.members_shown()
        assert len(told_false_only) <= sum(run.books.in_doubt for run in self.runs)

    @property
    def runs(self) -> list[Run]:
        """Every run."""
        return recent(self.world.workspace.database, limit=100)


class Owed(Case):
    """An incremental sync of an audience of which the run before still owes changes."""

    is_used_again = True

    def prepare(self) -> None:
        """End a first sync half-way."""
        self.comes()
        stop = CancelToken()
        limits = replace(self.world.workspace.engine_limits, checkpoint_rows=ROWS)
        workspace = replace(self.world.workspace, engine_limits=limits)
        run = sync(workspace, self.world.computation(), Request(), stop, lambda *_: stop.press())
        assert run.books.owed
        self.look()


class Resync(Case):
    """A backfill that tells every member again."""

    task = "resync"
    is_used_again = True

    def prepare(self) -> None:
        """Sync once; who leaves before the backfill is told false by it."""
        self.comes()
        self.work(self.world.workspace)
        self.look()


class Forget(Resync):
    """A member is forgotten."""

    task = "forget"
    is_used_again = False

    def comes(self) -> None:
        """The member is in every snapshot."""
        super().comes()
        self.once_members.add(FORGOTTEN)
        self.world.snapshot([*sorted(self.members), FORGOTTEN])

    def check(self, late: set[str]) -> None:
        """Forget the member once more, as the error says; then nothing of them is left in the store."""
        forget(self.world.workspace, FORGOTTEN, who="a test", why=None)
        again = forget(self.world.workspace, FORGOTTEN, who="a test", why=None)
        assert (again.is_new, again.snapshots, again.outboxes) == (False, 0, 0)
        shown = self.world.members_shown() - {FORGOTTEN}
        assert shown == self.members
        assert set(self.world.shown()) <= self.once_members


class Events(Case):
    """A forwarding of events, after an earlier one."""

    task = "forward"
    is_used_again = True

    def set_up(self) -> None:
        """Add an archive."""
        self.archive = Archive(self.world)

    def prepare(self) -> None:
        """Forward the first file."""
        self.comes()
        self.work(self.world.workspace)

    def comes(self) -> None:
        """Another file of the archive: new events, and one that was there before."""
        users = [f"user-{number % 6}" for number in range(24)]
        self.archive.write([*self.archive.written[-1:], *(self.archive.message("track", user) for user in users)])

    def work(self, workspace: Workspace) -> None:
        """Forward what is new."""
        for run in forward.forward(workspace, forward.ForwardRequest(), CancelToken()):
            assert run.state is RunState.DONE, run.sentence

    def check(self, late: set[str]) -> None:
        """Every event arrived, in its user's order."""
        assert arrived(self.world) == sent(self.archive.written)


CASES = (Case, Owed, Resync, Forget, Events)


class Stopped(NamedTuple):
    """What became of a process that stood still."""

    is_inside_transaction: bool
    status: int
    late: int


def process(case: Case, *, point: int, lease_s: float = LEASE_S, how: str = "stop") -> Command:
    """The process that stands still at the point; never at point 0."""
    arguments = ["-m", "tests.chaos.paused", str(case.world.config), case.task, str(lease_s), str(point), how]
    return Command(case.world, arguments, PYTHONPATH=str(ROOT), TMPDIR=tempfile.gettempdir())


def touches(case: Case) -> list[str]:
    """What a process touches that never stands still."""
    case.prepare()
    case.comes()
    with process(case, point=0, lease_s=60) as run:
        ended = run.end()
    assert ended.status == 0, ended.errors
    names: list[str] = json.loads(ended.output)
    return names


def stands_still(run: Command) -> bool:
    """Wait until the process stands still; False when it ended before."""
    found = os.waitid(os.P_PID, run.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def is_state_busy(world: World) -> bool:
    """Whether the process was stopped inside a transaction, in which nobody else can take the lease."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
        try:
            with open_workspace(load(world.config, env={})) as workspace, workspace.database.write() as connection:
                connection.execute(select(leases).with_for_update())
        except StateUnavailable:
            return True
        return False


def takes_over(case: Case) -> bool:
    """Let another process do the work; False where the first was stopped inside a transaction."""
    if not is_state_busy(case.world):
        case.work(case.world.workspace)
        return True
    with pytest.raises(StateUnavailable), hasty_workspace(case.world) as workspace:
        case.work(workspace)
    return False


def are_leases_over(world: World) -> bool:
    """Whether nobody has a lease any more."""
    database = world.workspace.database
    with database.read() as connection:
        now = database.now(connection)
        return all(deadline < now for deadline in connection.execute(select(leases.c.deadline)).scalars())


@contextmanager
def hasty_workspace(world: World) -> Iterator[Workspace]:
    """A workspace that waits for no other writer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "BUSY_TIMEOUT_S", 0.05)
        with open_workspace(load(world.config, env={}), lambda: world.windsor.api_key) as workspace:
            yield workspace


def stop_at(case: Case, point: int, lease_s: float = LEASE_S) -> Stopped | None:
    """Stop a process at the point, let another one take over, wake the first, and look at the outcome.

    None when the process ended before it came to the point.
    """
    case.prepare()
    case.comes()
    with process(case, point=point, lease_s=lease_s) as run:
        if not stands_still(run):
            assert run.end().status in MAY_END, run.errors
            return None
        until(lambda: are_leases_over(case.world))
        case.look()
        case.comes()
        is_inside = not takes_over(case)
        case.look()
        before = case.world.sent
        run.send(SIGCONT)
        ended = run.end()
    assert ended.status in MAY_END, ended.errors
    has_lost = ended.status == LeaseHeld.exit_status and not is_inside
    late = {one.user_id for one in case.world.windsor.store.accepted[before:]} if has_lost else set()
    assert_whole(case, late)
    return Stopped(is_inside, ended.status, len(late))


def meet_outage(case: Case, point: int, how: str) -> int:
    """Put the database or the store out of a process's reach from the point on, and look at the outcome; its exit status."""
    case.prepare()
    case.comes()
    with process(case, point=point, lease_s=60, how=how) as run:
        ended = run.end()
    assert ended.status in MAY_END, ended.errors
    case.world.reopen()  # the next command sweeps what the process could not remove
    assert_whole(case, set())
    return ended.status


def assert_whole(case: Case, late: set[str]) -> None:
    """After one healthy sync nothing is lost, stale or foreign, audit finds nothing, and there is nothing more to send."""
    assert len(late) <= LATE
    case.look()
    case.work(case.world.workspace)
    case.check(late)
    assert audit(case.world.workspace, repair=False) == []
    for run in case.runs:
        assert run.finished_at is not None
        run.books.check(run.run_id)
    so_far = case.world.sent
    case.work(case.world.workspace)
    assert case.world.sent == so_far


def points(case: type[Case], found: int, part: int) -> range:
    """The points at which a process is stopped: in the short form a few, spread over the run and others in each case."""
    if IS_CHAOS:
        return range(1 + part, found + 1, PARTS)
    step = found // (SAMPLE * len(CASES))
    return range(step // 2 + step * CASES.index(case), found, step * len(CASES))


@pytest.mark.forms(2)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("case", CASES)
def test_a_writer_that_stands_still_at_any_touch_loses_nothing_and_overwrites_nothing(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: type[Case], part: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # audit finds what other tests leave there
    names = touches(track := case(make_world(max_in_flight=IN_FLIGHT)))
    outcomes: list[Stopped | None] = []
    for point in points(case, len(names), part):
        if not case.is_used_again or (outcomes and outcomes[-1] and outcomes[-1].late):
            track = case(make_world(max_in_flight=IN_FLIGHT))
        try:
            outcome = stop_at(track, point)
            if outcome is None:  # a busy machine: it lost its lease before it came to the point
                track = case(make_world(max_in_flight=IN_FLIGHT))
                outcome = stop_at(track, point, 5 * LEASE_S)
            outcomes.append(outcome)
        except BaseException as error:
            error.add_note(f"{case.__name__}, point {point} of {len(names)}: {names[point - 1]}")
            raise
        print(case.__name__, point, names[point - 1], outcomes[-1])
    assert outcomes.count(None) <= len(outcomes) // 2


@pytest.mark.forms(3)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("how", ["database", "store"])
@pytest.mark.parametrize("case", CASES)
def test_a_writer_whose_database_or_store_is_out_of_reach_at_any_touch_loses_nothing(
    make_world: Callable[..., World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: type[Case],
    how: str,
    part: int,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = touches(track := case(make_world(max_in_flight=IN_FLIGHT)))
    chosen = points(case, len(names), part)
    for point in chosen if IS_CHAOS else chosen[-1:]:
        if not case.is_used_again:
            track = case(make_world(max_in_flight=IN_FLIGHT))
        try:
            status = meet_outage(track, point, how)
        except BaseException as error:
            error.add_note(f"{case.__name__}, {how}, point {point} of {len(names)}: {names[point - 1]}")
            raise
        print(case.__name__, how, point, names[point - 1], f"Outage(status={status})")


@pytest.mark.forms(1)
@pytest.mark.parametrize("place", ["postgresql", "s3"])
@pytest.mark.parametrize("case", CASES if IS_CHAOS else CASES[:1])
def test_a_writer_that_stands_still_loses_nothing_with_a_state_in_postgresql_or_files_in_s3(
    make_world: Callable[..., World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    case: type[Case],
    place: str,
) -> None:
    world = make_world(max_in_flight=IN_FLIGHT)
    with ExitStack() as stack:
        server = request.getfixturevalue("s3" if place == "s3" else "postgres")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        if place == "s3":
            world.document["files"] = "s3://acme/windsor"
        else:
            world.document["state"] = stack.enter_context(server.state())
        names = touches(track := case(world))
        last = min(len(names), 200)
        for point in range(9, last, 29 if IS_CHAOS else last // 2):
            outcome = stop_at(track, point)
            print(case.__name__, place, point, names[point - 1], outcome)
        world.reopen()
