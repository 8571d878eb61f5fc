"""The README says on which releases of Airflow the tests ran, and no other than those that `make matrix` runs."""

import re
import tomllib
from pathlib import Path

from tests.matrix import README, ROWS, TABLE

ROOT = Path(__file__).parents[2]


def test_the_table_of_releases_is_that_of_a_matrix_without_a_failure() -> None:
    found = TABLE.search(README.read_text(encoding="utf-8"))
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()[2:]]
    ran = [(release, python) for release, python, *_ in rows]
    known = [(row.release, row.python) for row in ROWS]
    assert {known[0], known[-1]} <= set(ran) <= set(known)
    for _, _, _, passed, failed, error, _ in rows:
        assert (int(passed) > 100, failed, error) == (True, "0", "0")


def test_the_oldest_release_of_the_matrix_is_the_oldest_that_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (airflow,) = [one for one in project["dependencies"] if one.startswith("apache-airflow")]
    assert airflow == "apache-airflow>=" + re.sub(r"\.0$", "", ROWS[0].release)
    assert project["requires-python"] == f">={ROWS[0].python}"
