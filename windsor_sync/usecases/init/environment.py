"""Reads the environment: which keys and variables are set (never their values), an Airflow, the time zone."""

import configparser
import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from windsor_sync.settings import CONFIG_VARIABLE
from windsor_sync.settings.catalogue import VARIABLE_PREFIX
from windsor_sync.sources.warehouse_session import VARIABLE_PREFIX as CONNECTION_PREFIX
from windsor_sync.usecases.workspace import API_KEY_VARIABLE, SEGMENT_TOKEN_VARIABLE

URL_VARIABLE = f"{VARIABLE_PREFIX}DESTINATION__URL"
AIRFLOW_KEY_VARIABLE = "AIRFLOW_CONN_WINDSOR_DEFAULT"
AIRFLOW_VARIABLES = ("AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")


@dataclass(frozen=True, slots=True)
class FoundAirflow:
    """An Airflow of this environment."""

    by: str
    """what gave it away"""
    dags: Path | None
    """where it looks for DAG files; None where nothing says so"""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that are set, by name."""

    key: str | None
    """the variable that holds Windsor's key"""
    has_url: bool
    """whether a variable says where Windsor is"""
    has_token: bool
    """whether there is a token for Segment's Public API"""
    settings: tuple[str, ...]
    """variables that count before windsor.yaml"""
    warehouses: tuple[str, ...]
    """variables that hold the address of a warehouse"""
    airflow: FoundAirflow | None
    zone: str


def look_at(env: Mapping[str, str], home: Path) -> Environment:
    """Read names only; of Airflow also its configuration file, which is in `home` unless AIRFLOW_HOME says otherwise."""
    is_set = {name for name, value in env.items() if value.strip() and name.isprintable()}
    return Environment(
        key=next((name for name in (API_KEY_VARIABLE, AIRFLOW_KEY_VARIABLE) if name in is_set), None),
        has_url=URL_VARIABLE in is_set,
        has_token=SEGMENT_TOKEN_VARIABLE in is_set,
        settings=tuple(sorted(name for name in is_set - {CONFIG_VARIABLE} if name.startswith(VARIABLE_PREFIX))),
        warehouses=tuple(sorted(name for name in is_set if name.startswith(CONNECTION_PREFIX))),
        airflow=_airflow({name: env[name] for name in AIRFLOW_VARIABLES if name in is_set}, home),
        zone=_zone(datetime.now().astimezone()),
    )


def _airflow(env: Mapping[str, str], home: Path) -> FoundAirflow | None:
    """An Airflow is set up where a variable or its file says so; the library alone is none."""
    folder = _expanded(env["AIRFLOW_HOME"]) if "AIRFLOW_HOME" in env else home / "airflow"
    file = folder / "airflow.cfg"
    by = next((name for name in AIRFLOW_VARIABLES if name in env), str(file) if _is_file(file) else None)
    if by is None:
        return None
    if find_spec("airflow") is None:
        by += "; the package airflow is not in this Python"
    return FoundAirflow(by, _dags(env, folder, file))


def _dags(env: Mapping[str, str], folder: Path, file: Path) -> Path | None:
    if said := env.get("AIRFLOW__CORE__DAGS_FOLDER"):
        return _expanded(said)
    configuration = configparser.RawConfigParser(strict=False)
    try:
        configuration.read(file, encoding="utf-8")
        said = configuration.get("core", "dags_folder", fallback=None)
    except (configparser.Error, OSError, UnicodeDecodeError):
        said = None
    if said:
        return _expanded(said.replace("{AIRFLOW_HOME}", str(folder)))
    return folder / "dags" if "AIRFLOW_HOME" in env or _is_file(file) else None


def _expanded(path: str) -> Path:
    """Put the home folder in the place of `~`, where there is one: Path.expanduser raises where there is none."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _is_file(path: Path) -> bool:
    """Whether there is a file; False where this user may not look, for which Path.is_file raises."""
    return os.path.isfile(path)  # noqa: PTH113


def _zone(now: datetime) -> str:
    """Return the time zone like `CET (UTC+0100)`."""
    return f"{now.tzname()} (UTC{now:%z})"[:64] if now.utcoffset() else "UTC"
