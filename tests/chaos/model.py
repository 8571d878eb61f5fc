"""What is promised, as a model: what may be on the wire, and what Windsor has to show in the end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.company import Members, Row, Setup
from tests.chaos.mortal import Message
from windsor_sync.domain.run import Run, RunState


@dataclass(frozen=True, slots=True)
class Owed:
    """A change that was on the wire and got no yes."""

    message_id: str
    value: Any
    goal: Row | None
    """how the snapshot had the user then"""


@dataclass(slots=True)
class Model:
    """Knows what was asked for and what was on the wire; nothing of how it was done."""

    setup: Setup
    newest: Members = field(default_factory=dict)
    suppressed: set[str] = field(default_factory=set)
    entitled: set[str] = field(default_factory=set)
    """who may be told that they left: they were, or may have been, told that they are in"""
    told: set[str] | None = field(default_factory=set)
    """whom Windsor was told are members; None when only the ledger can know"""
    _ids: dict[tuple[str, str | None], list[str]] = field(default_factory=dict)
    """for each user and e-mail: the messageIds in the order of their first appearance"""
    _meaning: dict[str, tuple[str, Any, str | None]] = field(default_factory=dict)
    _owed: dict[tuple[str, str | None], Owed] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    """messageIds whose yes a run has lived to record"""
    _answered: dict[str, set[str]] = field(default_factory=dict)
    """by run"""

    def expected(self) -> dict[str, Any]:
        """What Windsor shows of the members once all is well."""
        return {user: row.value for user, row in self.newest.items() if user not in self.suppressed}

    def emails(self, user: str) -> tuple[str, ...]:
        """The e-mails that Windsor is told, in their order."""
        emails = tuple(dict.fromkeys(self.newest[user].emails))
        return emails if self.setup.emails == "all" else emails[:1]

    # -- on the wire -----------------------------------------------------------------------------------------

    def heard(
        self,
        messages: Sequence[Message],
        goal: Members,
        *,
        run_id: str | None,
        is_resync: bool = False,
        died: bool = False,
    ) -> None:
        """Check what a run that strove for `goal` has sent, in order; `run_id`: None when it died before it was opened."""
        answered = {message.message_id for message in messages if message.is_answered}
        self._answered.setdefault(run_id or "", set()).update(answered)
        self._drop_owed(goal, is_resync=is_resync)
        for message in messages:
            self._hear(message, goal.get(message.user))
        if not died:
            self._done |= answered

    def _drop_owed(self, goal: Members, *, is_resync: bool) -> None:
        """A change of mind ends a change; a resync says everything anew."""
        for key in [key for key, owed in self._owed.items() if is_resync or goal.get(key[0]) != owed.goal]:
            del self._owed[key]

    def _hear(self, message: Message, goal: Row | None) -> None:
        assert message.user not in self.suppressed, "a suppressed user was told something"
        if message.value == self.setup.absent and message.value is not True:
            assert message.user in self.entitled, "somebody left who never was told to be in"
        else:
            self.entitled.add(message.user)
        self._check_id(message, goal)

    def _check_id(self, message: Message, goal: Row | None) -> None:
        meaning = (message.user, message.value, message.email)
        assert self._meaning.setdefault(message.message_id, meaning) == meaning, "one messageId, two meanings"
        assert self.setup.emails == "all" or message.message_id not in self._done, "a change was told twice"
        key = (message.user, message.email)
        ids = self._ids.setdefault(key, [])
        if message.message_id not in ids:
            ids.append(message.message_id)
        assert ids[-1] == message.message_id, "an old messageId came back"
        owed = self._owed.pop(key, None)
        if owed is not None and owed.value == message.value:
            assert owed.message_id == message.message_id, "the same change got another messageId"
        if not message.is_answered:
            self._owed[key] = Owed(message.message_id, message.value, goal)

    # -- what a run says of itself ---------------------------------------------------------------------------

    def check_run(self, run: Run, messages: Sequence[Message]) -> None:
        """A run's own account against what was on the wire."""
        run.books.check(run.run_id)
        assert (run.state is RunState.WITHHELD) <= bool(run.held), "nothing waits for approval"
        exits = self.exits(messages)
        entries = {message.user for message in messages} - exits
        if "exited" in run.held:
            assert not exits, "withheld exits went out"
        if "entered" in run.held:
            assert not entries - (self.told or entries), "withheld entries went out"
        assert run.books.delivered <= len(self._answered[run.run_id]), "more was recorded than Windsor said yes to"

    def exits(self, messages: Iterable[Message]) -> set[str]:
        """Who was told to have left."""
        return {
            message.user for message in messages if message.value == self.setup.absent and message.value is not True
        }

    def members_before(self) -> int | None:
        """How many users Windsor was told are members; None: cannot tell."""
        return None if self.told is None or not self.setup.sends_exits else len(self.told - self.suppressed)

    def withholds_exits(self, ceiling: int | None) -> bool | None:
        """Whether the guard has to withhold the exits of a sync with the newest snapshot; None: cannot tell."""
        if self.told is None or not self.setup.sends_exits:
            return None
        before, leaving = self.told - self.suppressed, len(self.told - self.suppressed - set(self.expected()))
        floor = max(self.setup.guard_floor if self.expected() else 0, 1)
        if len(before) < floor or leaving * 100 <= 30 * len(before):
            return False
        return ceiling is None or leaving > ceiling

    # -- in the end ------------------------------------------------------------------------------------------

    def check_shown(self, shown: Mapping[str, Any], emails: Mapping[str, str | None]) -> None:
        """Windsor equals the newest snapshot."""
        expected = self.expected()
        for user, value in expected.items():
            assert user in shown, "a member was never told"
            assert _is_same(shown[user], value), "a member has another value"
            if told := self.emails(user):
                assert emails[user] == told[-1], "a member has another e-mail"
        if not self.setup.sends_exits:
            return
        for user in shown.keys() - expected.keys() - self.suppressed:
            assert _is_same(shown[user], self.setup.absent), "somebody who left was not told"


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
