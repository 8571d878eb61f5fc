"""What contributors are promised: one set of linters, whichever way they start."""

import re
import tomllib
from pathlib import Path

import yaml

from deploy.lock import KINDS
from tests.docs.pages import DOCUMENTS

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^\t@?\$\(BIN\)/(\S+(?: check| format)?)", re.MULTILINE)


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def test_a_commit_is_linted_with_what_make_lint_uses() -> None:
    lint = makefile().split("\nlint:")[1].split("\n\n")[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    for program in PROGRAM.findall(lint):
        assert any(entry.startswith(program) for entry in entries), program


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", makefile(), re.MULTILINE))
    named = {
        word for page in DOCUMENTS for word in re.findall(r"(?:`|\$ )make ([\w-]+)", page.read_text(encoding="utf-8"))
    }
    assert {"demo", "test", "docs"} <= named
    assert named <= targets


def test_development_installs_groups_and_extras_that_there_are() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    recipes = makefile() + (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    locked = [option for kind in KINDS.values() for option in kind]
    declared_groups = declared["dependency-groups"]
    included = {part["include-group"] for group in declared_groups.values() for part in group if isinstance(part, dict)}
    groups = {one.removeprefix("--group=") for one in locked if one.startswith("--group=")} | included
    extras = {one.removeprefix("--extra=") for one in locked if one.startswith("--extra=")}
    installed = set(re.findall(r"-r locks/(\w+)\.txt", recipes)) | {"dev", "spark"}
    assert re.search(r"^LOCKS \?= dev$", recipes, re.MULTILINE)
    assert 'LOCKS="dev spark"' in recipes
    assert installed | {"image"} == set(KINDS)
    assert groups == set(declared_groups)
    assert {"spark", "celery"} <= extras <= set(declared["project"]["optional-dependencies"])
