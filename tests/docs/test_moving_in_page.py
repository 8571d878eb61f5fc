"""The commands of docs/moving-in.md install the wheel into an Airflow that was there before, and change nothing there."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks_of

PAGE = ROOT / "docs" / "moving-in.md"
UV = [sys.executable, "-m", "uv", "--system-certs"]


def test_the_wheel_goes_into_an_airflow_that_was_there_before_and_changes_nothing_there(tmp_path: Path) -> None:
    uv = f"{sys.executable} -m uv --system-certs"
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")], check=True)
    base = [*UV, "pip", "install", "--quiet", "--python", str(python), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*base, "apache-airflow"], check=True, timeout=240)
    subprocess.run([*UV, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True, timeout=240)
    pip = python.with_name("pip")  # the fast one, for the test's sake
    pip.write_text(f'#!/bin/sh\ncommand=$1; shift\nexec {uv} pip "$command" --quiet --python {python} "$@"\n')
    pip.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    (block,) = [each for each in blocks_of(PAGE) if each.info == "console"]
    printed = ""
    for line in block.text.splitlines():
        if line.startswith("$ "):
            assert printed == ""
            done = subprocess.run(
                line[2:], shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
            )
            assert done.returncode in (0, 1 if "grep -c" in line else 0), done.stderr
            printed = done.stdout.strip()
        else:
            assert printed == line
            printed = ""
