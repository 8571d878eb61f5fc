"""Options and arguments that several commands share, and how a command finds its audiences."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windsor_sync.cli.output import echo

if TYPE_CHECKING:
    from windsor_sync.settings import Computation, Settings

Command = Callable[..., Any]


def as_json(command: Command) -> Command:
    """Add the option `--json`."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")(command)


def audiences_or_all(command: Command) -> Command:
    """`[AUDIENCE]… | --all`."""
    command = click.option("--all", "is_all", is_flag=True, help="Every enabled audience and computed trait.")(command)
    return click.argument("audiences", metavar="[AUDIENCE]...", nargs=-1, shell_complete=audience_names)(command)


def audience_names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the trait keys of windsor.yaml that begin so, for a shell; none where it cannot be read."""
    from windsor_sync.errors import WindsorSyncError
    from windsor_sync.settings import load

    try:
        settings = load(ctx.find_root().params.get("config"))
    except WindsorSyncError:
        return []
    return [str(one.key) for one in settings.computations if str(one.key).startswith(incomplete)]


def load_settings(config: Path | None) -> "Settings":
    """The settings, with their warnings on standard error."""
    from windsor_sync.settings import load

    settings = load(config)
    for warning in settings.warnings:
        echo(f"warning: {warning}", err=True)
    return settings


def chosen(settings: "Settings", words: Sequence[str], *, is_all: bool) -> "tuple[Computation, ...]":
    """The audiences named by trait key or name, or every enabled one; naming none and all is a usage error."""
    if bool(words) == is_all:
        raise click.UsageError("Name one or more audiences, or say --all for every enabled one.")
    if is_all:
        return tuple(computation for computation in settings.computations if computation.enabled)
    return settings.find(words)
