"""The report of a company with more audiences than one page of the list holds."""

import re
from html import unescape

import pytest
from sqlalchemy import insert

from tests.support.world import AUDIENCE, World
from windsor_sync.report import document
from windsor_sync.report.document import report
from windsor_sync.report.views import AUDIENCES_A_PAGE
from windsor_sync.state.tables import audiences

MORE = AUDIENCES_A_PAGE + 3
CUT = "There are more audiences than this report shows; the page in Airflow has them all."


@pytest.fixture
def large(company: World) -> World:
    """103 audiences that have been registered."""
    database, name = company.workspace.database, company.workspace.settings.destination.name
    with database.write() as connection:
        moment = database.now(connection)
        rows = [
            {"destination": name, "trait_key": f"key_{number:03}", "name": f"Audience {number:03}"}
            | {"computation_class": "audience", "created_at": moment}
            for number in range(MORE)
        ]
        connection.execute(insert(audiences), rows)
    return company


def words_of(page: str) -> str:
    """What a person reads."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_more_audiences_than_a_page_holds_are_all_in_the_report(large: World) -> None:
    words = words_of(report(large.workspace))
    assert not [number for number in range(MORE) if f"Audience {number:03}" not in words]
    assert (words.count("Not synced yet"), AUDIENCE in words, CUT in words) == (1, True, False)


def test_a_report_that_ends_before_the_last_audience_says_so(large: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_AUDIENCES", AUDIENCES_A_PAGE)
    words = words_of(report(large.workspace))
    assert ("Audience 099" in words, "Audience 100" in words, CUT in words) == (True, False, True)
