"""Commands that only a person decides on: `approve`, `retire` and `forget`."""

from pathlib import Path

import click

from windsor_sync.cli.options import as_json, audience_names, load_settings
from windsor_sync.cli.output import echo, print_json
from windsor_sync.cli.running import run_jobs
from windsor_sync.errors import ConfigError


@click.command(short_help="Let withheld changes go out with the next sync.")
@click.argument("run")
@click.option(
    "--max-exited",
    type=click.IntRange(min=0),
    metavar="N",
    help="Send the exits if there are at most N; if more, send none.",
)
@click.option(
    "--max-entered",
    type=click.IntRange(min=0),
    metavar="N",
    help="Send the entries if there are at most N; if more, send none.",
)
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@as_json
@click.pass_obj
def approve_command(
    config: Path | None, run: str, max_exited: int | None, max_entered: int | None, reason: str | None, is_json: bool
) -> None:
    """Approve what a run withheld, up to a ceiling. The next sync makes the diff again and uses it.

    \b
    Example:
      windsor-sync approve vip_customer-12-20261123T150000Z-3 --max-exited 5000 --reason "sale ended"
    """
    if max_exited is None and max_entered is None:
        raise click.UsageError("Say how many: --max-exited N, --max-entered N, or both.")
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.guard import Ceiling
    from windsor_sync.state.approvals import approve as record
    from windsor_sync.state.audit_log import this_person, user_of_this_process
    from windsor_sync.state.runs import run_of
    from windsor_sync.usecases.approvers import permission_of

    with open_for_command(load_settings(config)) as workspace:
        found = run_of(workspace.database, run)
        if found is None:
            raise ConfigError(f"There is no run {run}. Nothing was approved. `windsor-sync runs` lists the newest.")
        ceiling = Ceiling(max_exited, max_entered)
        permitted_as = permission_of(workspace.settings, user_of_this_process())
        approval = record(workspace.database, found, ceiling, who=this_person(), why=reason, permitted_as=permitted_as)
    if is_json:
        print_json(
            {
                "audience": found.audience,
                "run": run,
                "max_exited": max_exited,
                "max_entered": max_entered,
                "by": approval.who,
            }
        )
        return
    echo(f"Approved for {found.audience}. The next sync uses it; to send now: windsor-sync sync {found.audience}")


@click.command(short_help="false for everyone told true; the trait key is not used again.")
@click.argument("audience", shell_complete=audience_names)
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@as_json
@click.pass_obj
def retire_command(config: Path | None, audience: str, reason: str | None, is_json: bool) -> int:
    """Take an audience out of Windsor: everyone who was told true is told false, and its key is retired.

    Works for an audience that is gone from windsor.yaml too. Run it again to send what stayed owed. Where
    `approval.approvers` names users, only they may retire an audience.

    \b
    Example:
      windsor-sync retire vip_customer --reason "replaced by vip_gold"
    """
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.retire import retire as retire_one

    who = this_person()
    return run_jobs(
        config,
        [(audience, lambda here, stop, view: retire_one(here, audience, who, reason, stop, view))],
        is_json=is_json,
        is_for_approvers=True,
    )


@click.command(short_help="Suppress a user, and purge what is stored about them.")
@click.argument("user")
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@as_json
@click.pass_obj
def forget_command(config: Path | None, user: str, reason: str | None, is_json: bool) -> None:
    """Never send anything about a user again, and remove them from every stored snapshot and outbox.

    Ids that Windsor has merged with USER are the same person: they are forgotten too, and printed.
    Windsor takes no deletions from here: delete the user there by hand.

    \b
    Example:
      windsor-sync forget 00123 --reason "request of 2026-11-20"
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.domain.labels import counted
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.forget import forget as forget_user

    with open_for_command(load_settings(config)) as workspace:
        done = forget_user(workspace, user, who=this_person(), why=reason)
    if is_json:
        print_json(
            {
                "newly_suppressed": done.is_new,
                "ids": done.ids,
                "snapshots": done.snapshots,
                "outboxes": done.outboxes,
            }
        )
        return
    others = ", ".join(done.ids[1:])
    kin = f", with the other ids that Windsor has merged with this one: {others}" if others else ""
    purged = f"{counted(done.snapshots, 'snapshot')} and {counted(done.outboxes, 'outbox', 'outboxes')}"
    echo(f"Suppressed{kin}. Removed from {purged}. Windsor still has the user: delete them there by hand.")
