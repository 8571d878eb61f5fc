"""`init`, `check` and `audiences`."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from windsor_sync.cli.options import as_json, load_settings
from windsor_sync.cli.output import echo, level, print_json
from windsor_sync.errors import ConfigError, CredentialsRefused, SegmentUnavailable, harmless
from windsor_sync.report.terminal import print_table, say

if TYPE_CHECKING:
    from windsor_sync.settings import Computation
    from windsor_sync.state.audiences import Registered, Registry
    from windsor_sync.usecases.init.render import Notice
    from windsor_sync.usecases.workspace import Workspace

DEFAULT_CONFIG = Path("windsor.yaml")
MOST_LINES = 5
"""about one subject, where there may be many"""
NEVER_SYNCED = "not synced yet"
ENDED_WELL = frozenset({"done", NEVER_SYNCED})
MARKS = {"ok": "green", "skipped": "cyan", "warning": "yellow", "error": "red"}


@click.command(short_help="Write a commented windsor.yaml with what is found here.")
@as_json
@click.pass_obj
def init_command(config: Path | None, is_json: bool) -> None:
    """Write a windsor.yaml that explains itself, with the snapshots and the event archive found beside it.

    A snapshot is found by its name (vip_2026-01-31.csv) or by its folder's (vip/2026-01-31.csv), and its newest file is
    opened: CSV, JSON lines or Parquet, packed or not. The archive is found by its name segment-logs. Then init says what is
    left for you. Nothing is sent or fetched, and a file that is there already is never overwritten.

    \b
    Example:
      windsor-sync init
      windsor-sync --config /etc/windsor.yaml init
    """
    from windsor_sync.usecases.init.discover import discover
    from windsor_sync.usecases.init.render import found_notices, left_notices, windsor_yaml
    from windsor_sync.usecases.init.snapshots import find_snapshots

    path = config or DEFAULT_CONFIG
    _refuse_existing(path)
    root = path.absolute().parent
    discovery = discover(root)
    snapshots, problems = find_snapshots(root, discovery.files)
    _write_new(path, windsor_yaml(discovery, snapshots))
    found = list(found_notices(discovery, snapshots))
    left = list(left_notices(discovery, snapshots, problems))
    if is_json:
        as_lists = {"found": [one._asdict() for one in found], "left": [one._asdict() for one in left]}
        print_json({"file": str(path)} | as_lists)
        return
    _print_notices("found", "green", found)
    _print_notices("to do", "yellow", left)
    echo(f"Wrote {path}. {_next_steps(path, bool(snapshots))}")


def _print_notices(mark: str, color: str, notices: "Sequence[Notice]") -> None:
    """A line each; of many about one subject the first few."""
    printed: Counter[str] = Counter()
    for one in notices:
        printed[one.subject] += 1
        if printed[one.subject] <= MOST_LINES:
            click.echo(f"{click.style(f'{mark:8}', fg=color)}{harmless(one.subject)}: {harmless(one.text)}")
    for subject, number in printed.items():
        if number > MOST_LINES:
            click.echo(
                f"{click.style(f'{mark:8}', fg=color)}{harmless(subject)}: {number - MOST_LINES:,} more; init --json names all"
            )


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ConfigError(
            f"{path} is there already and was left as it is. `windsor-sync check` says what it lacks; to see what is found here "
            "now, have another file written: windsor-sync --config new.yaml init"
        )


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("xb") as file:
            try:
                file.write(text.encode())
                file.flush()
            except OSError:
                path.unlink()  # half a file would be in the way of the next try
                raise
    except FileExistsError:
        _refuse_existing(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}. Nothing was changed. Name a file in a folder where this user may "
            "write: windsor-sync --config FILE init"
        ) from None


def _next_steps(path: Path, has_audiences: bool) -> str:
    named = "" if path == DEFAULT_CONFIG else f" --config {shlex.quote(str(path))}"
    first = "Look it over" if has_audiences else "Put your audiences into it"
    return f"{first}, then run: windsor-sync{named} check"


@click.command(short_help="Look at everything a sync needs; sends nothing.")
@click.option(
    "--offline", "is_offline", is_flag=True, help="Check windsor.yaml only: needs no network, key, state or Airflow."
)
@click.option(
    "--due", "is_due", is_flag=True, help="Check only whether a sync that was due did not run, and send alerts."
)
@as_json
@click.pass_obj
def check_command(config: Path | None, is_offline: bool, is_due: bool, is_json: bool) -> int:
    """Look at everything a sync needs, and say for each thing that is wrong what helps.

    That is the configuration, the schedule, the state, the files, Airflow's pool and connection, Windsor and its key, the
    clock, and where each snapshot comes from: the first rows of each file, and of what each query returns, are read as a sync
    would. Windsor is asked whether it takes the key in a way that leaves no trace there. Exit status 2 where there is an error.

    With --offline, for example before a merge, it checks the configuration only, and needs nothing else.

    \b
    Example:
      windsor-sync check
      windsor-sync check --offline
      windsor-sync check --json
      windsor-sync check --due         # from cron, on a machine that is not the scheduler's
    """
    if is_due and is_offline:
        raise click.UsageError("--due reads the state, and --offline does not: give only one of them.")
    if is_due:
        from windsor_sync.cli.alerting import show_late

        return show_late(load_settings(config), is_json=is_json)
    from windsor_sync.cli.doctor import findings_about

    findings = []
    for finding in findings_about(config, is_offline=is_offline):
        findings.append(finding)
        if not is_json:  # one by one: Airflow and a Windsor that is not there take their time
            mark = click.style(f"{finding.level.value:8}", fg=MARKS[finding.level.value])
            click.echo(f"{mark}{harmless(finding.subject)}: {harmless(finding.text)}")
        if level.is_quiet and finding.level.value == "error":
            say(f"error: {finding.subject}: {finding.text}")
    if is_json:
        print_json([{"subject": f.subject, "level": f.level.value, "text": f.text} for f in findings])
    return ConfigError.exit_status if any(f.level.value == "error" for f in findings) else 0


@click.command(short_help="The configured audiences and computed traits, and what Windsor was told of them.")
@click.option("--from-segment", is_flag=True, help="Ask Segment's Public API what the space has instead.")
@click.option("--write", "writes", is_flag=True, help="Add what is missing to windsor.yaml (with --from-segment).")
@as_json
@click.pass_obj
def audiences_command(config: Path | None, from_segment: bool, writes: bool, is_json: bool) -> None:
    """List audiences and computed traits with their trait keys and how the last run ended.

    \b
    Example:
      windsor-sync audiences
      windsor-sync audiences --from-segment           what the space has, windsor.yaml not
      windsor-sync audiences --from-segment --write   adds it to windsor.yaml, disabled
    """
    if writes and not from_segment:
        raise click.UsageError("--write adds what --from-segment finds: give both.")
    settings = load_settings(config)
    if from_segment:
        from windsor_sync.cli.from_segment import show

        show(settings, writes=writes, is_json=is_json)
        return
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.usecases.orphans import orphans
    from windsor_sync.usecases.warnings import warnings

    rows = []
    with open_for_command(settings) as workspace:
        for each in settings.computations:
            known = _known(workspace.registry, each)
            rows.append(_row(workspace, each.name, known, each.computation_class.value, is_enabled=each.enabled))
        rows += [
            _row(workspace, orphan.name, workspace.registry.by_id(orphan.audience_id), orphan.computation_class)
            for orphan in orphans(workspace)
            if not orphan.is_disabled
        ]
        looks = {one.key: one for one in warnings(workspace)}
    rows = [row | {"warning": str(looks[row["trait"]]) if row["trait"] in looks else None} for row in rows]
    if is_json:
        print_json({"audiences": rows})
        return
    _print_audiences(rows)


def _row(
    workspace: "Workspace", name: str, known: "Registered", computation_class: str, *, is_enabled: bool | None = None
) -> dict[str, Any]:
    """An audience as it stands; `is_enabled` is None of one that windsor.yaml does not have."""
    from windsor_sync.state.runs import recent
    from windsor_sync.usecases.close_run import as_it_stands

    found = recent(workspace.database, audience_ids=[known.audience_id], limit=1) if known.audience_id else []
    last = as_it_stands(workspace, found[0]) if found else None
    return {
        "name": name,
        "trait": str(known.key),
        "class": computation_class,
        "configured": is_enabled is not None,
        "enabled": bool(is_enabled),
        "members": last.books.members if last else None,
        "taken_at": last.taken_at.isoformat() if last else None,
        "rejected": last.books.rejected if last else None,
        "withheld": last.books.withheld if last else None,
        "owed": last.books.owed if last else None,
        "not_yet_in_windsor": last.books.changes - last.books.delivered if last else None,
        "last_run": last.run_id if last else None,
        "state": last.state.value if last else NEVER_SYNCED,
        "sentence": last.sentence if last else None,
    }


def _print_audiences(rows: list[dict[str, Any]]) -> None:
    """The table, and for each run that did not end well its sentence, which says what to do."""
    if not rows:
        echo(
            "No audience and no computed trait is configured yet: add one to windsor.yaml, then run: windsor-sync check"
        )
        return
    from windsor_sync.domain.labels import class_words, lasting

    now = datetime.now(UTC)
    apart = [name for name in ("rejected", "withheld") if any(row[name] for row in rows)]
    columns = ("name", "trait", "class", "members", "age", *apart, "owed", "state")
    shown = [
        {
            **row,
            "class": class_words(row["class"]),
            "age": lasting(now - datetime.fromisoformat(row["taken_at"])) if row["taken_at"] else None,
            "state": _state_in_words(row),
        }
        for row in rows
    ]
    print_table(
        columns,
        [["–" if row[column] is None else row[column] for column in columns] for row in shown],
        numbers=frozenset({"members", "rejected", "withheld", "owed"}),
    )
    together = f"; {', '.join(apart)} and owed together are not yet in Windsor" if apart else ""
    echo(f"members are users; age is that of their snapshot; owed are changes that the next sync sends{together}.")
    for row in rows:
        if row["state"] not in ENDED_WELL:
            echo(f"{row['trait']}: {row['sentence'] or 'The last run has not ended: see `windsor-sync audit`.'}")
        if row["warning"]:
            echo(f"warning: {row['warning']}")


def _state_in_words(row: dict[str, Any]) -> str:
    from windsor_sync.domain.labels import state_words
    from windsor_sync.domain.run import RunState

    if not row["enabled"]:
        return "disabled" if row["configured"] else "not in windsor.yaml"
    return NEVER_SYNCED if row["state"] == NEVER_SYNCED else state_words(RunState(row["state"])).text


def _known(registry: "Registry", computation: "Computation") -> "Registered":
    """Return the audience as it is pinned; one that was never synced has its derived key while Segment cannot say its own."""
    from windsor_sync.state.audiences import Registered

    try:
        return registry.find(computation)
    except (SegmentUnavailable, CredentialsRefused):
        return Registered(computation.key, 0, None)
