"""`pip install windsor-sync` from the built wheel, in an environment that has nothing else."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from windsor_sync import __version__

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv", "--system-certs"]  # as pip does: a company may have a certificate of its own
EXTRAS = {
    "celery": "celery",
    "gcs": "gcsfs",
    "postgres": "psycopg",
    "s3": "s3fs",
    "spark": "pyspark",
    "zstd": "zstandard",
}
"""Extra → the package that the code imports with it."""

LOAD_DAGS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps([bag.import_errors, sorted(bag.dags)]))
"""

SERVE_AIRFLOW = """
import json
from airflow.api_fastapi.app import create_app
from airflow.utils.db import initdb
from fastapi.testclient import TestClient
initdb()
with TestClient(create_app()) as client:
    client.headers["Authorization"] = "Bearer " + client.get("/auth/token").json()["access_token"]
    page = {name: client.get("/windsor/" + name) for name in ("", "style.css", "page.js", "icon.svg")}
    types = client.get("/ui/connections/hook_meta").json()
print(json.dumps([[answer.status_code for answer in page.values()], page[""].text, types]))
"""

Installed = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*UV, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True, timeout=240)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A command of an empty environment with the wheel in it, run far from the checkout; returns what it prints."""
    folder = tmp_path_factory.mktemp("empty")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True, timeout=120)
    install = [
        *UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "-c",
        str(ROOT / "constraints.txt"),
        str(wheel),
    ]
    subprocess.run(install, check=True, timeout=480)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "WINDSOR", "PYTHON"))}
    settings = {"AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def run(program: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [str(python.parent / program), *arguments],
            cwd=folder,
            env=kept | settings | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def table(printed: str) -> Any:
    """The JSON that an airflow command printed, after whatever it logged."""
    return json.loads(printed[printed.index("[{") :])


def test_the_version_stands_in_one_place(metadata: Message, installed: Installed) -> None:
    assert metadata["Version"] == __version__
    assert installed("windsor-sync", "--version") == f"windsor-sync, version {__version__}\n"
    assert f'"{__version__}"' not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_page_on_an_index_says_what_it_is_and_has_no_link_that_breaks_there(metadata: Message) -> None:
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 2
    assert all(link.startswith("https://") for link in links)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.partition("\n\n")[2].partition("\n\n")[0] == readme.partition("\n\n")[2].partition("\n\n")[0]
    assert metadata["Author"] == "windsor_sync"
    assert {"airflow", "segment engage"} <= set(metadata["Keywords"].split(","))
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])


def test_the_extras_are_offered_and_the_tools_of_development_are_none(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS.keys()


@pytest.mark.thorough
def test_the_extras_bring_what_they_are_for(wheel: Path) -> None:
    resolve = [
        *UV,
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "-c",
        str(ROOT / "constraints.txt"),
        "-",
    ]
    wanted = f"windsor-sync[{','.join(EXTRAS)}] @ {wheel.as_uri()}"
    done = subprocess.run(resolve, input=wanted, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert {line.partition("==")[0] for line in done.stdout.splitlines()} >= set(EXTRAS.values())


def test_the_wheel_holds_the_package_and_what_it_reads_and_nothing_else(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "windsor_sync"], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert set(tracked.stdout.splitlines()) <= names
    assert {name.partition("/")[0] for name in names} == {"windsor_sync"}
    assert "windsor_sync/py.typed" in names


def test_the_command_line_answers_in_an_empty_environment(installed: Installed) -> None:
    assert "Keep Segment Engage audiences" in installed("windsor-sync", "--help")


def test_airflow_finds_the_provider(installed: Installed) -> None:
    providers = {row["package_name"]: row for row in table(installed("airflow", "providers", "list", "-o", "json"))}
    assert providers["windsor-sync"]["version"] == __version__


def test_airflow_finds_the_page(installed: Installed) -> None:
    plugins = table(installed("airflow", "plugins", "-o", "json"))
    (ours,) = [row for row in plugins if "windsor" in json.dumps(row).lower()]
    assert "external_views" in json.dumps(ours)


@pytest.mark.thorough  # the page and the form are tested out of the tree; that the wheel has all files of it, above
def test_airflow_serves_the_page_and_the_connections_form_out_of_the_wheel(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "windsor.yaml").write_text("destination: {url: 'http://127.0.0.1:9/'}\n", encoding="utf-8")
    environment = {
        "WINDSOR_SYNC_CONFIG": str(tmp_path / "windsor.yaml"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of this test alone, and as long as a signature of 512 bits would like it",
    }
    statuses, page, types = json.loads(installed("python", "-c", SERVE_AIRFLOW, **environment).splitlines()[-1])
    assert statuses == [200, 200, 200, 200]
    assert "<title>Audiences" in page
    (windsor,) = [one for one in types if one["connection_type"] == "windsor"]
    assert windsor["hook_name"] == "Windsor"


def test_the_dag_files_come_with_it_and_load(installed: Installed, tmp_path: Path) -> None:
    installed("windsor-sync", "--config", str(tmp_path / "windsor.yaml"), "init")
    shipped = {path.stem for path in (ROOT / "dags").glob("*.py")}
    written = installed("windsor-sync", "airflow-setup", "--dags", str(tmp_path / "dags"))
    assert {Path(line.split(": ")[0]).stem for line in written.splitlines()} == shipped
    again = installed("windsor-sync", "airflow-setup", "--dags", str(tmp_path / "dags"))
    assert all(line.endswith(": unchanged") for line in again.splitlines())
    environment = {
        "WINDSOR_SYNC_CONFIG": str(tmp_path / "windsor.yaml"),
        "WINDSOR_SYNC_EVENTS__ARCHIVE": "segment-logs",
    }
    errors, dags = json.loads(
        installed("python", "-c", LOAD_DAGS, str(tmp_path / "dags"), **environment).splitlines()[-1]
    )
    assert (errors, set(dags)) == ({}, shipped)


@pytest.mark.thorough
def test_its_types_are_seen_by_whoever_imports_it(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "theirs.py"
    program.write_text("from windsor_sync.settings import load\nreveal_type(load().space)\n", encoding="utf-8")
    python = installed("python", "-c", "import sys; print(sys.executable)").strip()
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert checked.returncode == 0, checked.stdout
    assert 'Revealed type is "str | None"' in checked.stdout.replace("builtins.", "")
