"""What `make` and the image install is locked, with hashes, at the versions of constraints.txt."""

import re
from pathlib import Path

import pytest

from deploy.lock import BUILD, KINDS, LOCKS, blocks

ROOT = Path(__file__).parents[2]
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)


def read(kind: str) -> dict[str, str]:
    return blocks((LOCKS / f"{kind}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_package_of_a_lock_has_one_version_and_its_hashes(kind: str) -> None:
    for requirement, text in read(kind).items():
        name, version = re.match(r"([a-z0-9-]+)==([^ ;]+)", requirement).groups()  # type: ignore[union-attr]
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text), requirement
        if name not in BUILD:
            assert CONSTRAINTS.get(name, version) == version


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_names_no_index(kind: str) -> None:
    assert "://" not in (LOCKS / f"{kind}.txt").read_text(encoding="utf-8")


def test_what_builds_the_package_is_locked_too() -> None:
    for kind in ("dev", "image"):
        assert set(BUILD) <= {requirement.partition("==")[0] for requirement in read(kind)}


def test_a_lock_has_what_the_project_asks_for() -> None:
    from importlib.metadata import requires

    asked = {re.match(r"[\w.-]+", one)[0].lower() for one in requires("windsor-sync") or () if "extra ==" not in one}  # type: ignore[index]
    for kind in ("dev", "image"):
        assert asked <= {requirement.partition("==")[0] for requirement in read(kind)}
