"""Lists of users and look-ups: what a person may have, in cells that no spreadsheet runs, with who asked in the audit trail."""

import csv
import io

import pytest

from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.report.people import changes_csv, look_up, members_csv
from windsor_sync.sandbox import Faults
from windsor_sync.state.audit_log import trailed
from windsor_sync.state.suppressions import hash_in_use, suppress_for_good
from windsor_sync.usecases.forget import forget

FORMULAS = ["=1+1", "+49", "-2+3", "@sum", "00123", 'plain,"quoted"', "zoë"]


def rows(pieces: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(pieces), newline="")))  # type: ignore[call-overload]


def test_a_list_has_every_user_as_text_and_no_formula(company: World) -> None:
    company.snapshot(FORMULAS)
    company.sync()
    audience_id = company.workspace.registry.known()[0].id
    found = {row["user_id"] for row in rows(members_csv(company.workspace, audience_id, KEY, who="ana"))}
    assert found == {"'=1+1", "+49", "'-2+3", "'@sum", "00123", 'plain,"quoted"', "zoë"}


def test_changes_have_their_fate_and_rejected_ones_windsors_words(company: World) -> None:
    company.windsor.set_faults(Faults(rejected_users=frozenset({"b"})))
    company.values({"a": -12.5, "b": 7})
    run = company.sync(TRAIT_KEY)
    changes = rows(changes_csv(company.workspace, run, who="ana"))
    assert {(row["user_id"], row["value"], row["fate"]) for row in changes} == {
        ("a", "-12.5", "delivered"),
        ("b", "7", "rejected"),
    }
    (row,) = rows(changes_csv(company.workspace, run, who="ana", only="rejected"))
    assert (row["user_id"], row["code"]) == ("b", "400")
    assert row["windsors_message"]
    again = company.sync(TRAIT_KEY)
    assert again.books.rejected == 1
    assert [row["user_id"] for row in rows(changes_csv(company.workspace, again, who="ana", only="rejected"))] == ["b"]


@pytest.mark.parametrize("is_allowed", [False, True])
def test_an_email_is_looked_up_where_the_installation_allows_it(company: World, is_allowed: bool) -> None:
    company.document["page"] = {"look_up_by_email": is_allowed}
    company.reopen()
    company.snapshot({"ana": "Ana@Example.com", "ben": "ben@example.com"})
    company.sync()
    ((user, accounts),) = look_up(company.workspace, "ana@example.com", who="cleo")
    assert user == ("ana" if is_allowed else "ana@example.com")
    assert accounts[0].is_in_snapshot is is_allowed
    (entry,) = trailed(company.workspace.database, "look up user", "a user")
    assert (entry.who, "ana" in str(entry.details)) == ("cleo", False)


def test_a_forgotten_user_is_in_no_list(company: World) -> None:
    company.snapshot(["ana", "ben"])
    run = company.sync()
    forget(company.workspace, "ben", who="ana", why=None)
    assert [row["user_id"] for row in rows(changes_csv(company.workspace, run, who="ana"))] == ["ana"]


def test_an_anonymous_id_that_is_suppressed_is_in_no_list(company: World) -> None:
    company.document["defaults"]["identify_by"] = "anonymous_id"
    folder = company.folder / "snapshots" / "audience"
    folder.mkdir(parents=True)
    (folder / "one.csv").write_text("user_id,anonymous_id\nana,a-1\nben,b-1\nben,b-2\n,c-1\n,c-2\n")
    run = company.sync()
    audience_id = company.workspace.registry.known()[0].id
    database = company.workspace.database
    hashed = hash_in_use(database).of
    with database.write() as connection:  # as a suppression of Segment's does, which purges nothing
        suppress_for_good(connection, [hashed("b-2"), hashed("c-2")])
    changes = rows(changes_csv(company.workspace, run, who="ana"))
    assert {row["user_id"] or row["anonymous_id"] for row in changes} == {"ana", "ben", "c-1"}
    members = rows(members_csv(company.workspace, audience_id, KEY, who="ana"))
    assert {(row["user_id"], row["anonymous_id"]) for row in members} == {("ana", "a-1"), ("ben", "b-1"), ("", "c-1")}
