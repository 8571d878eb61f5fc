"""`airflow-setup --dags` puts the DAG files where Airflow looks for them."""

from pathlib import Path

from tests.cli.test_command_line import run

SHIPPED = {path.name: path.read_bytes() for path in (Path(__file__).parents[2] / "dags").glob("*.py")}


def test_the_dag_files_are_written_and_older_ones_replaced(tmp_path: Path) -> None:
    target = tmp_path / "dags"
    first = run("airflow-setup", "--dags", str(target), cwd=tmp_path)
    assert (first.status, first.out.count(": written")) == (0, len(SHIPPED))
    (target / "engage_audience_sync.py").write_text("# of an earlier version\n")
    (target / "theirs.py").write_text("# a DAG of their own\n")
    again = run("airflow-setup", "--dags", str(target), cwd=tmp_path)
    assert (again.out.count(": replaced"), again.out.count(": unchanged")) == (1, len(SHIPPED) - 1)
    assert {path.name: path.read_bytes() for path in target.glob("*.py")} == SHIPPED | {
        "theirs.py": b"# a DAG of their own\n"
    }


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("airflow-setup", "--dags", str(tmp_path / "file" / "dags"), cwd=tmp_path)
    assert (ran.status, "Name a folder in which this user may write" in ran.err) == (2, True)
