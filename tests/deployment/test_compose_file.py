"""What docker-compose.yml promises by what stands in it."""

import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.env import SECRETS
from deploy.lock import KINDS
from tests.deployment.compose import FILE, ROOT, VARIABLE, document, interpolated, read_env
from windsor_sync.settings import load

SERVICES: dict[str, dict[str, Any]] = document()["services"]
STAYING = {name: one for name, one in SERVICES.items() if one.get("restart") != "no"}
MADE_UP = re.compile(r"(password|secret|key)", re.IGNORECASE)
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def make_env(target: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.env", str(target)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_only_the_two_pages_are_published_and_only_on_loopback() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"pod": ["127.0.0.1:8080:8080", "127.0.0.1:8474:8474"]}
    assert {one.get("network_mode") for name, one in SERVICES.items() if name != "pod"} == {"service:pod"}


def test_every_service_that_stays_says_whether_it_is_healthy_and_comes_back() -> None:
    assert [name for name, one in STAYING.items() if name != "pod" and "healthcheck" not in one] == []
    assert {one["restart"] for one in STAYING.values()} == {"unless-stopped"}


def test_nothing_starts_before_what_it_needs() -> None:
    conditions = {name: one["depends_on"] for name, one in SERVICES.items() if "depends_on" in one}
    for needs in conditions.values():
        assert set(needs) <= set(SERVICES)
    assert {need["condition"] for need in conditions["prepare"].values()} == {"service_healthy"}
    assert conditions["worker-1"] == {"prepare": {"condition": "service_completed_successfully"}}


def test_no_secret_stands_in_the_file() -> None:
    for one in SERVICES.values():
        for name, value in one.get("environment", {}).items():
            if MADE_UP.search(name) and not name.endswith(("_FILE", "_KEY_ID")):
                assert VARIABLE.fullmatch(value), name


def test_no_secret_stands_in_the_arguments_of_a_process(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    made = {**read_env(tmp_path / ".env"), "WINDSOR_API_KEY": "a-real-key"}
    for name, one in SERVICES.items():
        words = (one.get("command"), one.get("entrypoint"), one.get("healthcheck", {}).get("test"))
        shown = interpolated(" ".join(filter(None, words)), made)
        assert [secret for secret in made if made[secret] in shown] == [], name


def test_the_stand_in_never_gets_the_real_key(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    assert "WINDSOR_API_KEY" not in read_env(tmp_path / ".env")
    assert [name for name, one in SERVICES.items() if "WINDSOR_API_KEY" in str(one)] == ["prepare"]
    setup = SERVICES["prepare"]["command"]
    for given, used in (("a-real-key", "a-real-key"), ("", "its-own")):
        echo = re.sub(r"python.*&&", "", interpolated(setup, {})).replace("windsor-sync airflow-setup", "env")
        done = subprocess.run(
            echo, shell=True, capture_output=True, text=True, env={"WINDSOR_API_KEY": given, "SANDBOX_KEY": "its-own"}
        )
        assert f"WINDSOR_API_KEY={used}" in done.stdout.splitlines(), done.stderr


def test_one_command_makes_every_secret_the_file_asks_for(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    made = read_env(tmp_path / ".env")
    asked = {match["name"] for match in VARIABLE.finditer(FILE.read_text(encoding="utf-8")) if match["kind"] != "-"}
    assert asked == set(made) == set(SECRETS)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert len(set(made.values())) == len(made)
    assert all(len(value) >= 40 for value in made.values())


def test_secrets_that_are_there_stay(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    before = (tmp_path / ".env").read_text(encoding="utf-8")
    assert "left as it is" in make_env(tmp_path / ".env")
    assert (tmp_path / ".env").read_text(encoding="utf-8") == before
    make_env(tmp_path / "another.env")
    assert not set(read_env(tmp_path / "another.env").values()) & set(read_env(tmp_path / ".env").values())


def test_secrets_come_neither_into_the_repository_nor_into_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")
    copied = re.findall(r"COPY (.*) \S+$", SERVICES["worker-1"]["build"]["dockerfile_inline"], re.MULTILINE)
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(" ".join(copied).split()) == sorted(allowed)
    assert all((ROOT / name).exists() for name in allowed)


def test_every_setting_of_airflow_is_one_that_airflow_knows() -> None:
    from airflow.configuration import conf

    known = {
        f"AIRFLOW__{section}__{option}".upper()
        for section, described in conf.configuration_description.items()
        for option in described["options"]
    }
    ours = {name for one in SERVICES.values() for name in one.get("environment", {}) if name.startswith("AIRFLOW__")}
    assert ours
    assert ours <= known


def test_the_shops_settings_and_the_files_own_variables_are_valid(tmp_path: Path) -> None:
    make_env(tmp_path / ".env")
    env = {
        name: interpolated(str(value), read_env(tmp_path / ".env"))
        for name, value in SERVICES["worker-1"]["environment"].items()
        if name.startswith("WINDSOR_SYNC_") and name != "WINDSOR_SYNC_CONFIG"
    }
    settings = load(ROOT / "deploy" / "shop.yaml", env=env)
    assert settings.warnings == ()
    assert settings.files.startswith("s3://")
    assert settings.audiences[0].delivery_shards > 1


def test_the_workers_are_the_same_but_for_their_names() -> None:
    first, second = ({**SERVICES[name]} for name in ("worker-1", "worker-2"))
    assert second["command"].removesuffix(" --skip-serve-logs").replace("worker-2", "worker-1") == first["command"]
    assert {**second, "command": "", "healthcheck": ""} == {**first, "command": "", "healthcheck": ""}


@pytest.mark.parametrize("command", re.findall(r"^\$ (docker compose .*)$", PAGE, re.MULTILINE))
def test_a_command_of_the_page_names_services_that_there_are(command: str) -> None:
    for verb in ("run --rm", "exec", "logs --follow", "kill", "restart"):
        _, found, rest = command.partition(f"docker compose {verb} ")
        if found:
            assert rest.split()[0] in SERVICES, command


def test_the_page_names_every_variable_that_may_be_set() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert {match["name"] for match in VARIABLE.finditer(text)} <= set(re.findall(r"`(\w+)`", PAGE))


def test_the_image_has_every_extra_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = SERVICES["worker-1"]["build"]["dockerfile_inline"]
    assert "--no-deps --require-hashes -r locks/image.txt" in recipe
    extras = {option.removeprefix("--extra=") for option in KINDS["image"]}
    assert {"celery", "postgres", "s3"} <= extras <= set(project["optional-dependencies"])


def test_no_service_has_rights_that_it_does_not_need() -> None:
    for name, one in SERVICES.items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in one, name


def test_images_are_named_by_exact_tags() -> None:
    base = re.findall(r"^FROM (\S+)$", SERVICES["worker-1"]["build"]["dockerfile_inline"], re.MULTILINE)
    images = {*base, *(one["image"] for one in SERVICES.values())} - {"windsor-sync"}
    assert len(images) == 5
    assert [
        image for image in images if not re.search(r":(\d+\.\d+\.\d+|\d+\.\d+|RELEASE\.[\dTZ-]+)(-\w+)*$", image)
    ] == []
