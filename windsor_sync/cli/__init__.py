"""The command line. Heavy libraries are imported by the command that needs them: `--help` answers at once."""

import gc
import importlib
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from windsor_sync import __version__
from windsor_sync.cli.streams import end_quietly_with_reader, lost_output
from windsor_sync.cli.verbosity import add_to, options
from windsor_sync.errors import WindsorSyncError

COMMANDS = {
    "init": "setup",
    "check": "setup",
    "audiences": "setup",
    "plan": "syncing",
    "sync": "syncing",
    "backfill": "syncing",
    "retry": "syncing",
    "recover": "syncing",
    "forward": "forwarding",
    "approve": "decisions",
    "retire": "decisions",
    "forget": "decisions",
    "runs": "history",
    "why": "history",
    "audit": "history",
    "report": "reporting",
    "export": "exporting",
    "state": "state",
    "sandbox": "stand_in",
    "demo": "stand_in",
    "airflow-setup": "airflow_setup",
}
"""Command → module of this package, in the order of `--help`."""


COLLECT_AFTER = 50_000
"""Objects between two looks for garbage: imports make many and throw none away, and the usual 700 cost a command 0.1 s."""

FOR_EVERYBODY = frozenset({"init", "airflow-setup"})
"""Commands whose files (windsor.yaml, DAG files) hold nobody and are for other users too, as the umask says."""


class Text(click.types.StringParamType):
    """A text that is written down, compared or sent: unlike a path, it has no bytes that are not UTF-8."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; ends the command where it is none."""
        text: str = super().convert(value, param, ctx)
        if "\0" in text or not _is_utf_8(text):
            self.fail(
                "it is no UTF-8 text. Nothing was done. Set the terminal to UTF-8, or write it again.", param, ctx
            )
        return text


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_no_text(command: click.Command) -> None:
    """Let every argument and option that is a text be one, in this command and in those below it."""
    for parameter in command.params:
        if type(parameter.type) is click.types.StringParamType:
            parameter.type = Text()
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _refuse_no_text(inner)


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"windsor_sync.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        _refuse_no_text(command)
        add_to(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for a mistyped one."""
        from difflib import get_close_matches

        if args and args[0] not in COMMANDS and (near := get_close_matches(args[0], COMMANDS, 1)):
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="windsor-sync")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="WINDSOR_SYNC_CONFIG",
    help="Configuration file (default: ./windsor.yaml).",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Keep Segment Engage audiences as true/false properties of users in Windsor.

    \b
    Example:
      windsor-sync init           write a commented windsor.yaml
      windsor-sync plan --all     what a sync would send; sends nothing
      windsor-sync sync --all     bring Windsor up to date

    Exit status: 0 done; 1 unexpected; 2 usage or configuration; 3 changes withheld, approval needed; 4 done, with
    rejected messages; 5 credentials refused; 6 destination unavailable, changes owed; 7 another run holds the
    lease; 8 snapshot unusable; 9 a stored file or the state is lost or damaged, and the sentence names what heals
    it; 130 stopped on request, changes owed.
    """
    from windsor_sync.private import owner_only
    from windsor_sync.storage.limits import require_program_space
    from windsor_sync.storage.scratch import sweep

    require_program_space()
    if ctx.invoked_subcommand not in FOR_EVERYBODY:
        ctx.with_resource(owner_only())
    sweep()  # what a killed command left holds users; no command leaves it there
    ctx.obj = config


cli.params += options(is_hidden=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors we know end in their sentence and exit status, without a traceback."""
    gc.set_threshold(COLLECT_AFTER)
    end_quietly_with_reader()
    with suppress(OSError):  # a stream that cannot be asked where it stands stays as it is
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(
                errors="replace"
            )  # a terminal without UTF-8 shows ? for →; standard error does so itself
    try:
        result: Any = cli.main(arguments, standalone_mode=False)
        status = result if isinstance(result, int) else 0
        if why := lost_output():
            click.echo(
                f"windsor-sync: standard output could not be written ({why}). The command ran to its end; what it printed "
                "is not whole. Make room, then run it again if you need its words.",
                err=True,
            )
        sys.exit(status or int(why is not None))
    except WindsorSyncError as error:
        click.echo(f"windsor-sync: {error}", err=True)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("windsor-sync: stopped.", err=True)
        sys.exit(130)
    except Exception as error:
        from windsor_sync.storage.limits import shortage_in

        shortage = shortage_in(error)
        if shortage is None:
            raise
        click.echo(f"windsor-sync: {shortage}, and run it again: what was recorded before stands.", err=True)
        sys.exit(shortage.exit_status)
