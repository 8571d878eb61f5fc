"""Looking back: `runs`, `why` and `audit`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windsor_sync.cli.options import as_json, audience_names, load_settings
from windsor_sync.cli.output import echo, level, print_json, progress, run_as_json
from windsor_sync.errors import ConfigError, harmless
from windsor_sync.report.terminal import print_pairs, print_table, say, with_moved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windsor_sync.usecases.workspace import Workspace

TRIED = frozenset({"rejected", "not due", "in doubt"})
"""fates of which the last answer's code tells something"""

AND_NOW: "Mapping[str, str]" = {
    "rejected": "Windsor said no. It is tried again after 1, 2, 4 … runs; at once: windsor-sync retry",
    "not due": "Windsor said no before, and it is not time to try again yet; at once: windsor-sync retry",
    "withheld": "The run held it back; why, and what a person may do: windsor-sync runs {run}",
    "owed": "Not sent yet. The next sync sends it.",
    "in doubt": "It was sent and not answered. The next sync tells Windsor again.",
    "suppressed": "Nothing may be sent about this user.",
    "merged": "The id became another one before this change was delivered. The next sync tells the person.",
}
"""What follows from the newest step, where it is not delivered and no later run has had nothing to say of the user."""


IN_WORDS: "Mapping[str, str]" = {
    "moved": "moved (told again, because ids of this person were merged)",
    "moved_from": "moved_from (the member has another id now, which is told after this)",
}
"""Words for the kinds of change whose names need an explanation."""


@click.command(short_help="Show the last runs, those of one audience, or one run in full.")
@click.argument("named", metavar="[RUN|AUDIENCE]", required=False, shell_complete=audience_names)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs to list.")
@click.option(
    "--rows", "is_rows", is_flag=True, help="Show every change of the run with its user. Your name is recorded."
)
@as_json
@click.pass_obj
def runs_command(config: Path | None, named: str | None, limit: int, is_rows: bool, is_json: bool) -> int:
    """List the newest runs with their books, or show one run.

    Every row of a snapshot is a member or left out for a reason, and every change is delivered, rejected,
    withheld or owed: the numbers of a run add up.

    With --rows it shows every change of one run: the user, the change and what became of it. Your name is written into the
    audit trail first.

    \b
    Example:
      windsor-sync runs
      windsor-sync runs vip_customer
      windsor-sync runs --json --limit 5
      windsor-sync runs vip_customer-12-20261123T150000Z-3 --rows
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.state.runs import recent, run_of
    from windsor_sync.usecases.close_run import as_it_stands

    settings = load_settings(config)
    with open_for_command(settings) as workspace:
        run = named if named is not None and run_of(workspace.database, named) is not None else None
        if is_rows:
            if run is None:
                raise click.UsageError("--rows shows the changes of one run: name that run.")
            return _show_rows(workspace, run, is_json=is_json)
        only = _audience_ids(workspace, named) if named is not None and run is None else ()
        found = [
            as_it_stands(workspace, one)
            for one in recent(
                workspace.database, destination=settings.destination.name, audience_ids=only, run_id=run, limit=limit
            )
        ]
        documents = [run_as_json(one) for one in found]
        if run is not None:
            documents[0]["rejections"] = [
                {"code": code, "message": message, "changes": count}
                for code, message, count in workspace.ledger.rejections(run)
            ]
    if is_json:
        print_json({"runs": documents})
    elif not documents:
        echo(f"No run has been made at {settings.destination.name} yet. Run: windsor-sync sync --all")
    elif run is not None:
        from windsor_sync.cli.run_in_full import pairs_of

        print_pairs(run, pairs_of(found[0], documents[0]["rejections"]))
    else:
        _print_runs(documents)
    return 0


def _audience_ids(workspace: "Workspace", named: str) -> list[int]:
    """Return the audience of a trait key or name, also one that windsor.yaml does not have any more."""
    word = named.strip().casefold()
    known = workspace.registry.known()
    found = [row.id for row in known if named == row.trait_key] or [
        row.id for row in known if word in (row.trait_key.casefold(), row.name.strip().casefold())
    ]
    configured = [
        one for one in workspace.settings.computations if word in (str(one.key).casefold(), one.name.casefold())
    ]
    if not found and not configured:
        raise ConfigError(
            f"There is no run and no audience {named}. `windsor-sync runs` lists the newest runs, `windsor-sync audiences` the "
            "audiences."
        )
    return found or [-1]


def _show_rows(workspace: "Workspace", run_id: str, *, is_json: bool) -> int:
    from windsor_sync.state.audit_log import this_person
    from windsor_sync.usecases.change_log import changes_of_run

    rows = changes_of_run(workspace, run_id, who=this_person())
    if is_json:
        print_json({"run": run_id, "rows": [asdict(row) for row in rows]})
        return 0
    shown = [
        [
            row.user or "(suppressed)",
            row.change,
            json.dumps(row.value),
            row.fate,
            "" if row.code is None else str(row.code),
            row.message or "",
        ]
        for row in rows
    ]
    print_table(("user", "change", "told", "fate", "code", "Windsor's words"), shown)
    if not shown:
        echo("This run has no changes, or they are not kept any more: `windsor-sync state prune` says for how long.")
    return 0


def _print_runs(documents: list[dict[str, Any]]) -> None:
    from windsor_sync.domain.labels import state_words
    from windsor_sync.domain.run import RunState

    numbers = with_moved(
        ("members", "entered", "exited", "updated", "delivered", "rejected", "withheld", "owed"), documents
    )
    same = {"rejected": "failed_delivery", "withheld": "held", "owed": "awaiting_retry"}  # of forwarded events
    rows = [
        [one["run"], _unnamed(one), state_words(RunState(one["state"])).text]
        + [one.get(name, one.get(same.get(name, ""), "")) for name in numbers]
        for one in documents
    ]
    print_table(("run", "", "state", *numbers), rows, numbers=frozenset(numbers))
    echo("members are users; the others are changes, or the messages of forwarded events.")
    echo("One run in full, with what to do: windsor-sync runs RUN")


@click.command(short_help="Why a user is, or is not, in an audience.")
@click.argument("user")
@click.option(
    "--audience",
    metavar="AUDIENCE",
    shell_complete=audience_names,
    help="Only this one (default: every audience ever synced).",
)
@as_json
@click.pass_obj
def why_command(config: Path | None, user: str, audience: str | None, is_json: bool) -> None:
    """Tell a user's story: every change that was planned for them, what became of it, and what stands now.

    USER is a user id, or an anonymous id of someone without one. Ids that Windsor has merged with it are the same
    person: the story names them, and says what happened to each.

    \b
    Example:
      windsor-sync why 00123
      windsor-sync why 00123 --audience vip_customer
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.usecases.why import why as accounts_of

    settings = load_settings(config)
    with open_for_command(settings) as workspace:
        wanted = None
        if audience is not None:
            (computation,) = settings.find([audience])
            wanted = [workspace.registry.find(computation).audience_id or -1]
        accounts = accounts_of(workspace, user, wanted)
    if is_json:
        print_json({"accounts": [{**asdict(account), "sentence": account.sentence} for account in accounts]})
        return
    if not accounts:
        echo("No audience was ever synced. Run: windsor-sync sync --all")
    for words in accounts[0].became if accounts else ():
        echo(f"{words}.")
    for account in accounts:
        echo(f"{harmless(account.name)} ({account.audience}): {account.sentence}")
        for number, step in enumerate(account.steps):
            said = (
                f" ({step.code}{f': {step.message}' if step.message else ''})"
                if step.code and step.fate in TRIED
                else ""
            )
            who = f"{step.user}: " if account.ids else ""
            change = IN_WORDS.get(step.change, step.change)
            echo(f"  {step.started_at:%Y-%m-%d %H:%M} UTC  {who}{change} → {json.dumps(step.value)}  {step.fate}{said}")
            if number == 0 and step.run_id == account.last_run and step.fate in AND_NOW:
                echo(f"    {AND_NOW[step.fate].format(run=step.run_id)}")
    is_known = any(account.is_in_snapshot or account.steps or account.is_suppressed for account in accounts)
    if accounts and audience is None and not is_known:
        echo("Nobody of this id was found. `why` asks for a user id, written to the letter, and never for an e-mail.")


@click.command(short_help="Check what is recorded against what is there.")
@click.option("--repair", is_flag=True, help="Close the books of runs that died; sends nothing.")
@click.option(
    "--quick", "is_quick", is_flag=True, help="Leave out the contents of files: size, row count and owner only."
)
@as_json
@click.pass_obj
def audit_command(config: Path | None, repair: bool, is_quick: bool, is_json: bool) -> int:
    """Check that every run ended and its books balance, and that the files the ledger stands on are whole.

    Every such file is read and compared with its checksum, unless --quick is given. Exit status 1 where something
    is found that was not mended. A run that is going on is named, and is nothing wrong; a key that windsor.yaml no
    longer has, and a stale snapshot, are warnings.

    \b
    Example:
      windsor-sync audit
      windsor-sync audit --repair
      windsor-sync audit --quick
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.usecases.audit import audit as look

    with open_for_command(load_settings(config)) as workspace, progress() as view:
        found = look(
            workspace, repair=repair, is_quick=is_quick, looked_at=lambda done, total: view.count("files", done, total)
        )
    if is_json:
        print_json({"irregularities": [asdict(one) for one in found]})
    else:
        for one in found:
            marks = {"mended": one.is_mended, "going": one.is_going, "warning": one.is_warning}
            mark = next((mark for mark, holds in marks.items() if holds), "found")
            line = f"{mark}: {one.audience}: {harmless(one.text)} {harmless(one.remedy)}"
            click.echo(line)
            if level.is_quiet and mark == "found":
                say(line)
        if all(one.is_going for one in found):
            echo("Everything is as it should be.")
    return 0 if all(one.is_mended or one.is_going or one.is_warning for one in found) else 1


def _unnamed(document: dict[str, Any]) -> str:
    """The audience where the run's id does not begin with its trait key, which is too long for a folder's name."""
    key: str = document.get("audience", "")
    return "" if document["run"].startswith(f"{key}-") or not key else key
