"""Common code of the commands that plan or run audiences: one loop, one way to stop, one way to show the outcome."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from windsor_sync.cli.alerting import alerting
from windsor_sync.cli.options import chosen, load_settings
from windsor_sync.cli.output import echo, print_json, progress, run_as_json
from windsor_sync.errors import ConfigError, Interrupted, WindsorSyncError
from windsor_sync.private import open_over
from windsor_sync.report.terminal import print_table, say, with_moved

if TYPE_CHECKING:
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.domain.run import Run
    from windsor_sync.settings import Computation
    from windsor_sync.usecases.request import Request
    from windsor_sync.usecases.run_lifecycle import Progress
    from windsor_sync.usecases.workspace import Workspace

    MakeRequest = Callable[[Computation], Request]
    RunOne = Callable[[Workspace, CancelToken, Progress], Run]

WORST_FIRST = (1, 2, 5, 9, 8, 7, 6, 130, 3, 4)
"""Which exit status stands for several audiences that ended differently."""

UNITS = (
    "members are users, the rest changes; delivered + rejected + withheld + owed is every change.\n"
    "What is not delivered is not yet in Windsor."
)

COUNTS = ("members", "entered", "exited", "updated", "delivered", "rejected", "withheld", "owed")


def plan_audiences(
    config: Path | None,
    words: tuple[str, ...],
    make: "MakeRequest",
    *,
    is_all: bool,
    is_json: bool,
    messages_to: Path | None = None,
) -> int:
    """Show what runs would send; returns the exit status."""
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.usecases.diff_and_guard import planned
    from windsor_sync.usecases.orphans import orphans
    from windsor_sync.usecases.plan import described

    settings = load_settings(config)
    plans: list[dict[str, Any]] = []
    failures: list[WindsorSyncError] = []
    with open_for_command(settings) as workspace, _writer(messages_to) as write:
        for computation in chosen(settings, words, is_all=is_all):
            try:
                with planned(workspace, computation, make(computation)) as prepared:
                    plans.append(described(prepared, write))
            except WindsorSyncError as error:
                failures.append(reported(computation.key, error))
        left = orphans(workspace)
    if is_json:
        print_json({"plans": plans, "orphans": [asdict(orphan) | {"text": orphan.text} for orphan in left]})
    elif messages_to is None or str(messages_to) != "-":
        _print_plans(plans)
        for orphan in left:
            echo(f"warning: {orphan.text}")
    return exit_status(failures)


def run_audiences(
    config: Path | None,
    words: tuple[str, ...],
    make: "MakeRequest",
    *,
    is_all: bool,
    is_json: bool,
    is_for_approvers: bool = False,
) -> int:
    """Run the audiences one after the other; one that fails holds no other. Returns the exit status."""
    from windsor_sync.usecases.sync import sync

    def job(computation: "Computation") -> "RunOne":
        return lambda workspace, stop, view: sync(workspace, computation, make(computation), stop, view)

    found = chosen(load_settings(config), words, is_all=is_all)
    jobs = [(str(one.key), job(one)) for one in found]
    return run_jobs(config, jobs, is_json=is_json, is_for_approvers=is_for_approvers)


def run_jobs(
    config: Path | None, jobs: "list[tuple[str, RunOne]]", *, is_json: bool, is_for_approvers: bool = False
) -> int:
    """Run the jobs (trait key, function) one after the other and show the books; returns the exit status.

    With `is_for_approvers`, raises ConfigError for a user whom `approval.approvers` does not name.
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.settings import load
    from windsor_sync.state.audit_log import user_of_this_process
    from windsor_sync.usecases.approvers import permission_of
    from windsor_sync.usecases.close_run import error_of

    settings = load(config)
    if is_for_approvers:
        permission_of(settings, user_of_this_process())
    runs: list[Run] = []
    failures: list[WindsorSyncError] = []
    with (
        open_for_command(settings, sends=True) as workspace,
        progress() as view,
        stopping(CancelToken()) as stop,
        alerting(workspace) as watch,
    ):
        for number, (key, run_one) in enumerate(jobs):
            if stop.is_pressed:
                failures.append(reported("the rest", _not_begun([key for key, _ in jobs[number:]])))
                break
            try:
                run = run_one(workspace, stop, view)
            except WindsorSyncError as error:
                failures.append(reported(key, error))
                watch.failed(key, error)
                continue
            runs.append(run)
            watch.ran(run)
            if ending := error_of(run):
                failures.append(reported(key, ending))
    documents = [run_as_json(run) for run in runs]
    if is_json:
        print_json({"runs": documents})
    elif documents:
        columns = with_moved(("audience", *COUNTS), documents)
        print_table(columns, [[one[column] for column in columns] for one in documents], numbers=frozenset(columns[1:]))
        echo(UNITS)
    return exit_status(failures)


def _not_begun(keys: list[str]) -> Interrupted:
    was, about, owes = ("was", "it", "it owes") if len(keys) == 1 else ("were", "them", "they owe")
    return Interrupted(
        f"{', '.join(keys)} {was} not begun, because a stop was asked for. Nothing was sent about {about}, and what {owes} stays "
        "owed. Run the command again to go on."
    )


@contextmanager
def stopping(stop: "CancelToken") -> Iterator["CancelToken"]:
    """Ctrl-C and SIGTERM ask for an orderly end; a second Ctrl-C ends at once."""

    def press(_number: int, _frame: object) -> None:
        if stop.is_pressed:
            raise KeyboardInterrupt
        say(
            "Stopping: waiting for answers that are under way. What is not sent stays owed. (Again: stop at once; what is under "
            "way is then in doubt, and the next run tells it again.)"
        )
        stop.press()

    before = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _writer(path: Path | None) -> Iterator[Any]:
    """A function that takes one encoded message; raises ConfigError for a file that cannot be written."""
    if path is None:
        yield lambda _message: None
        return
    with _writable(path), _standard_output() if str(path) == "-" else open_over(path) as file:
        yield lambda message: file.write(message + b"\n")


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    """Standard output as a file; the command ends when its reader has seen enough."""
    sys.stdout.flush()
    try:
        with os.fdopen(os.dup(1), "wb") as file:
            yield file
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The messages cannot be written to {path}: {error.strerror}. Nothing was sent. Name a file with --messages in a "
            "folder that is there and has room, in which this user may write."
        ) from None


def _print_plans(plans: list[dict[str, Any]]) -> None:
    from windsor_sync.domain.labels import old

    now = datetime.now(UTC)
    columns = with_moved(("audience", "members", "entered", "exited", "updated", "withheld", "messages"), plans)
    ages = [old(datetime.fromisoformat(plan["taken_at"]), now) for plan in plans]
    rows = [
        [plan["audience"], age, *(plan[name] for name in columns[1:])] for plan, age in zip(plans, ages, strict=True)
    ]
    print_table((columns[0], "snapshot", *columns[1:]), rows, numbers=frozenset(columns[1:]))
    for plan in plans:
        for remark in plan["remarks"]:
            echo(f"{plan['audience']}: {remark}")
        remedy = f". {plan['withheld_remedy']}" if plan["withheld_remedy"] else ""
        for reason in plan["withheld_because"]:
            echo(
                f"withheld: {reason} in {plan['audience']}; a sync keeps these back until a person approves them{remedy}"
            )
        if plan["example"]:
            echo(f"{plan['audience']}: {json.dumps(plan['example'], ensure_ascii=False)}")
    echo("Nothing was sent.")


def reported(key: str, error: WindsorSyncError) -> WindsorSyncError:
    """Say it on standard error, and hand it back."""
    say(f"windsor-sync: {key}: {error}")
    return error


def exit_status(failures: list[WindsorSyncError]) -> int:
    """The status that stands for all of them."""
    statuses = {failure.exit_status for failure in failures}
    return next((status for status in WORST_FIRST if status in statuses), 0)
