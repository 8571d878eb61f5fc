"""The rooms of the package: each imports only rooms below it, and the two lowest need nearly nothing."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "windsor_sync"
NOT_ALLOWED = re.compile(r"^windsor_sync\.(\w+) is not allowed to import windsor_sync\.(\w+):$", re.MULTILINE)
MOST_LOOSE_MODULES = 4


def layers() -> list[list[str]]:
    """The rooms, highest first; those of one layer do not import each other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def against_the_direction() -> set[tuple[str, str]]:
    """Every (importer, imported) that the contract forbids."""
    upwards = {(low, high) for above, below in combinations(layers(), 2) for high in above for low in below}
    beside = {pair for layer in layers() for one in layer for other in layer if one != other for pair in [(one, other)]}
    return upwards | beside


def test_the_linter_finds_every_import_against_the_direction(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "windsor_sync", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    forbidden = against_the_direction()
    for importer, imported in forbidden:
        room = tmp_path / "windsor_sync" / importer
        module = room.with_suffix(".py") if room.with_suffix(".py").exists() else room / f"against_{imported}.py"
        with module.open("a", encoding="utf-8") as file:
            file.write(f"\nimport windsor_sync.{imported}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert set(NOT_ALLOWED.findall(done.stdout)) == forbidden


def test_every_room_has_its_layer_and_hardly_a_module_lies_loose() -> None:
    loose = [path.stem for path in PACKAGE.glob("*.py")]
    rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    named = {room for layer in layers() for room in layer}
    assert named == {*rooms, *loose} - {"__init__"}
    assert len(loose) <= MOST_LOOSE_MODULES


def test_segments_rules_and_our_own_nouns_need_the_standard_library_and_inflection(tmp_path: Path) -> None:
    inflection = find_spec("inflection")
    assert inflection is not None
    assert inflection.origin is not None
    shutil.copytree(Path(inflection.origin).parent, tmp_path / "inflection")
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for room in ("segment", "domain")
        for path in (PACKAGE / room).rglob("*.py")
    ]
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        f"for name in {modules!r}: __import__(name)\n"
        "strange = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__'}\n"
        "assert strange <= {'windsor_sync', 'inflection'}, strange\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(modules) > 10


def test_no_two_modules_define_one_public_name() -> None:
    defined: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if "migrations" not in path.parts:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                    defined.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


WAREHOUSE = {
    "sources/warehouse.py",
    "sources/warehouse_deadline.py",
    "sources/warehouse_errors.py",
    "sources/warehouse_schemas.py",
    "sources/warehouse_session.py",
    "usecases/export_targets.py",
}
"""Modules that speak SQL to databases of other people."""


def imports_of(path: Path) -> set[str]:
    """The modules and names that a module imports, wherever it does; `if TYPE_CHECKING` counts too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def importers_of(module: str) -> set[str]:
    """The modules of the package that import a module or something in it, below the package's folder."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(f"{name}.".startswith(f"{module}.") for name in imports_of(path))
    }


def test_only_the_room_of_the_state_puts_sql_to_our_own_tables() -> None:
    state = {path for path in importers_of("sqlalchemy") if path.startswith("state/")}
    assert importers_of("sqlalchemy") - state == WAREHOUSE | {"airflow/warehouse.py"}
    assert {path for path in importers_of("windsor_sync.state.tables") if not path.startswith("state/")} == set()
    assert len(state) > 10


READS_PEOPLE = {
    "sources",
    "snapshots",
    "diff",
    "outbox",
    "events",
    "storage",
    "persons",
    "usecases/why.py",
    "usecases/change_log.py",
    "usecases/export_log.py",
}
"""Rooms in which rows of people are read or compared, and two modules: the embedded engine is asked nowhere else."""


def test_only_rooms_that_read_rows_of_people_ask_the_embedded_engine() -> None:
    asking = importers_of("duckdb") | importers_of("windsor_sync.storage.duckdb_engine")
    assert {path for path in asking if not READS_PEOPLE & {path, path.partition("/")[0]}} == set()
