"""`state`: the state database."""

from dataclasses import asdict
from pathlib import Path

import click

from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import print_json


@click.group(short_help="Look after the state database.")
def state() -> None:
    """Look after the state database.

    \b
    Example:
      windsor-sync state upgrade
      windsor-sync state prune --days 30 --dry-run
    """


@state.command(short_help="Bring the state database up to date.")
@click.pass_obj
def upgrade(config: Path | None) -> None:
    """Apply the migrations that are missing. SQLite does this by itself; PostgreSQL waits for this command.

    \b
    Example:
      windsor-sync state upgrade
    """
    from windsor_sync.state.database import upgrade_database

    before, now = upgrade_database(load_settings(config).state)
    click.echo(f"The state is at version {now}" + ("." if before == now else f", from {before or 'nothing'}."))


@state.command(short_help="Let go of old outboxes, verdicts and snapshots.")
@click.option("--days", type=click.IntRange(min=1), default=90, show_default=True, help="How long they are kept.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and remove nothing.")
@as_json
@click.pass_obj
def prune(config: Path | None, days: int, dry_run: bool, is_json: bool) -> None:
    """Remove outboxes and verdicts older than --days, all but the last 3 snapshots of an audience, and ownerless files.

    What Windsor was told is never touched, and the counts of every run stay. `why` tells a user's story as far back as
    the outboxes go.

    \b
    Example:
      windsor-sync state prune
      windsor-sync state prune --days 30 --dry-run
    """
    from windsor_sync.retention import prune as let_go
    from windsor_sync.words import counted
    from windsor_sync.workspace import open_workspace

    with open_workspace(load_settings(config)) as workspace:
        done = let_go(workspace, kept_days=days, dry_run=dry_run)
    if is_json:
        print_json(asdict(done))
        return
    verb = "would go" if dry_run else "removed"
    size = f"{done.bytes / 1e6:,.1f} MB" if done.bytes >= 100_000 else f"{done.bytes:,} bytes"
    click.echo(
        f"{counted(done.files, 'file')} ({size}) {verb}: outboxes of {counted(done.runs, 'run')}, "
        f"{counted(done.snapshots, 'snapshot')}, {counted(done.ownerless, 'file')} without an owner."
    )
    if done.busy:
        click.echo(f"Left alone, because a run is writing: {counted(done.busy, 'audience')}. Run it again later.")
