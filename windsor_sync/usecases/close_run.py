"""Closes a run: counts what became of every change, checks the books, and says in words how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.verdicts import NOT_IMPLEMENTED, judges_address
from windsor_sync.diff.duckdb import Remains, remains
from windsor_sync.domain.labels import counted
from windsor_sync.domain.run import AnyRun, Books, ForwardingRun, Run, RunState, UnbalancedBooksError
from windsor_sync.errors import (
    ChangesWithheld,
    CredentialsRefused,
    DestinationUnavailable,
    Interrupted,
    LeaseLost,
    MessagesRejected,
    OutOfResources,
    SnapshotError,
    StateUnavailable,
    StoredFileError,
    WindsorSyncError,
)
from windsor_sync.events import malformed
from windsor_sync.events.late import late_sentence
from windsor_sync.outbox.events import remaining
from windsor_sync.settings import Settings
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Head, Ledger, Verdict
from windsor_sync.state.runs import finish, run_of
from windsor_sync.usecases.learn_merges import learn
from windsor_sync.usecases.workspace import Workspace

STATE_OF = {
    CredentialsRefused: RunState.REFUSED,
    DestinationUnavailable: RunState.UNAVAILABLE,
    StateUnavailable: RunState.UNAVAILABLE,
    LeaseLost: RunState.INTERRUPTED,
    Interrupted: RunState.INTERRUPTED,
    OutOfResources: RunState.FAILED,
    MessagesRejected: RunState.REJECTED,
}

ERROR_OF: dict[RunState, type[WindsorSyncError]] = {
    RunState.OPEN: WindsorSyncError,
    RunState.FAILED: WindsorSyncError,
    RunState.WITHHELD: ChangesWithheld,
    RunState.REJECTED: MessagesRejected,
    RunState.REFUSED: CredentialsRefused,
    RunState.UNAVAILABLE: DestinationUnavailable,
    RunState.INTERRUPTED: Interrupted,
}


def settle(workspace: Workspace, lease: Lease, run: AnyRun, outcome: Delivery | None) -> AnyRun:
    """Record how the run ended.

    Raises UnbalancedBooksError or StoredFileError after recording it, and LeaseLost without recording.
    """
    if outcome and isinstance(outcome.stopped_by, LeaseLost | StateUnavailable):
        raise outcome.stopped_by
    if outcome and isinstance(outcome.stopped_by, MessagesRejected) and isinstance(run, ForwardingRun):
        _take_back(workspace, lease, run)
    try:
        learn(workspace, run)
        books = closing_books(workspace, run)
    except StoredFileError as lost:
        books = as_it_stands(workspace, run).books
        finish(workspace.database, lease, run.run_id, RunState.FAILED, books, datetime.now(UTC), str(lost))
        raise
    state, sentence = _ending(workspace.settings, workspace.ledger, run, books, outcome)
    sentence = " ".join(filter(None, (run.options.get("unreadable"), sentence, *run.options.get("remarks", ()))))
    try:
        books.check(run.run_id)
    except UnbalancedBooksError as error:
        finish(workspace.database, lease, run.run_id, RunState.FAILED, books, datetime.now(UTC), str(error))
        raise
    finish(workspace.database, lease, run.run_id, state, books, datetime.now(UTC), sentence)
    closed = run_of(workspace.database, run.run_id)
    assert isinstance(closed, type(run))
    stopped = outcome.stopped_by if outcome else None
    asked_s = stopped.retry_after_s if isinstance(stopped, DestinationUnavailable) else None
    return replace(closed, retry_after_s=asked_s)


def _take_back(workspace: Workspace, lease: Lease, run: Run) -> None:
    """Take back the rejections that came from a wrong address; every other rejection of an event is final."""
    ledger = workspace.ledger.of_run(run.run_id)
    rejected = [one for one in ledger.verdicts if one.verdict is Verdict.REJECTED] if ledger else []
    workspace.ledger.reopen(lease, run.run_id, [one.seq for one in rejected if judges_address(one.code)])


def settle_dead_predecessor(workspace: Workspace, lease: Lease, head: Head | None) -> None:
    """The run before a new one may have been killed; from here on its books do not change any more."""
    previous = run_of(workspace.database, head.run_id) if head else None
    if previous is not None and previous.finished_at is None:
        settle_dead(workspace, lease, previous)


def settle_dead(workspace: Workspace, lease: Lease, run: Run) -> None:
    """Close the books of a run that died; under its lease, so that nobody is delivering it."""
    with suppress(StoredFileError):  # a lost outbox tells of no merges
        learn(workspace, run)
    sentence = "It died; what it had not delivered is not yet in Windsor, and the next run sends it."
    books = as_it_stands(workspace, run).books  # its outbox may be what was lost
    if run.outbox is not None:
        workspace.marks.end(lease, run)
    finish(workspace.database, lease, run.run_id, RunState.INTERRUPTED, books, datetime.now(UTC), sentence)


def closing_books(workspace: Workspace, run: Run) -> Books:
    """The run's books as positions, verdicts and the outbox have them now."""
    ledger = workspace.ledger.of_run(run.run_id)
    if ledger is None:
        return run.books
    if ledger.outbox_path is not None:
        workspace.stored.confirm(ledger.outbox_path)
    if isinstance(run, ForwardingRun):
        return _with_rest(run, ledger, remaining(ledger))
    rest = remains(ledger)
    told_true = run.books.members - rest.untold + rest.still_true
    return replace(_with_rest(run, ledger, rest), told_true=told_true)


def _with_rest(run: Run, ledger: Head, rest: Remains) -> Books:
    return replace(
        run.books,
        delivered=sum(shard.delivered for shard in ledger.shards),
        rejected=rest.rejected,
        withheld=rest.withheld,
        owed=rest.owed,
        in_doubt=rest.in_doubt,
    )


def as_it_stands(workspace: Workspace, run: AnyRun) -> AnyRun:
    """The run, with the books of one that has not ended counted now: until its end none are recorded.

    Where its outbox is out of reach, lost or damaged, all that is not acknowledged counts as owed.
    """
    if run.finished_at is not None:
        return run
    try:
        return replace(run, books=closing_books(workspace, run))
    except (StateUnavailable, StoredFileError):
        ledger = workspace.ledger.of_run(run.run_id)
        delivered = sum(shard.delivered for shard in ledger.shards) if ledger else 0
        return replace(run, books=replace(run.books, delivered=delivered, owed=run.books.changes - delivered))


def error_of(run: Run) -> WindsorSyncError | None:
    """The error a run that did not end well stands for, with its sentence; None when all is done."""
    kind = ERROR_OF.get(run.state)
    if run.state is RunState.FAILED and _malformed(run):
        kind = SnapshotError
    if kind is DestinationUnavailable:
        return DestinationUnavailable(run.sentence or "", run.retry_after_s)
    return kind(run.sentence or f"Run {run.run_id} has not ended.") if kind else None


def _ending(
    settings: Settings, ledger: Ledger, run: Run, books: Books, outcome: Delivery | None
) -> tuple[RunState, str]:
    stopped = outcome.stopped_by if outcome else None
    so_far = _so_far(run, books)
    if stopped is not None:
        return STATE_OF[type(stopped)], f"{stopped}. {so_far}{_rest(run, books)} {_remedy(settings, stopped)}"
    later = _left_for_later(ledger, run) if books.owed else 0
    if outcome and outcome.was_interrupted and books.owed > later:
        return RunState.INTERRUPTED, f"Stopped on request. {so_far}{_rest(run, books)} Run it again to go on."
    rejected = _rejected(ledger, run, books) if books.rejected else ""
    if run.held and books.withheld:  # books also count as withheld who became suppressed meanwhile
        return RunState.WITHHELD, " ".join(filter(None, (_withheld(run, books), rejected)))
    if books.rejected * 100 > (books.changes - later) * settings.defaults.max_rejected_percent:
        return RunState.REJECTED, rejected
    if books.owed > later:
        unanswered = _of_run(run, books.owed - later)
        return RunState.UNAVAILABLE, f"Windsor did not answer {unanswered}. {so_far}{_rest(run, books)}"
    if why := _malformed(run):
        return RunState.FAILED, " ".join(filter(None, (why, _done(run, books), rejected)))
    left = (
        f"What was not asked for ({counted(later, 'change')}) stays owed, and the next sync sends it." if later else ""
    )
    return RunState.DONE, " ".join(filter(None, (_done(run, books), left, rejected)))


def _malformed(run: Run) -> str | None:
    """Return the sentence about lines of a forwarding that are no messages, where there are too many."""
    return malformed.malformed_sentence(run.intake) if isinstance(run, ForwardingRun) else None


def _of_run(run: Run, number: int) -> str:
    """So many changes of an audience, or messages."""
    return counted(number, run.unit) + ("" if isinstance(run, ForwardingRun) else f" of {run.name}")


def _so_far(run: Run, books: Books) -> str:
    are = "is" if books.changes == 1 else "are"
    return f"{books.delivered:,} of {_of_run(run, books.changes)} {are} delivered and recorded (run {run.run_id}); "


def _left_for_later(ledger: Ledger, run: Run) -> int:
    """Changes that nobody tried to send: a backfill's limits left them out."""
    head = ledger.of_run(run.run_id)
    return remains(head).later if head and not isinstance(run, ForwardingRun) else 0


def _done(run: Run, books: Books) -> str:
    if not isinstance(run, ForwardingRun):
        return (
            f"Windsor was told {counted(books.delivered, 'change')}.{_moved(books)}"
            if books.changes
            else "Nothing changed."
        )
    held = run.intake["held"]
    kept = f" Held: {counted(held, 'alias message')}; `windsor-sync forward --release-aliases` sends what is held."
    late = late_sentence(run.intake["late"], run.run_id) if "late" in run.intake else ""
    return f"Windsor took {counted(books.delivered, 'message')}.{kept if held else ''}{late}"


def _moved(books: Books) -> str:
    """Return a sentence on the members who moved, if any."""
    if not books.moved:
        return ""
    repeat = "repeats a member's" if books.moved == 1 else "repeat members'"
    return f" {counted(books.moved, 'change')} {repeat} value, because ids were merged or replaced."


def _rejected(ledger: Ledger, run: Run, books: Books) -> str:
    rejections = ledger.rejections(run.run_id)
    codes = _codes(rejections)
    if isinstance(run, ForwardingRun):
        takes_no_such_call = {code for code, _, _ in rejections} == {NOT_IMPLEMENTED}
        leave_out = " Leave calls that Windsor does not take out of `events.calls`." if takes_no_such_call else ""
        return (
            f"Windsor rejected {books.rejected:,} of {_of_run(run, books.changes)} ({codes}). They are not sent again; what was "
            f"not rejected is delivered.{leave_out} See them with `windsor-sync runs {run.run_id}`."
        )
    return (
        f"Windsor rejected {books.rejected:,} of {_of_run(run, books.changes)} ({codes}). They "
        f"are not yet in Windsor, and are tried again after 1, 2, 4 … runs. See them with `windsor-sync runs {run.run_id}`."
    )


def _rest(run: Run, books: Books) -> str:
    """Say what becomes of all that Windsor did not take, except held and refused events."""
    is_forwarding = isinstance(run, ForwardingRun)
    rest = books.owed if is_forwarding else books.changes - books.delivered
    doubt = f", {books.in_doubt:,} of them may have arrived" if books.in_doubt else ""
    if not rest:
        return "nothing else is left to send."
    if not is_forwarding and rest > books.owed:
        return f"the other {rest:,} are not yet in Windsor: {', '.join(_apart(run, books))}{doubt}."
    if rest == 1:
        which = "it" if books.changes == 1 else "the other one"
        return f"{which} stays owed and the next run sends it{', and it may have arrived' if books.in_doubt else ''}."
    return f"the other {rest:,} stay owed and the next run sends them{doubt}."


def _apart(run: Run, books: Books) -> Iterator[str]:
    """Yield what becomes of those that are owed, rejected and withheld."""
    if books.owed:
        yield f"the next run sends {books.owed:,}"
    if books.rejected:
        yield f"{books.rejected:,} rejected {'one is' if books.rejected == 1 else 'ones are'} tried again later"
    if books.withheld:  # who became suppressed meanwhile counts as withheld too
        approved = "go out once a person approves" if run.held else "are of suppressed users and are not sent"
        yield f"{books.withheld:,} {approved}"


def _remedy(settings: Settings, stopped: WindsorSyncError) -> str:
    connection = settings.destination.connection
    if isinstance(stopped, CredentialsRefused):
        return (
            f"Put a valid key into WINDSOR_API_KEY, or in Airflow into the connection {connection}, and run it again."
        )
    if isinstance(stopped, MessagesRejected):
        return "Something is wrong with the messages rather than with single users: check the wire and the url."
    if isinstance(stopped, Interrupted | OutOfResources):
        return "Run it again to go on."
    return "If this repeats, check the address and whether Windsor is up; `destination.give_up_after_s` is how long it tries."


def _withheld(run: Run, books: Books) -> str:
    reasons = "; ".join(run.options.get("withheld_because", ()))
    others = "1 other is" if books.delivered == 1 else f"{books.delivered:,} others are"
    numbers = {"exited": books.exited, "entered": books.entered}
    ceilings = " ".join(f"--max-{side} {number}" for side, number in numbers.items() if side in run.held)
    approve = f"run `windsor-sync approve {run.run_id} {ceilings}`"
    remedy = run.options.get("withheld_remedy")
    decide = (
        f"{remedy} If it is another audience, {approve}."
        if remedy
        else f"Look at the snapshot: if it is right, {approve}; if not, a healthy snapshot lifts this by itself."
    )
    return f"{reasons} in {run.name}. These changes are withheld and not yet in Windsor; {others} delivered. {decide}"


def _codes(rejections: Sequence[tuple[int | None, str | None, int]]) -> str:
    found = [f"{count:,} × {code}{f' {message}' if message else ''}" for code, message, count in rejections[:3]]
    return "; ".join(found) or "in earlier runs"
