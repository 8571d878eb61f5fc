"""`make demo` does what the README shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^ ?\d{4}-\d\d-\d\d +(?:order_completed\w*|total_revenue\w*|[\d,]+) .*$", re.MULTILINE)


def demo(folder: Path, days: int) -> str:
    """What a demo without a terminal prints."""
    command = [sys.executable, "-m", "windsor_sync.cli", "demo", "--folder", str(folder), "--days", str(days)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(text: str) -> list[str]:
    return [" ".join(row.split()) for row in ROW.findall(text)]


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    printed = demo(tmp_path / "demo", days=4)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = rows_of(readme)
    assert len(rows_of(printed)) == 12
    assert shown == [row for row in rows_of(printed) if row in shown] != []
    checked = [line for line in printed.splitlines() if line.startswith("Checked: ")]
    assert len(checked) == 2
    assert checked[1] in " ".join(readme.split())
    assert "Look: " in printed


@pytest.mark.thorough
def test_the_demo_can_be_run_again(tmp_path: Path) -> None:
    printed = demo(tmp_path / "demo", days=2)
    again = demo(tmp_path / "demo", days=1)
    assert rows_of(again) == rows_of(printed)[:2] + rows_of(printed)[4:5] != []


def test_the_demo_leaves_a_folder_of_yours_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    command = [sys.executable, "-m", "windsor_sync.cli", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "was left alone" in done.stderr
    assert (tmp_path / "precious.txt").read_text() == "mine"
