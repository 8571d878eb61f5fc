"""`--quiet` and `--verbose`, before or after any command."""

import logging
import os
import sys
from contextlib import redirect_stdout
from functools import partial

import click

from windsor_sync.cli import output


def add_to(command: click.Command) -> None:
    """Let a command take both options too; its help leaves them to that of `windsor-sync`."""
    if not any(parameter.name == "quiet" for parameter in command.params):
        command.params += options(is_hidden=True)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_to(inner)


def options(*, is_hidden: bool) -> list[click.Parameter]:
    """Return the two options."""
    flag = partial(click.Option, is_flag=True, expose_value=False, hidden=is_hidden)
    return [
        flag(["-q", "--quiet"], callback=_quieten, help="Print only errors, and the output of --json."),
        flag(["-v", "--verbose"], callback=_tell_more, help="Print each step on standard error."),
    ]


def _quieten(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked and not output.level.is_quiet:
        root = ctx.find_root()
        root.call_on_close(output.level.reset)
        output.level.is_quiet, output.level.results = True, sys.stdout
        nothing = root.with_resource(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        root.with_resource(redirect_stdout(nothing))


def _tell_more(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked and not output.level.is_verbose:
        root, log = ctx.find_root(), logging.getLogger("windsor_sync")
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        before = log.level
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        root.call_on_close(output.level.reset)
        root.call_on_close(lambda: log.removeHandler(handler))
        root.call_on_close(lambda: log.setLevel(before))
        output.level.is_verbose = True
