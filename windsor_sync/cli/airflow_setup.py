"""`airflow-setup`: what the DAGs need in Airflow itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from windsor_sync.cli.options import load_settings
from windsor_sync.cli.output import echo
from windsor_sync.errors import ConfigError
from windsor_sync.private import open_new
from windsor_sync.storage.scratch import scratch_folder

DEFAULT_SLOTS = 8
TIMEOUT_S = 120.0
MOST_LINES = 40
"""of what differs between a DAG file and this version of it"""


@click.command(short_help="Make the pool and the connection that the DAGs use in Airflow.")
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    default=DEFAULT_SLOTS,
    show_default=True,
    help="How many tasks may talk to Windsor at once.",
)
@click.option(
    "--dags",
    "dags_to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Only put the DAG files into this folder, over older ones; needs neither windsor.yaml nor Airflow's database.",
)
@click.pass_obj
def airflow_setup_command(config: Path | None, slots: int, dags_to: Path | None) -> None:
    """Make the pool windsor_api and Windsor's connection in the Airflow of this environment; run it at each deployment.

    The pool gets the number of slots that is given. A connection that is there already is left as it is; a new one gets
    the key from WINDSOR_API_KEY, and everything else stays as windsor.yaml says. A DAG file that somebody has changed is never
    overwritten: this version is written beside it as NAME.new, and the lines that differ are shown.

    \b
    Example:
      windsor-sync airflow-setup --dags /opt/airflow/dags
      airflow db migrate && WINDSOR_API_KEY=… windsor-sync airflow-setup
    """
    if dags_to is not None:
        _write_dags(dags_to)
        return
    from windsor_sync.domain.labels import counted
    from windsor_sync.settings.keys import clean_key
    from windsor_sync.usecases.workspace import API_KEY_VARIABLE

    settings = load_settings(config)
    pool = {"slots": slots, "description": "Tasks that talk to Windsor", "include_deferred": False}
    _import("pools", {"windsor_api": pool})
    echo(f"Pool windsor_api has {counted(slots, 'slot')}.")
    name = settings.destination.connection
    key = clean_key(os.environ.get(API_KEY_VARIABLE, ""), "The API key for Windsor", API_KEY_VARIABLE)
    variable = f"AIRFLOW_CONN_{name.upper()}"
    if os.environ.get(variable):
        echo(f"Connection {name} comes from {variable}: none is made beside it.")
        return
    if not key:
        echo(
            f"The connection {name} was not looked at: set {API_KEY_VARIABLE} to have it made, or make it in Airflow under "
            "Admin → Connections with the type Windsor."
        )
        return
    _import("connections", {name: {"conn_type": "windsor", "password": key}})
    echo(f"Connection {name} exists. If it existed before, its settings were not changed.")


def _write_dags(target: Path) -> None:
    from windsor_sync.airflow.dag_files import write_dags

    for one in write_dags(target):
        echo(f"{one.path}: {one.what}")
        for line in one.differences[:MOST_LINES]:
            echo(f"  {line}")
        if len(one.differences) > MOST_LINES:
            echo(f"  … and {len(one.differences) - MOST_LINES:,} more lines")


def _import(kind: str, content: dict[str, Any]) -> None:
    """Give Airflow's own command a file that only this user can read: a key on a command line is seen by everybody."""
    with scratch_folder() as folder:
        path = folder / f"{kind}.json"
        with open_new(path) as file:
            file.write(json.dumps(content).encode())
        command = [sys.executable, "-m", "airflow", kind, "import", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise ConfigError(_trouble(kind, f"no end after {TIMEOUT_S:.0f} s")) from None
    if done.returncode:
        raise ConfigError(_trouble(kind, (done.stderr.strip().splitlines() or ["no reason given"])[-1]))


def _trouble(kind: str, reason: str) -> str:
    return (
        f"`airflow {kind} import` did not work: {reason}. What was said to be made before is. Check that `airflow db migrate` "
        "was run and that AIRFLOW_HOME and the AIRFLOW__ variables are those of your Airflow, then run this again."
    )
