"""The model test: snapshots, faults, deaths, approvals, backfills, retirements and forgotten users in any order.

Whatever happened, one healthy sync makes Windsor equal to the newest snapshot, the books balance, and the next sync sends
nothing. Every message on the wire is checked on the way (see `model.py`).
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.chaos.company import Company, Members, Row, Setup
from tests.chaos.model import Model
from tests.chaos.mortal import Died, Message
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.domain.guard import Ceiling
from windsor_sync.domain.run import Run, RunState
from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.faults import Outage
from windsor_sync.state.approvals import approve, unsettled_approval
from windsor_sync.state.runs import recent
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget, is_suppressed
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.retire import retire
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest
from windsor_sync.usecases.why import why

IS_LONG = os.environ.get("WINDSOR_CHAOS") == "1"
"""Set by `make chaos`."""

USERS = tuple(f"user-{number}" for number in range(9)) + tuple(f"anon-{number}" for number in range(3))

EMAILS = st.sampled_from([(), ("one@example.com",), ("two@example.com",), ("one@example.com", "two@example.com")])
VALUES = st.sampled_from([1, 2.5, "gold", ["a", "b"], False, True])
SETUPS = {
    "audience": st.builds(
        Setup,
        identify_by=st.sampled_from(["user_id", "anonymous_id"]),
        emails=st.sampled_from(["first", "all"]),
        guard_floor=st.integers(0, 3),
        max_entered_percent=st.sampled_from([None, 50.0]),
        delivery_shards=st.integers(1, 3),
        max_in_flight=st.sampled_from([1, 3]),
    ),
    "trait": st.builds(
        Setup,
        is_trait=st.just(True),
        sends_null=st.booleans(),
        guard_floor=st.integers(0, 3),
        delivery_shards=st.integers(1, 2),
        max_in_flight=st.sampled_from([1, 3]),
    ),
}


@dataclass(frozen=True, slots=True)
class Weather:
    """What a run meets."""

    faults: Faults = field(default_factory=Faults)
    dies_at: int | None = None
    is_stopped: bool = False

    @property
    def is_fair(self) -> bool:
        """Whether nothing is in its way."""
        return self == Weather()


RATES = st.sampled_from([0.0, 0.0, 0.1, 0.3])
CERTAIN = st.just(1.0)
FAULTS = st.one_of(
    st.builds(Faults, lost_answer_rate=CERTAIN),
    st.builds(Faults, false_error_rate=CERTAIN),
    st.builds(Faults, garbage_rate=CERTAIN),
    st.builds(Faults, unsupported_calls=st.just(frozenset({"identify"}))),
    st.builds(Faults, outage=st.sampled_from([Outage.RESET, Outage.UNAVAILABLE])),
    st.builds(Faults, outage=st.just(Outage.RESET), outage_requests=st.integers(1, 9)),
    st.builds(Faults, revoked_after=st.integers(0, 9)),
    st.builds(Faults, rejected_users=st.frozensets(st.sampled_from(USERS), min_size=1)),
    st.builds(
        Faults,
        seed=st.integers(0, 99),
        busy_rate=RATES,
        retry_after_s=st.just(0),
        error_rate=RATES,
        reset_rate=RATES,
        lost_answer_rate=RATES.map(lambda rate: rate / 3),
        rejected_share=RATES,
    ),
)
FAIR = st.builds(Weather)
STORMS = st.one_of(
    st.builds(Weather, faults=FAULTS),
    st.builds(Weather, dies_at=st.integers(1, 60)),
    st.builds(Weather, faults=FAULTS, dies_at=st.integers(1, 60)),
    st.builds(Weather, faults=FAULTS, is_stopped=st.just(True)),
)
LIMITS = st.builds(
    Limits,
    is_resync=st.booleans(),
    only=st.sampled_from([None, "entered", "exited"]),
    count=st.sampled_from([None, None, 1, 3]),
    retry=st.sampled_from([None, Retry(), Retry(code=400)]),
)


class Chaos(RuleBasedStateMachine):
    """One company, and everything that can happen to its audience."""

    kind = "audience"
    windsor: Sandbox

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.windsor.reset()

    @initialize(data=st.data())
    def found_company(self, data: st.DataObject) -> None:
        """A new company."""
        setup = data.draw(SETUPS[self.kind])
        folder = Path(self.opened.enter_context(tempfile.TemporaryDirectory()))
        self.company = Company(folder, self.windsor, setup)
        self.opened.callback(self.company.reopen)
        self.model = Model(setup)
        self.is_out_of_step = False
        """somebody else has written to Windsor: only a resync makes that good"""

    def teardown(self) -> None:
        """All is well in the end."""
        try:
            if hasattr(self, "company") and self.company.downloads:
                self.one_healthy_sync_makes_all_well()
                self.everyone_is_accounted_for()
        finally:
            self.opened.close()

    # -- snapshots -------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def engage_computes(self, data: st.DataObject) -> None:
        """A newer snapshot: some enter, some leave, some change, or nothing does."""
        setup, before = self.company.setup, self.model.newest
        kind = data.draw(st.sampled_from(["next", "next", "next", "another", "same", "empty"]), "snapshot")
        pool = USERS if setup.identify_by == "anonymous_id" else USERS[:9]
        rows = st.builds(Row, EMAILS, VALUES if setup.is_trait else st.just(True))
        members: Members = before if kind in ("same", "next") else {}
        if kind in ("next", "another"):
            size = 3 if kind == "next" else None
            changed = data.draw(st.dictionaries(st.sampled_from(pool), rows, max_size=size), "entered or changed")
            left = data.draw(st.sets(st.sampled_from(pool), max_size=2), "left") if kind == "next" else set()
            members = {user: row for user, row in {**members, **changed}.items() if user not in left}
        self.company.download(members)
        self.model.newest = dict(members)

    @rule()
    def a_download_fails(self) -> None:
        """A file without a single row: nothing is sent, and nothing recorded."""
        company, key, told = self.company, self.company.setup.key, self.model.told
        before, newest = len(company.wire), self.newest_run
        path = company.failed_download()
        self.allow_key()
        try:
            company.plan(key)
        except SnapshotError:
            with pytest.raises(SnapshotError):
                company.sync(key)
        else:
            assert not told or told <= self.model.suppressed, "a failed download was taken for an empty audience"
        assert (len(company.wire), self.newest_run) == (before, newest)
        path.unlink()

    # -- runs ------------------------------------------------------------------------------------------------

    @rule(weather=st.one_of(FAIR, STORMS), data=st.data())
    def engage_computes_and_we_sync(self, weather: Weather, data: st.DataObject) -> None:
        """What happens every two to three hours."""
        self.engage_computes(data)
        self.sync(Request(), weather)

    @precondition(lambda self: self.company.downloads)
    @rule(weather=st.one_of(FAIR, STORMS))
    def sync_again(self, weather: Weather) -> None:
        """Without a newer snapshot."""
        self.sync(Request(), weather)

    @precondition(lambda self: self.company.downloads)
    @rule(limits=LIMITS, beyond=st.booleans(), weather=st.one_of(FAIR, STORMS), data=st.data())
    def backfill(self, limits: Limits, beyond: bool, weather: Weather, data: st.DataObject) -> None:
        """By hand: again, in part, or from an older file."""
        path = None
        if data.draw(st.booleans(), "an older file"):
            path = str(data.draw(st.sampled_from([path for path, _ in self.company.downloads]), "file"))
        request = Request(kind="backfill", limits=limits, is_beyond_guard=beyond, snapshot_path=path)
        self.sync(request, weather)

    def sync(self, request: Request, weather: Weather) -> Run | None:
        """One sync, and what may have been on the wire meanwhile; None when it died."""
        self.allow_key()
        goal = self.goal_of(request)
        plan = self.company.plan(self.company.setup.key, request) if weather.is_fair else None
        approved = self.standing_ceiling()
        expected = self.model.withholds_exits(approved) if request == Request() and weather.is_fair else None

        def act() -> Run:
            hooks = {"on_progress": self.company.press_stop} if weather.is_stopped else {}
            return self.company.sync(self.company.setup.key, request, **hooks)

        run, messages = self.go_through(act, goal, weather, is_resync=request.limits.is_resync)
        if run is not None and plan is not None:
            assert sorted(message["messageId"] for message in plan) == sorted(one.message_id for one in messages)
            assert expected is None or ("exited" in run.held) == expected, "the guard"
            before = self.model.members_before()
            assert before is None or run.books.members_before == before
        self.check_limits(request.limits, messages)
        self.learn(run, request, goal)
        return run

    def goal_of(self, request: Request) -> Members:
        """The members a sync strives for."""
        if request.snapshot_path is None:
            return self.model.newest
        return next(members for path, members in self.company.downloads if str(path) == request.snapshot_path)

    def go_through(
        self, act: Callable[[], Run], goal: Members, weather: Weather, *, is_resync: bool = False
    ) -> tuple[Run | None, list[Message]]:
        """Do it in that weather; check what was on the wire."""
        company, before = self.company, len(self.company.wire)
        doubted_before = company.unanswered_of_dead()
        company.windsor.set_faults(weather.faults)
        run = None
        company.life.moments_left = weather.dies_at
        try:
            run = act()
        except Died:
            assert weather.dies_at is not None
        died = company.life.is_over
        company.life.moments_left = None
        company.calm()
        messages = list(company.wire[before:])
        if died:
            company.reopen()
        newest = self.newest_run
        run_id = newest.run_id if newest else None
        self.model.heard(messages, goal, run_id=run_id, is_resync=is_resync, died=died)
        if died:
            doubted = company.unanswered_of_dead()
            never_sent = doubted - doubted_before - {message.user for message in messages}
            assert len(never_sent) <= company.most_let_go, "more is in doubt than what may have left"
            self.model.entitled |= doubted
            return None, messages
        assert run is not None
        self.model.check_run(run, messages)
        return run, messages

    def check_limits(self, limits: Limits, messages: list[Message]) -> None:
        """A backfill's limits hold."""
        exits = self.model.exits(messages)
        users = {message.user for message in messages}
        assert limits.only != "entered" or not exits
        assert limits.only != "exited" or users == exits
        assert limits.count is None or len(users) <= limits.count

    def learn(self, run: Run | None, request: Request, goal: Members) -> None:
        """Whom Windsor was told are members, where that is certain."""
        told = self.model.told
        if run is None or goal is not self.model.newest:
            self.model.told = None
        elif run.state is RunState.DONE:
            self.model.told = set(self.model.expected())
        elif run.held == ("exited",) and run.books.owed + run.books.rejected == 0 and told is not None:
            self.model.told = told | set(self.model.expected())
        else:
            self.model.told = None

    @rule(weather=st.one_of(FAIR, STORMS))
    def resume(self, weather: Weather) -> None:
        """As Airflow retries a task: the same run goes on."""
        newest = self.newest_run
        if newest is not None and not self.company.is_retired:
            self.deliver(newest, weather)

    @precondition(lambda self: self.company.downloads)
    @rule(limits=LIMITS, forgotten=st.one_of(st.none(), st.sampled_from(USERS[:3])), weather=st.one_of(FAIR, STORMS))
    def sync_task_by_task(self, limits: Limits, forgotten: str | None, weather: Weather) -> None:
        """As Airflow does: the run is opened in one process and delivered in another; a user is forgotten in between."""
        opened = self.open(limits)
        if forgotten is not None:
            self.somebody_is_forgotten(forgotten, None)
        self.deliver(opened, weather)

    @precondition(lambda self: self.company.downloads)
    @rule(limits=LIMITS)
    def open_only(self, limits: Limits) -> None:
        """A run that is opened and not delivered, unless somebody resumes it."""
        self.open(limits)

    def open(self, limits: Limits) -> Run:
        """Open a run and leave the process."""
        self.allow_key()
        workspace, audience, request = self.company.workspace, self.company.audience, Request(limits=limits)
        known = workspace.registry.register(audience)
        with workspace.hold(known.key, "a task") as lease:
            opened = open_run(workspace, audience, known, seal_newest(workspace, audience, request), request, lease)
        self.model.heard([], self.model.newest, run_id=opened.run_id, is_resync=limits.is_resync)
        self.model.told = None
        self.company.reopen()
        return opened

    def deliver(self, run: Run, weather: Weather) -> None:
        """Deliver what is left of an opened run."""
        company = self.company

        def act() -> Run:
            workspace, audience = company.workspace, company.audience
            on_progress = company.press_stop if weather.is_stopped else None
            with workspace.hold(audience.key, "a task") as lease:
                return deliver_run(workspace, audience, run, lease, company.stop, on_progress)

        goals = (members for path, members in company.downloads if self.is_of(run, path))
        self.go_through(act, {} if run.kind == "retire" else next(goals), weather)
        self.model.told = None

    def is_of(self, run: Run, path: Path) -> bool:
        """Whether the run's snapshot was made of this file."""
        return run.taken_at.timestamp() == path.stat().st_mtime

    @property
    def newest_run(self) -> Run | None:
        """The last run, whatever became of it."""
        found = recent(self.company.workspace.database, limit=1)
        return found[0] if found else None

    # -- people ----------------------------------------------------------------------------------------------

    @rule(exited=st.sampled_from([None, 0, 1, 3, 12]), entered=st.sampled_from([None, 0, 12]))
    def somebody_approves(self, exited: int | None, entered: int | None) -> None:
        """Of what the guard withholds, up to so many."""
        run = self.newest_run
        if run is not None and run.state is RunState.WITHHELD:
            approve(self.company.workspace.database, run, Ceiling(exited, entered), who="ann", why=None)

    def standing_ceiling(self) -> int | None:
        """How many exits are approved."""
        found = unsettled_approval(self.company.workspace.database, self.company.row.id) if self.company.row else None
        return found.ceiling.max_exited if found else None

    @rule(weather=st.one_of(FAIR, STORMS))
    def somebody_retires_it(self, weather: Weather) -> None:
        """Nobody is in it any more."""
        company, key = self.company, self.company.setup.key
        if company.row is None:
            return

        def act() -> Run:
            on_progress = company.press_stop if weather.is_stopped else None
            return retire(company.workspace, key, who="ann", why=None, stop=company.stop, on_progress=on_progress)

        run, _ = self.go_through(act, {}, weather)
        self.model.told = None
        if run is not None and run.state is RunState.DONE and company.setup.sends_exits:
            self.model.told = set()
            shown = company.shown(key)
            left = {user: shown[user] for user in shown.keys() - self.model.suppressed}
            assert self.is_out_of_step or all(value is self.company.setup.absent for value in left.values())

    def allow_key(self) -> None:
        """A retired key is refused until somebody says that it may be used again."""
        entry = self.company.entry_of_yaml
        if self.company.is_retired and not entry.get("reuse_key"):
            before = len(self.company.wire)
            with pytest.raises(ConfigError, match="retired"):
                self.company.sync(self.company.setup.key)
            assert len(self.company.wire) == before
            entry["reuse_key"] = True
            self.company.reopen()
        elif not self.company.is_retired and entry.pop("reuse_key", None):
            self.company.reopen()

    @rule(user=st.sampled_from(USERS[:3]), dies_at=st.one_of(st.none(), st.integers(1, 30)))
    def somebody_is_forgotten(self, user: str, dies_at: int | None) -> None:
        """For good; when the process dies of it, a second time."""
        company = self.company
        company.life.moments_left = dies_at
        try:
            forget(company.workspace, user, who="ann", why=None)
        except Died:
            company.reopen()
        company.life.moments_left = None
        if is_suppressed(company.workspace.database, user):
            self.model.suppressed.add(user)
            forget(company.workspace, user, who="ann", why=None)
            assert user not in company.stored_users()
        if dies_at is None:
            self.files_are_as_recorded()

    def files_are_as_recorded(self) -> None:
        """An audit finds nothing but runs that died."""
        found = [finding.text for finding in audit(self.company.workspace, repair=False)]
        assert not [text for text in found if "has not ended" not in text]

    @rule(users=st.sets(st.sampled_from(USERS), min_size=1))
    def somebody_else_writes_to_windsor(self, users: set[str]) -> None:
        """A backup is restored there, or a person corrects it by hand: only a resync makes that good."""
        key, shown = self.company.setup.key, self.company.shown(self.company.setup.key)
        for user in sorted(users & shown.keys()):
            anyone = {"anonymousId": user} if user.startswith("anon") else {"userId": user}
            traits = {key: "else" if self.company.setup.is_trait else not shown[user]}
            self.windsor.store.apply({"type": "identify", **anyone, "traits": traits}, 0)
            self.is_out_of_step = True

    # -- what is promised --------------------------------------------------------------------------------------

    @precondition(lambda self: self.company.downloads)
    @rule()
    def one_healthy_sync_makes_all_well(self) -> None:
        """Convergence; a change that waits after rejections goes when somebody says `retry`."""
        if self.is_out_of_step:
            self.sync(Request(kind="backfill", limits=Limits(is_resync=True), is_beyond_guard=True), Weather())
            self.is_out_of_step = False
        run = self.sync(Request(is_beyond_guard=True), Weather())
        assert run is not None
        if run.books.rejected:
            retry = Request(is_beyond_guard=True, limits=Limits(retry=Retry()))
            run = self.sync(retry, Weather())
            assert run is not None
        assert (run.state, run.books.changes) == (RunState.DONE, run.books.delivered)
        self.windsor_is_right()
        for each in recent(self.company.workspace.database, limit=1_000):
            each.books.check(each.run_id)
        again = self.sync(Request(), Weather())
        assert again is not None
        assert again.books.changes == 0

    def windsor_is_right(self) -> None:
        """Windsor shows the newest snapshot."""
        shown = self.company.shown(self.company.setup.key)
        emails = {user.id: user.properties.get("email") for user in self.windsor.store.users()}
        self.model.check_shown(shown, emails)

    def everyone_is_accounted_for(self) -> None:
        """`why` ends in what Windsor shows, and nothing is in doubt."""
        for user in USERS[::4]:
            self.explain(user)

    @rule(user=st.sampled_from(USERS))
    def explain(self, user: str) -> None:
        """Why a user is, or is not, in the audience."""
        if self.company.row is None:
            return
        (account,) = why(self.company.workspace, user)
        assert account.is_suppressed == (user in self.model.suppressed)
        if account.is_suppressed or account.is_in_doubt or self.is_out_of_step:
            return
        shown = self.company.shown(self.company.setup.key)
        assert account.was_told == (user in shown)
        assert account.told == shown.get(user)


def run_machine(machine: type[Chaos], windsor: Sandbox, examples: int) -> None:
    """In any order, so many times."""
    machine.windsor = windsor
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=18 if IS_LONG else 14,
            deadline=None,
            derandomize=not IS_LONG,  # `make test` gives the same answer each time; `make chaos` looks further
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


class TraitChaos(Chaos):
    """The same with a computed trait."""

    kind = "trait"


def test_whatever_happens_one_healthy_sync_makes_an_audience_right(windsor: Sandbox) -> None:
    run_machine(Chaos, windsor, 200 if IS_LONG else 4)


@pytest.mark.thorough
def test_whatever_happens_one_healthy_sync_makes_a_computed_trait_right(windsor: Sandbox) -> None:
    run_machine(TraitChaos, windsor, 100 if IS_LONG else 3)
