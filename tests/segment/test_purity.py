"""The spec's words can be read anywhere: in a DAG file, in a notebook, in a process with nothing else installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IMPORT_EVERY_MODULE = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import windsor_sync.spec
for module in pkgutil.walk_packages(windsor_sync.segment.__path__, "windsor_sync.segment."):
    importlib.import_module(module.name)
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(roots - sys.stdlib_module_names))
print(*sorted(name for name in sys.modules if name.startswith("windsor_sync.")))
print(*sorted({"airflow", "httpx", "aiohttp", "sqlalchemy", "duckdb", "pandas", "pydantic"} & sys.modules.keys()))
"""


def in_a_bare_interpreter() -> list[set[str]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_EVERY_MODULE, str(ROOT)], capture_output=True, text=True, check=True
    )
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_the_spec_needs_the_standard_library_and_inflection_alone() -> None:
    roots, modules, forbidden = in_a_bare_interpreter()
    assert roots == {"windsor_sync", "inflection"}
    assert {f"windsor_sync.segment.{name}" for name in ("calls", "personas", "trait_keys")} <= modules
    assert all(name.startswith("windsor_sync.segment") for name in modules)
    assert forbidden == set()
