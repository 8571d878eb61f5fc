"""`state`: the state database."""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import echo, print_json, progress
from windsor_sync.errors import WindsorSyncError
from windsor_sync.report.terminal import print_table


@click.group(short_help="Look after the state database.")
def state_command() -> None:
    """Look after the state database.

    \b
    Example:
      windsor-sync state upgrade
      windsor-sync state prune --days 30 --dry-run
      windsor-sync state copy --to postgresql://windsor@db.example/windsor
    """


@state_command.command(short_help="Bring the state database up to date.")
@click.pass_obj
def upgrade_command(config: Path | None) -> None:
    """Apply the migrations that are missing. SQLite does this by itself; PostgreSQL waits for this command.

    \b
    Example:
      windsor-sync state upgrade
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.state.database import upgrade_database
    from windsor_sync.state.suppression_key import key_place

    settings = load_settings(config)
    before, now = upgrade_database(
        settings.state, key_place(settings.state, settings.path.parent), access=settings.access
    )
    with (
        suppress(WindsorSyncError),
        open_for_command(settings),
    ):  # the file store is brought up to date too, now or later
        pass
    echo(f"The state is at version {now}" + ("." if before == now else f", from {before or 'nothing'}."))


@state_command.command(short_help="Let go of old outboxes, verdicts and snapshots.")
@click.option("--days", type=click.IntRange(min=1), default=90, show_default=True, help="How long they are kept.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@as_json
@click.pass_obj
def prune_command(config: Path | None, days: int, dry_run: bool, is_json: bool) -> None:
    """Remove outboxes and verdicts older than --days, all but the last 3 snapshots of an audience, and ownerless files.

    What Windsor was told is never touched, and the counts of every run stay. `why` tells a user's story as far back as
    the outboxes go.

    \b
    Example:
      windsor-sync state prune
      windsor-sync state prune --days 30 --dry-run
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.labels import counted
    from windsor_sync.usecases.prune import prune as let_go

    with open_for_command(load_settings(config)) as workspace:
        done = let_go(workspace, kept_days=days, dry_run=dry_run)
    if is_json:
        print_json(asdict(done))
        return
    verb = "would go" if dry_run else "removed"
    size = f"{done.bytes / 1e6:,.1f} MB" if done.bytes >= 100_000 else f"{done.bytes:,} bytes"
    echo(
        f"{counted(done.files, 'file')} ({size}) {verb}: outboxes of {counted(done.runs, 'run')}, "
        f"{counted(done.snapshots, 'snapshot')}, {counted(done.ownerless, 'file')} without an owner."
    )
    if done.busy:
        echo(f"Left alone, because a run is writing: {counted(done.busy, 'audience')}. Run it again later.")


@state_command.command(short_help="Copy the state to another database, and use that from then on.")
@click.option("--to", "url", metavar="URL", required=True, help="sqlite:///FILE or postgresql://USER@HOST/DATABASE.")
@as_json
@click.pass_obj
def copy_command(config: Path | None, url: str, is_json: bool) -> None:
    """Copy the state, from SQLite to PostgreSQL or back, while no run is writing; then it is to be used there.

    The copy is compared with the original table by table, and comes whole or not at all. Afterwards every command on the
    old database is refused, so that the two are never used beside each other. It is safe to repeat. Leave the password out
    of the URL: PostgreSQL's variable PGPASSWORD and its file ~/.pgpass are read.

    \b
    Example:
      windsor-sync state copy --to postgresql://windsor@db.example/windsor
      windsor-sync state copy --to sqlite:////srv/windsor/state.db
    """
    from windsor_sync.state.copying import copy_state

    settings = load_settings(config)
    with progress() as view:
        done = copy_state(
            settings.state,
            _state_url(url, settings.path.parent),
            view.rows,
            folder=settings.path.parent,
            access=settings.access,
        )
    if is_json:
        print_json(asdict(done))
        return
    print_table(("table", "rows"), done.rows.items(), numbers=frozenset({"rows"}))
    again = ", which held an earlier copy," if done.has_replaced else ""
    echo(
        f"The state was copied to {done.target}{again} and compared: all {sum(done.rows.values()):,} rows are there. Now write "
        "that URL as `state` into windsor.yaml (into WINDSOR_SYNC_STATE where that is set), on every machine that uses it. "
        f"Until then every command is refused. {done.source} stays as it is, and may be deleted once a sync has ended well."
    )
    if done.key_at is not None:
        echo(f"The key of the suppressions is in {done.key_at}: every machine that uses the state needs it.")


@state_command.command(short_help="Use a state again that was copied elsewhere.")
@click.pass_obj
def reopen_command(config: Path | None) -> None:
    """Take back what `state copy` did to the old database: commands on it are no longer refused.

    Only for a copy that was never used. What a copy has told Windsor is not known here; to come back from it with
    everything, write its URL as `state` into windsor.yaml and copy it to the old database.

    \b
    Example:
      windsor-sync state reopen
    """
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.state.copying import reopen as take_back

    found = take_back(load_settings(config).state, this_person())
    if found is None:
        echo("The state is in use: it was not moved. Nothing was done.")
        return
    echo(f"The state is in use again. Do not use its copy in {found.to} any more.")


def _state_url(url: str, folder: Path) -> str:
    """The URL as `state` in windsor.yaml would be read."""
    from windsor_sync.settings.addresses import STATE_URL, absolute_state

    try:
        return absolute_state(STATE_URL.parse(url), folder)
    except ValueError as mismatch:
        raise click.UsageError(f"--to takes {STATE_URL.expected}; found {mismatch}.") from None
