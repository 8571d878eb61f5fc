"""Every command of docs/moving.md does what the page says: with a real PostgreSQL and an object store that speaks S3."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT
from tests.docs.test_pages import Project, make_project, run_blocks
from tests.support.postgres import Postgres

__all__ = ["make_project"]

PAGE = ROOT / "docs" / "moving.md"


def test_an_installation_moves_as_the_page_says(
    make_project: Callable[[], Project],
    tmp_path: Path,
    postgres: Postgres,
    s3: Any,
) -> None:
    project = make_project()
    with postgres.nothing() as url:
        project.stands_for["postgresql://windsor@db.example/windsor"] = url.replace("+psycopg", "")
        run_blocks(PAGE, project, tmp_path)
    assert s3.find("acme/windsor")
