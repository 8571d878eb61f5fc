"""`make matrix`: the tests of Airflow's parts, in an environment of its own for each release that is supported.

    python -m tests.matrix [--write] [RELEASE ...] [-- PYTEST ARGUMENTS]

Environments stay in .matrix/ for the next time. It prints a table, a row a release, and fails when a test does; `--write`
puts the table into the README. The oldest release runs with the oldest release of every library that pyproject.toml takes,
the newest one with the newest Python and libraries.
"""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
README = ROOT / "README.md"
TABLE = re.compile(r"(?<=<!-- make matrix -->\n).*?(?=\n<!-- end of it -->)", re.DOTALL)

OF_ITS_TIME = ("pydantic<2.13", "fastapi<0.130")
OF_3_2_2 = ("pydantic<2.13", "fastapi<0.136")
"""Airflow 3.2 breaks with newer ones, by itself."""

TESTS = ("tests/airflow", "tests/docs/test_airflow_page.py")
OF_LIBRARIES = (
    "tests/settings", "tests/contracts/test_ledger.py", "tests/contracts/test_state_opening.py",
    "tests/contracts/test_file_store.py", "tests/sources/test_table_of_types.py", "tests/sources/test_plan_frames.py",
    "tests/delivery/test_transport.py",
)  # fmt: skip
"""What the oldest libraries have to pass too: settings, the state, DataFrames, requests."""


@dataclass(frozen=True, slots=True)
class Row:
    """One environment: a release of Airflow on a Python, with libraries of its time."""

    release: str
    python: str
    libraries: tuple[str, ...] = ()
    is_oldest: bool = False

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return FOLDER / self.release

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests that it runs."""
        return (*TESTS, *OF_LIBRARIES) if self.is_oldest else TESTS


ROWS = (
    Row("3.2.0", "3.11", OF_ITS_TIME, is_oldest=True),
    Row("3.2.2", "3.12", OF_3_2_2),
    Row("3.3.0", "3.12"),
    Row("3.3.2", "3.13"),
)
COUNTED = ("passed", "failed", "error", "skipped")
SHOWN = ("pandas", "numpy", "sqlalchemy", "pydantic")


def uv(*arguments: str) -> None:
    """Run uv; raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=ROOT, check=True)


def environment(row: Row) -> Path:
    """Return the interpreter of an environment with this release of Airflow."""
    python = row.folder / "bin" / "python"
    ready = row.folder / "ready"
    if not ready.exists():
        uv("venv", "--quiet", "--clear", "--no-python-downloads", "--python", row.python, str(row.folder))
        install = ("pip", "install", "--quiet", "--python", str(python))
        if row.is_oldest:
            _install_oldest(row, install)
        else:
            uv(*install, f"apache-airflow=={row.release}", *row.libraries, "--group", "dev", "--editable", ".")
        ready.touch()
    return python


def _install_oldest(row: Row, install: tuple[str, ...]) -> None:
    """Take the oldest release of everything that pyproject.toml names, and whatever tools of development fit to it."""
    limits, oldest = row.folder / "limits.txt", row.folder / "oldest.txt"
    limits.write_text("\n".join((f"apache-airflow=={row.release}", *row.libraries)) + "\n")
    chosen = ("--resolution", "lowest-direct", "--constraints", str(limits), "--extra", "postgres", "--extra", "s3")
    uv("pip", "compile", "--quiet", "--python", row.python, *chosen, "--output-file", str(oldest), "pyproject.toml")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    tools = [re.split(r"[>=<;]", tool)[0].strip() for tool in groups["dev"] if isinstance(tool, str)]
    uv(*install, "--requirements", str(oldest), "--constraints", str(oldest), *tools)
    uv(*install, "--no-deps", "--editable", ".")


def libraries_of(python: Path) -> str:
    """Return the versions of the libraries that differ most between installations."""
    program = (
        f"from importlib.metadata import version; print(', '.join(f'{{one}} {{version(one)}}' for one in {SHOWN}))"
    )
    return subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def counts(row: Row, arguments: list[str]) -> dict[str, int]:
    """Run the tests on a release; returns how many ended in what way."""
    command = [str(environment(row)), "-m", "pytest", "-p", "no:cacheprovider", *(arguments or row.tests)]
    found = dict.fromkeys(COUNTED, 0)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            if re.search(r"\d+ \w+.* in [\d.]+s", line):
                found |= {
                    word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", line)
                }
    return found


def table(found: dict[Row, dict[str, int]]) -> str:
    """Return the results, a row a release."""
    lines = ["| Airflow | Python | with | " + " | ".join(COUNTED) + " |", "|---|---|---|" + "---|" * len(COUNTED)]
    for row, ended in found.items():
        numbers = " | ".join(str(ended[word]) for word in COUNTED)
        lines.append(f"| {row.release} | {row.python} | {libraries_of(environment(row))} | {numbers} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run every release that is named, or all of them."""
    own, _, for_pytest = " ".join(arguments).partition("-- ")
    named = [one for one in own.split() if one != "--write"]
    found = {row: counts(row, for_pytest.split()) for row in ROWS if not named or row.release in named}
    print(table(found))
    if "--write" in own.split():
        README.write_text(TABLE.sub(lambda _: table(found), README.read_text(encoding="utf-8")), encoding="utf-8")
    return int(any(ended["failed"] or ended["error"] or not ended["passed"] for ended in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
