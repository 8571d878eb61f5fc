"""`plan`, `sync`, `backfill` and `retry`."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windsor_sync.cli.options import as_json, audience_names, audiences_or_all, chosen, load_settings
from windsor_sync.cli.output import echo, print_json
from windsor_sync.cli.running import plan_audiences, run_audiences, run_jobs

if TYPE_CHECKING:
    from windsor_sync.cli.running import RunOne
    from windsor_sync.settings import Computation
    from windsor_sync.usecases.request import Request


@click.command(short_help="What sync would send; sends nothing.")
@audiences_or_all
@as_json
@click.option(
    "--messages",
    "messages_to",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Also write every message, one JSON a line, to this file (- for standard output).",
)
@click.pass_obj
def plan_command(
    config: Path | None, audiences: tuple[str, ...], is_all: bool, is_json: bool, messages_to: Path | None
) -> int:
    """Show what a sync would send, and send nothing.

    Plan and sync share one path: the messages listed here are the messages a sync sends now.

    \b
    Example:
      windsor-sync plan --all
      windsor-sync plan vip_customer --messages vip.jsonl
    """
    from windsor_sync.usecases.request import Request

    return plan_audiences(
        config, audiences, lambda _: Request(), is_all=is_all, is_json=is_json, messages_to=messages_to
    )


@click.command(short_help="Bring Windsor up to date: an initial sync first, then changes only.")
@audiences_or_all
@as_json
@click.pass_obj
def sync_command(config: Path | None, audiences: tuple[str, ...], is_all: bool, is_json: bool) -> int:
    """Tell Windsor what changed in each audience since it was last told.

    The first sync of an audience sends every member, later ones only the changes. What Windsor does not
    acknowledge stays owed and is sent by the next sync. Ctrl-C stops in order: nothing is lost.

    \b
    Example:
      windsor-sync sync --all
      windsor-sync sync "Order Completed Last 30days"
    """
    from windsor_sync.usecases.request import Request

    return run_audiences(config, audiences, lambda _: Request(), is_all=is_all, is_json=is_json)


@click.command(short_help="A sync by hand: everyone again, one side only, or an older snapshot.")
@audiences_or_all
@click.option(
    "--mode",
    type=click.Choice(["changes", "resync"]),
    default="changes",
    show_default=True,
    help="resync: true to every member, false to everyone told true once who is not one.",
)
@click.option("--snapshot", "path", metavar="PATH", help="Use this snapshot file, even an older one.")
@click.option("--as-of", metavar="TIME", type=click.DateTime(), help="Use the snapshot that was the newest then (UTC).")
@click.option("--only", type=click.Choice(["entered", "exited"]), help="Send one side; the other stays owed.")
@click.option("--limit", type=click.IntRange(min=1), help="Send at most so many changes; the rest stays owed.")
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@as_json
@click.pass_obj
def backfill_command(
    config: Path | None,
    audiences: tuple[str, ...],
    is_all: bool,
    mode: str,
    path: str | None,
    as_of: datetime | None,
    only: str | None,
    limit: int | None,
    reason: str | None,
    dry_run: bool,
    is_json: bool,
) -> int:
    """Run audiences by hand, beyond what the schedule does. Where `approval.approvers` names users, only they may
    use it without `--dry-run`.

    \b
    Example:
      windsor-sync backfill vip_customer --mode resync --reason "Windsor was restored from a backup"
      windsor-sync backfill vip_customer --only entered --limit 1000 --dry-run
      windsor-sync backfill vip_customer --as-of 2026-11-01
    """
    if path is not None and as_of is not None:
        raise click.UsageError("--snapshot and --as-of name the same thing: give one of them.")
    if path is not None and (is_all or len(audiences) != 1):
        raise click.UsageError("--snapshot is the file of one audience: name that audience.")
    from datetime import UTC

    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.backfill import Wish

    moment = as_of.replace(tzinfo=UTC) if as_of else None
    wish = Wish(is_resync=mode == "resync", only=only, limit=limit, as_of=moment, snapshot_path=path, reason=reason)
    trigger = f"by hand, {this_person()}"

    def make(computation: "Computation") -> "Request":
        return wish.request(computation, trigger)

    if dry_run:
        return plan_audiences(config, audiences, make, is_all=is_all, is_json=is_json)
    return run_audiences(config, audiences, make, is_all=is_all, is_json=is_json, is_for_approvers=True)


@click.command(short_help="Send rejected messages again now, whenever they would be due.")
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    metavar="AUDIENCE",
    shell_complete=audience_names,
    help="Only this one (default: all).",
)
@click.option("--code", type=int, help="Only those Windsor rejected with this status.")
@click.option("--since", type=click.DateTime(), metavar="DAY", help="Only those rejected since then (UTC).")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@as_json
@click.pass_obj
def retry_command(
    config: Path | None,
    audiences: tuple[str, ...],
    code: int | None,
    since: datetime | None,
    dry_run: bool,
    is_json: bool,
) -> int:
    """Try rejected changes again at once, together with whatever has changed since.

    Without this command they are tried again by themselves after 1, 2, 4, 8 … runs, at least daily.

    \b
    Example:
      windsor-sync retry --code 400
      windsor-sync retry --audience vip_customer --since 2026-11-01
    """
    from datetime import UTC

    from windsor_sync.domain.change import Limits, Retry
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.request import Request

    limits = Limits(retry=Retry(code, since.replace(tzinfo=UTC) if since else None))
    request = Request("retry", f"by hand, {this_person()}", limits=limits)
    act = plan_audiences if dry_run else run_audiences
    return act(config, audiences, lambda _: request, is_all=not audiences, is_json=is_json)


@click.command(short_help="Bring an audience to the truth whose stored files are lost or damaged.")
@audiences_or_all
@click.option("--events", "is_events", is_flag=True, help="The forwarding of events instead of audiences.")
@click.option("--state", "is_state", is_flag=True, help="The state itself, after a restore or a loss; sends nothing.")
@click.option(
    "--key", "is_key", is_flag=True, help="The key of the suppressions, when it is lost for good; sends nothing."
)
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@as_json
@click.pass_obj
def recover_command(
    config: Path | None,
    audiences: tuple[str, ...],
    is_all: bool,
    is_events: bool,
    is_state: bool,
    is_key: bool,
    reason: str | None,
    is_json: bool,
) -> int:
    """Bring audiences to the truth of which a stored file is lost or damaged, or whose ledger is not known any more.

    Where the source of the lost snapshot is still the same, it is sealed again, and the run sends what a sync would.
    Otherwise every member is told true, and everyone else who was ever told true is told false, as outboxes and older
    snapshots have it. Other audiences are not touched. Where nothing is lost, it is a sync.

    If `approval.approvers` is set, only a user that it names may tell every member again, or bring audiences back with
    --state.

    With --key, who was forgotten is given up, since nobody can tell any more who it was: forget each of them again before
    the next sync.

    \b
    Example:
      windsor-sync recover vip_customer --reason "the disk was full"
      windsor-sync recover --events
      windsor-sync recover --state
      windsor-sync recover --key --reason "the disk of the old machine is gone"
    """
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.recover import recover as bring_back

    if is_state:
        return _recover_state(config, this_person(), reason, is_json=is_json)
    if is_key:
        return _recover_key(config, this_person(), reason, is_json=is_json)
    if is_events:
        return _recover_events(config, this_person(), reason, is_json=is_json)

    def job(computation: "Computation") -> "RunOne":
        return lambda workspace, stop, view: bring_back(workspace, computation, this_person(), reason, stop, view)

    found = chosen(load_settings(config), audiences, is_all=is_all)
    return run_jobs(config, [(str(one.key), job(one)) for one in found], is_json=is_json)


def _recover_key(config: Path | None, who: str, reason: str | None, *, is_json: bool) -> int:
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.labels import counted
    from windsor_sync.usecases.recover_state import recover_key

    with open_for_command(load_settings(config)) as workspace:
        lost = recover_key(workspace.database, workspace.marks, who, reason)
    if is_json:
        print_json({"is_lost": lost is not None, **(asdict(lost) if lost else {})})
        return 0
    if lost is None:
        echo("The key of the suppressions is here. Nothing was done.")
        return 0
    echo(
        f"The suppression of {counted(lost.forgotten, 'forgotten user')} was given up. Nothing was sent. Before the next sync "
        "run `windsor-sync forget USER` again for each of them: otherwise it tells Windsor about those who are in a snapshot. "
        "These were the requests:"
    )
    for at, by, why in lost.deeds:
        echo(f"{at:%Y-%m-%d %H:%M} UTC  {by}  {why or 'without a reason'}")
    return 0


def _recover_events(config: Path | None, who: str, reason: str | None, *, is_json: bool) -> int:
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.labels import counted
    from windsor_sync.usecases.recover_events import recover_events

    with open_for_command(load_settings(config)) as workspace:
        done = recover_events(workspace, who, reason)
    if is_json:
        print_json(asdict(done))
        return 0
    if done.files or done.windows:
        echo(
            f"{counted(done.files, 'archive file')} will be read again by the next forwarding, which sends all their messages; "
            f"{counted(done.windows, 'list')} of messageIds given up. Run `windsor-sync forward` to go on."
        )
    if done.merges is not None:
        echo(
            f"The merged ids were read again from the files that are left and from outboxes: {counted(done.merges, 'id')} found "
            "in outboxes. Nothing was sent. Run `windsor-sync sync --all`: it tells Windsor again about these persons."
        )
    elif not (done.files or done.windows):
        echo("Nothing that the forwarding stands on is lost. Nothing was done.")
    return 0


def _recover_state(config: Path | None, who: str, reason: str | None, *, is_json: bool) -> int:
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.labels import counted
    from windsor_sync.usecases.recover_state import recover_state

    with open_for_command(load_settings(config)) as workspace:
        done = recover_state(workspace, who, reason)
    if is_json:
        print_json(asdict(done))
        return 0
    if not (done.audiences or done.forgotten or done.has_events):
        echo("The state knows everything that the file store knows. Nothing was done.")
        return 0
    echo(
        f"{counted(len(done.audiences), 'audience')} and {counted(done.forgotten, 'forgotten user')} were brought back from the "
        "file store. Nothing was sent. Run `windsor-sync sync --all`: it tells every member true, and everyone else who was ever "
        "told true false."
    )
    if done.has_events:
        echo(
            "Events that were forwarded since are forwarded again, under the same messageIds; `windsor-sync forward --since DAY` "
            "leaves out older days."
        )
    return 0
