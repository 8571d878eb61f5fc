"""`make matrix`: the tests of Airflow's parts, in an environment of its own for each release that is supported.

    python -m tests.matrix [RELEASE ...] [-- PYTEST ARGUMENTS]

Environments stay in .matrix/ for the next time. It prints a table, a row a release, and fails when a test does.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"

OF_ITS_TIME = ("pydantic<2.13", "fastapi<0.130")
"""Airflow 3.2 breaks with newer ones; the constraints that it publishes say so too."""
RELEASES = {"3.2.0": OF_ITS_TIME, "3.2.2": OF_ITS_TIME, "3.3.0": (), "3.3.2": ()}
TESTS = ("tests/airflow", "tests/docs/test_airflow_page.py")
COUNTED = ("passed", "failed", "error", "skipped")


def environment(release: str) -> Path:
    """Return the interpreter of an environment with this release of Airflow."""
    folder = FOLDER / release
    python = folder / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        wanted = [f"apache-airflow=={release}", *RELEASES[release], "--group", "dev", "--editable", "."]
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *wanted], cwd=ROOT, check=True)
    return python


def counts(release: str, arguments: list[str]) -> dict[str, int]:
    """Run the tests on a release; returns how many ended in what way."""
    command = [str(environment(release)), "-m", "pytest", "-p", "no:cacheprovider", *(arguments or TESTS)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    found = dict.fromkeys(COUNTED, 0)
    last = next((line for line in reversed(done.stdout.splitlines()) if re.search(r"\d+ \w+.* in [\d.]+s", line)), "")
    for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", last):
        found[word] = int(number)
    return found


def main(arguments: list[str]) -> int:
    """Run every release that is named, or all of them."""
    own, _, for_pytest = " ".join(arguments).partition("-- ")
    rows = {release: counts(release, for_pytest.split()) for release in own.split() or RELEASES}
    print(f"| Airflow | {' | '.join(COUNTED)} |\n|---|{'---|' * len(COUNTED)}")
    for release, found in rows.items():
        print(f"| {release} | {' | '.join(str(found[word]) for word in COUNTED)} |")
    return int(any(found["failed"] or found["error"] or not found["passed"] for found in rows.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
