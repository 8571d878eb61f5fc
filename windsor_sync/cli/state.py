"""`state`: the state database."""

from pathlib import Path

import click

from windsor_sync.cli.options import load_settings


@click.group(short_help="Look after the state database.")
def state() -> None:
    """Look after the state database."""


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
