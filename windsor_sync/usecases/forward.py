"""The use case for ordinary events: what is new in Segment's archive goes to Windsor, each event once and in order.

A run reads the files that are new, checks, filters and deduplicates their lines, and seals the rest as its outbox, ahead
of it whatever an earlier run still owes. From there on it is delivered like an audience's changes: same engine, same
ledger, same books.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from windsor_sync.delivery.bounds import Delivery
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.delivery.endings import everything_rejected
from windsor_sync.delivery.shared_rate import Weight
from windsor_sync.delivery.verdicts import judges_address
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.domain.run import ForwardingRun, Run, RunState
from windsor_sync.errors import ConfigError, MessagesRejected
from windsor_sync.events import malformed
from windsor_sync.events.archive import ArchiveFile, list_files
from windsor_sync.events.intake import Intake, IntakeTask, take_in
from windsor_sync.events.late import Rewritten, late_lines
from windsor_sync.outbox.events import pending_rows, remaining
from windsor_sync.segment.routing import Routing
from windsor_sync.segment.trait_keys import trait_key
from windsor_sync.settings import AliasPolicy, Events, Settings
from windsor_sync.state.archive_files import enter_files_read, files_read
from windsor_sync.state.audiences import EVENTS, Registered, Registry
from windsor_sync.state.database import Database, Transaction
from windsor_sync.state.leases import Lease
from windsor_sync.state.ledger import Head
from windsor_sync.state.runs import history, recent, run_of
from windsor_sync.state.stored_files import Placed, Stamp, enter
from windsor_sync.state.suppressions import suppressed_users
from windsor_sync.usecases import suppression_list as segment_suppressions
from windsor_sync.usecases.close_run import settle, settle_dead_predecessor
from windsor_sync.usecases.deliver import OutboxDelivery, deliver
from windsor_sync.usecases.workspace import Workspace

KIND = "forward"

KEPT_BESIDE = ("seen", "aside")
"""Folders of what a run keeps beside its outbox: the messageIds it read, and where the lines are that it refused."""

MOST_BYTES = 256 * 1024 * 1024
"""Archive files, compressed, that one run takes in: a few million events; what is left is the next run's."""

GOES_ON = frozenset({RunState.DONE, RunState.REJECTED})
"""After a run that ended so, and owes nothing, what is left of the archive can go out."""

Progress = Callable[[Run, Delivery], None]
Reading = Callable[[int, int], None]
"""Called now and then while files are read: lines so far, files done."""


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """The options of a forwarding."""

    trigger: str = "command line"
    since: date | None = None
    """only day folders from this day on; None: as configured"""
    releases_aliases: bool = False
    """send the alias messages that are held"""
    reason: str | None = None


def forward(
    workspace: Workspace,
    request: ForwardRequest,
    stop: CancelToken,
    *,
    on_progress: Progress | None = None,
    on_reading: Reading | None = None,
) -> list[ForwardingRun]:
    """Forward everything that is new; no run when there is nothing.

    Stops after a run that did not end well; its messages stay owed and go out first the next time. Raises ConfigError
    or LeaseHeld when nothing could be started.
    """
    configured(workspace)
    workspace.require_destination()  # a missing key is told before anything is recorded
    segment_suppressions.refresh(workspace)
    known = workspace.registry.events()
    runs: list[ForwardingRun] = []
    with workspace.hold(EVENTS, request.trigger) as lease:
        while not stop.is_pressed:
            run = open_forwarding(workspace, known, request, lease, is_first=not runs, on_reading=on_reading)
            if run is None:
                break
            runs.append(deliver_forwarding(workspace, run, lease, stop, on_progress))
            if runs[-1].state not in GOES_ON or runs[-1].books.owed:
                break
    return runs


def held_aliases(database: Database, registry: Registry) -> int:
    """Return how many alias messages wait for a person now."""
    known = registry.events()
    assert known.audience_id is not None
    newest = history(database, known.audience_id, limit=1)
    return int(newest[0].intake["held"]) if newest and isinstance(newest[0], ForwardingRun) else 0


def configured(workspace: Workspace) -> Events:
    """The `events` section; raises ConfigError without one."""
    if workspace.settings.events is None:
        raise ConfigError(
            f"{workspace.settings.path} has no section `events`, so there is nothing to forward. Nothing was sent. Add one with "
            "`archive:`, the folder or bucket prefix named segment-logs."
        )
    return workspace.settings.events


def open_forwarding(
    workspace: Workspace,
    known: Registered,
    request: ForwardRequest,
    lease: Lease,
    *,
    is_first: bool = True,
    on_reading: Reading | None = None,
) -> ForwardingRun | None:
    """Seal what is new and what is owed as a run of its own, all of it to be sent; None when there is nothing.

    Only the first run of a forwarding releases held aliases: those that it could not send are owed like the rest.
    """
    assert known.audience_id is not None
    audience_id = known.audience_id
    events = configured(workspace)
    head = workspace.ledger.head(audience_id)
    started_at = datetime.now(UTC)
    files, rewritten = next_files(workspace.database, known, events, request.since, started_at)
    late = late_lines(events.archive, rewritten)
    releases = request.releases_aliases and is_first
    settle_dead_predecessor(workspace, lease, head)
    if head and head.outbox_path and not head.is_settled:
        workspace.stored.confirm(head.outbox_path, thoroughly=True)
    if not files and not late.new and not _has_to_send(head, releases=releases):
        if late.looked_at:
            with workspace.database.write() as connection:
                lease.fence(connection)
                late.record(connection, audience_id)
        return None
    number = workspace.registry.by_id(audience_id).runs + 1
    stamp = workspace.stored.stamp(audience_id, "outboxes", number)
    task = IntakeTask(
        archive=events.archive,
        files=files,
        routing=routing(workspace, events),
        holds_alias=events.alias is AliasPolicy.HOLD,
        releases_alias=releases,
        seen=_seen(workspace, known, events, started_at),
        previous=head,
        number=number,
        stamp=partial(_stamped, stamp),
    )
    paths = {"outboxes": stamp.parts, "seen": stamp.beside("seen").path, "aside": stamp.beside("aside").path}
    intake, placed = _take_in(workspace, task, stamp, on_reading)
    # With the id: a second destination of this state may begin its run of the same number in the same second.
    run_id = f"events-{number}-{started_at:%Y%m%dT%H%M%SZ}-{audience_id}"
    row = {"id": run_id, "audience_id": audience_id, "started_at": started_at, **_row_of(task, request, intake, paths)}
    if late.new:
        row["intake"]["late"] = late.as_json
    unreadable = malformed.unreadable(intake, events.max_malformed_percent)
    row["intake"] |= malformed.malformed_as_json(intake, events.max_malformed_percent)
    files = [file for file in files if file.path not in unreadable]
    shards = [ShardProgress(0, 0, intake.rows, position=0, reach=0)] if intake.rows else []
    read = partial(_record_files, audience_id=audience_id, run_id=run_id, files=files, intake=intake, at=started_at)
    stores = partial(enter, audience_id=audience_id, placed=placed)
    workspace.ledger.open_run(lease, row, shards, [stores, read, partial(late.record, audience_id=audience_id)])
    run = run_of(workspace.database, run_id)
    assert isinstance(run, ForwardingRun)
    return run


def _row_of(task: IntakeTask, request: ForwardRequest, intake: Intake, paths: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of the runs table for an intake."""
    return {
        "number": task.number,
        "kind": KIND,
        "trigger": request.trigger,
        "reason": request.reason,
        "state": RunState.OPEN.value,
        "previous_run": task.previous.run_id if task.previous else None,
        "outbox": paths["outboxes"] if intake.rows else None,
        "held": [],
        "options": {"seen": paths["seen"], "aside": paths["aside"], "to_send": intake.rows - intake.held},
        "intake": intake_counts(intake, task.files),
        "entered": intake.rows,
    }


def deliver_forwarding(
    workspace: Workspace, run: ForwardingRun, lease: Lease, stop: CancelToken, on_progress: Progress | None = None
) -> ForwardingRun:
    """Send the run's messages and close its books."""
    if run.outbox is None:
        return settle(workspace, lease, run, None)
    workspace.stored.confirm(run.outbox, thoroughly=True)
    workspace.marks.leave(run.audience_id, run.number, run.run_id)
    suppressed = suppressed_users(workspace.database)
    files = list(map(workspace.files.location, workspace.stored.parts(run.outbox)))
    decided = workspace.ledger.decided(run.run_id)
    outcome = deliver(
        OutboxDelivery(
            run_id=run.run_id,
            shards=workspace.ledger.resume(lease, run.run_id),
            rows=lambda shard: pending_rows(files, shard, decided, suppressed.__contains__),
            weight=Weight.EVENTS,
        ),
        ledger=workspace.ledger,
        lease=lease,
        client=workspace.destination_client(),
        stop=stop,
        on_progress=(lambda so_far: on_progress(run, so_far)) if on_progress else None,
    )
    if lease.is_valid:
        workspace.marks.end(lease, run)
    if outcome.stopped_by is None and outcome.delivered == 0:
        outcome.stopped_by = _wrong_address(workspace.ledger.rejections(run.run_id))
    return settle(workspace, lease, run, outcome)


def _wrong_address(rejections: Sequence[tuple[int | None, str | None, int]]) -> MessagesRejected | None:
    """Return the sentence for a run that met only a wrong address and was too short for the engine to stop.

    Its rejections are taken back then: rejected for good is only what Windsor has rejected.
    """
    if not rejections or not all(judges_address(code) for code, _, _ in rejections):
        return None
    code, words, _ = rejections[0]
    return everything_rejected(sum(number for _, _, number in rejections), code, words)


def next_files(
    database: Database, known: Registered, events: Events, since: date | None, now: datetime
) -> tuple[list[ArchiveFile], list[Rewritten]]:
    """The files the next run takes in, oldest day first; those that are left wait for the run after it.

    A file that was overwritten is read again while the messages it had are remembered; later than that it would send
    them a second time (user deletion rewrites archive files: facts §3.1). Such files are returned beside.
    """
    remembered_since = now - timedelta(days=events.dedupe_days)
    assert known.audience_id is not None
    read = files_read(database, known.audience_id)
    chosen: list[ArchiveFile] = []
    rewritten: list[Rewritten] = []
    size = 0
    for file in list_files(events.archive, since or events.since):
        before = read.get(file.path)
        if before and before.fingerprint == file.fingerprint:
            continue
        if before and before.read_at < remembered_since:
            rewritten.append(Rewritten(file, before.lines))
            continue
        if chosen and size + file.size_bytes > MOST_BYTES:
            break
        chosen.append(file)
        size += file.size_bytes
    return chosen, rewritten


def routing(workspace: Workspace, events: Events) -> Routing:
    """Return which messages Windsor gets."""
    keys, ids = _told_from_snapshots(workspace.settings, workspace.registry)
    return Routing(
        calls=frozenset(call.value for call in events.calls),
        supported=workspace.supported_calls,
        consent_categories=tuple(events.consent_categories),
        synced_keys=frozenset(keys),
        synced_ids=frozenset(ids),
        suppressed=suppressed_users(workspace.database),
    )


def _told_from_snapshots(settings: Settings, registry: Registry) -> tuple[set[str], set[str]]:
    """The keys and ids by which Engage's own messages name what is synced from snapshots.

    Its key there is the one of its name, where `trait:` pins another here. What is disabled or gone from windsor.yaml counts
    until it is retired: the ledger has what Windsor was told of it, and nobody else may tell it anything. The registry is
    asked for what it has, not for what it would pin: a setting that stops one audience holds up no event.
    """
    configured = [(one.name, one.key, one.id) for one in settings.computations if one.enabled]
    known = [(row.name, row.trait_key, row.segment_id) for row in registry.known() if row.retired_at is None]
    keys, ids = set[str](), set[str]()
    for name, key, own_id in (*configured, *known):
        keys.update(filter(None, (key, trait_key(name))))
        ids.update(filter(None, (own_id,)))
    return keys, ids


def intake_counts(intake: Intake, files: Sequence[ArchiveFile]) -> dict[str, Any]:
    """Return the counts of an intake as the runs table keeps them."""
    return {
        "files": len(files),
        "received": intake.received,
        "carried": intake.carried,
        "failed_on_ingest": dict(intake.failed_on_ingest),
        "filtered": dict(intake.filtered),
        "duplicates": intake.duplicates,
        "held": intake.held,
        "messages": intake.rows,
    }


def _stamped(stamp: Stamp, name: str) -> str:
    """Return the option of COPY for a file of the run: a part of its outbox, or `seen` or `aside`."""
    return (stamp.beside(name) if name in KEPT_BESIDE else stamp.part(name)).options()


def _take_in(
    workspace: Workspace, task: IntakeTask, stamp: Stamp, on_reading: Reading | None
) -> tuple[Intake, list[Placed]]:
    """Read the files and give what came of it its place in the store."""
    files, put = workspace.files, workspace.stored.put
    with files.draft_folder() as outbox, files.draft() as seen, files.draft() as aside:
        intake = take_in(task, outbox=outbox, seen=seen, aside=aside, on_progress=on_reading)
        intake.check()
        placed = [put(part, stamp.part(part.name).path, stamp.parts) for part in sorted(outbox.iterdir())]
        placed += [put(seen, stamp.beside("seen").path), put(aside, stamp.beside("aside").path)]
    return intake, placed


def _record_files(
    connection: Transaction, *, audience_id: int, run_id: str, files: list[ArchiveFile], intake: Intake, at: datetime
) -> None:
    """Record that the files are read from this commit on, which is the one that makes their messages owed.

    They count as read at the run's start, so that none is read again when the run's messageIds are forgotten.
    """
    rows = [
        {
            "path": file.path,
            "fingerprint": file.fingerprint,
            "size_bytes": file.size_bytes,
            "lines": intake.lines[file.path],
        }
        for file in files
    ]
    enter_files_read(connection, audience_id, run_id, rows, at)


def _has_to_send(head: Head | None, *, releases: bool) -> bool:
    if head is None or head.outbox is None:
        return False
    rest = remaining(head)
    return rest.owed > 0 or (releases and rest.withheld > 0)


def _seen(workspace: Workspace, known: Registered, events: Events, now: datetime) -> list[str]:
    """Return where the messageIds of the window's runs are."""
    assert known.audience_id is not None
    paths = windows(workspace.database, known.audience_id, events, now)
    for path in paths:
        workspace.stored.confirm(path, thoroughly=True)
    return [workspace.files.location(path) for path in paths]


def windows(database: Database, audience_id: int, events: Events, now: datetime) -> list[str]:
    """The files of the messageIds that are remembered, below the file store."""
    since = now - timedelta(days=events.dedupe_days)
    found = recent(database, audience_ids=[audience_id], since=since, limit=1_000_000)
    return [run.options["seen"] for run in found if run.options.get("seen")]
