"""The README's commands print what it shows, with the settings it shows."""

import os
import time
from collections.abc import Callable

import duckdb

from tests.docs.pages import ROOT, blocks_of, commands_of
from tests.docs.test_pages import Project, make_project
from tests.support.windsor import StartWindsor

__all__ = ["make_project"]


def test_the_readmes_own_audiences_are_synced_and_explained_as_it_shows(
    make_project: Callable[[], Project],
    start_windsor: StartWindsor,
) -> None:
    project = make_project()
    blocks = blocks_of(ROOT / "README.md")
    (settings,) = (block for block in blocks if block.language == "yaml")
    (project.folder / "windsor.yaml").write_text(settings.text, encoding="utf-8")
    for folder in ("order_completed", "total_revenue"):
        (project.folder / "snapshots" / folder).mkdir(parents=True)
    members = project.folder / "snapshots" / "order_completed" / "monday.csv"
    members.write_text("user_id,email\nana,ana@example.com\nben,\ncy,\n", encoding="utf-8")
    values = project.folder / "snapshots" / "total_revenue" / "monday.parquet"
    with duckdb.connect() as engine:
        rows = "(VALUES ('ana', 84.92), ('ben', 12)) t(user_id, value)"
        engine.execute(f"COPY (SELECT * FROM {rows}) TO '{values}' (FORMAT parquet)")
    five_hours_ago = time.time() - 5 * 3600
    for file in (members, values):
        os.utime(file, (five_hours_ago, five_hours_ago))
    windsor = start_windsor()
    project.environment |= {"WINDSOR_SYNC_DESTINATION__URL": windsor.url, "WINDSOR_API_KEY": windsor.api_key}
    ours, made = (block for block in blocks if block.language == "console" and block.illustration is None)
    assert [command for command, _ in commands_of(made)] == ["make demo"]  # held by tests/end_to_end
    project.console(ours)


def test_the_first_screen_of_the_readme_shows_one_claim_settings_and_three_commands() -> None:
    install, settings, commands, *_ = blocks_of(ROOT / "README.md")
    assert install.text.startswith("$ pip install ")
    assert settings.language == "yaml"
    assert len(settings.text.splitlines()) == 8
    assert len(commands_of(commands)) == 3
    assert commands.line + len(commands.text.splitlines()) < 45
