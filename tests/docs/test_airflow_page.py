"""What docs/airflow.md says about other people's software is there in the version we use."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.pages import blocks_of
from windsor_sync.settings import describe

PAGE = Path(__file__).parents[2] / "docs" / "airflow.md"
OPTIONS = """
import sys
from airflow.configuration import conf
print([name for name in sys.argv[1:] if not conf.has_option(*name.lower().split("__")[1:])])
"""


def test_every_option_of_airflow_exists(tmp_path: Path) -> None:
    names = sorted(set(re.findall(r"AIRFLOW__[A-Z]+__[A-Z_]+[A-Z]", PAGE.read_text(encoding="utf-8"))))
    assert len(names) > 1
    done = subprocess.run(
        [sys.executable, "-c", OPTIONS, *names],
        env={"AIRFLOW_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_helm_values_set_variables_that_exist_and_hold_no_secret() -> None:
    (block,) = [block for block in blocks_of(PAGE) if block.argument == "values.yaml"]
    values = yaml.safe_load(block.text)
    assert set(values) == {"airflowVersion", "executor", "images", "env", "secret"}
    assert f"FROM apache/airflow:{values['airflowVersion']}-" in PAGE.read_text(encoding="utf-8")
    named = [each.get("name") or each["envName"] for each in values["env"] + values["secret"]]
    known = {row["variable"] for row in describe()} | {"WINDSOR_SYNC_CONFIG"}
    assert [name for name in named if name.startswith("WINDSOR_SYNC_") and name not in known] == []
    assert {"WINDSOR_SYNC_STATE", "AIRFLOW_CONN_WINDSOR_DEFAULT"} == {each["envName"] for each in values["secret"]}
