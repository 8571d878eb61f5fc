"""Variables reach into the lists of audiences and computed traits, so that several environments share one file."""

from datetime import timedelta
from pathlib import Path

import pytest
from settings_folder import URL, Folder

FILE = f"""{URL}audiences:
  - name: VIP Customers
    trait: vip
    snapshot: {{path: "vip/*.jsonl", columns: {{user_id: customer}}}}
  - name: Order Completed Last 30days
    snapshot: {{query: select 1, connection: warehouse}}
computed_traits:
  - {{name: Revenue, on_missing: null, snapshot: {{path: revenue.csv}}}}
"""


def test_a_variable_sets_the_field_of_the_audience_that_it_names_by_key_or_name(folder: Folder) -> None:
    settings = folder.load(
        FILE,
        {
            "WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__PATH": "s3://staging/vip.parquet",
            "WINDSOR_SYNC_AUDIENCES__VIP_CUSTOMERS__SNAPSHOT__COLUMNS__USER_ID": "id",
            "WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__MAX_AGE": "null",
            "WINDSOR_SYNC_AUDIENCES__VIP__MAX_EXITED_PERCENT": "5",
            "WINDSOR_SYNC_AUDIENCES__ORDER_COMPLETED_LAST_30DAYS__SNAPSHOT__CONNECTION": "staging",
            "WINDSOR_SYNC_AUDIENCES__ORDER_COMPLETED_LAST_30DAYS__ENABLED": "false",
            "WINDSOR_SYNC_COMPUTED_TRAITS__REVENUE__SNAPSHOT__PATH": "staging.csv",
        },
    )
    vip, orders = settings.audiences
    assert (vip.snapshot.path, vip.snapshot.columns["user_id"]) == ("s3://staging/vip.parquet", "id")
    assert (vip.snapshot.max_age, vip.max_exited_percent) == (None, 5.0)
    assert (orders.snapshot.connection, orders.enabled, orders.snapshot.max_age) == (
        "staging",
        False,
        timedelta(hours=36),
    )
    assert Path(settings.computed_traits[0].snapshot.path or "") == folder.file.parent / "staging.csv"
    assert settings.computed_traits[0].sends_null_when_missing


def test_a_variable_gives_what_the_file_leaves_out(folder: Folder) -> None:
    text = URL + "audiences: [{name: VIP}]\ncomputed_traits: [{name: Revenue, snapshot: {path: r.csv}}]\n"
    settings = folder.load(
        text,
        {
            "WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__PATH": "vip.csv",
            "WINDSOR_SYNC_COMPUTED_TRAITS__REVENUE__ON_MISSING": "null",
        },
    )
    assert Path(settings.audiences[0].snapshot.path or "") == folder.file.parent / "vip.csv"
    assert settings.computed_traits[0].sends_null_when_missing


def test_null_takes_words_out_and_is_no_word_itself(folder: Folder) -> None:
    text = (
        FILE.replace("destination: {", "destination: {name: crm, ") + "approval: {approvers: [ana]}\nfiles: elsewhere\n"
    )
    assert "name: crm" in text
    names = ("DESTINATION__NAME", "APPROVAL__APPROVERS", "FILES", "AUDIENCES__VIP__SNAPSHOT__COLUMNS__USER_ID")
    for null in ("null", "~"):
        found = folder.load(text, {f"WINDSOR_SYNC_{name}": null for name in names})
        usual = folder.load(FILE.replace("columns: {user_id: customer}", "columns: {}"), {})
        assert (found.destination.name, found.approval.approvers, found.files) == (
            usual.destination.name,
            (),
            usual.files,
        )
        assert found.audiences[0].snapshot.columns == {}
    (mistake,) = folder.mistakes(FILE, {"WINDSOR_SYNC_AUDIENCES__VIP__NAME": "null"})
    assert "found nothing" in mistake


def test_an_empty_variable_changes_no_audience(folder: Folder) -> None:
    settings = folder.load(FILE, {"WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__PATH": ""})
    assert Path(settings.audiences[0].snapshot.path or "") == folder.file.parent / "vip/*.jsonl"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "AUDIENCES__VIPS__ENABLED",
            "no",
            "found the audience VIPS, which the file does not have; expected one that the",
        ),
        ("AUDIENCES__VIPS__ENABLED", "no", "(did you mean VIP?)"),
        ("AUDIENCES__REVENUE__ENABLED", "no", "found the audience REVENUE, which the file does not have"),
        (
            "AUDIENCES__VIP__SNAPSHOT__PHAT",
            "x",
            "the key SNAPSHOT__PHAT, which sets nothing; expected another (did you mean SN",
        ),
        ("AUDIENCES__VIP__SNAPSHOT", "x", "found the key SNAPSHOT, which sets nothing"),
        ("AUDIENCES__VIP__SNAPSHOT__COLUMNS__NAME", "x", "found the key SNAPSHOT__COLUMNS__NAME, which sets nothing"),
        ("AUDIENCES__VIP__ENABLED", "si", "audiences['VIP Customers'].enabled: found 'si'; expected"),
        ("AUDIENCES__VIP__SNAPSHOT__PASSWORD", "canary", "a credential does not belong here (its value is not shown)"),
        (
            "AUDIENCES__VIP",
            "x",
            "found a variable that sets nothing; expected WINDSOR_SYNC_AUDIENCES__<TRAIT KEY OR NAME>",
        ),
        (
            "AUDIENCES",
            "x",
            "found a variable that sets nothing; expected WINDSOR_SYNC_AUDIENCES__<TRAIT KEY OR NAME>__<KEY>",
        ),
        ("COMPUTED_TRAITS__LTV__ENABLED", "no", "found the computed trait LTV, which the file does not have"),
    ],
)
def test_a_variable_that_reaches_nothing_is_named_with_what_is_near(
    folder: Folder, variable: str, value: str, expected: str
) -> None:
    (mistake,) = folder.mistakes(FILE, {f"WINDSOR_SYNC_{variable}": value})
    assert mistake.startswith(f"WINDSOR_SYNC_{variable}")
    assert expected in mistake
    assert "canary" not in mistake


def test_a_word_that_means_two_audiences_is_refused(folder: Folder) -> None:
    audiences = "[{name: A+, trait: b, snapshot: {path: a.csv}}, {name: A-, trait: c, snapshot: {path: b.csv}}]"
    (mistake,) = folder.mistakes(f"{URL}audiences: {audiences}\n", {"WINDSOR_SYNC_AUDIENCES__A__ENABLED": "no"})
    assert "found A, which means 2 of audiences; expected a word that means one" in mistake


def test_a_word_that_is_one_audience_s_key_and_another_one_s_name_is_refused(folder: Folder) -> None:
    gold, silver = (
        "{name: VIP, trait: gold, snapshot: {path: a.csv}}",
        "{name: Silver, trait: vip, snapshot: {path: b.csv}}",
    )
    (mistake,) = folder.mistakes(
        f"{URL}audiences: [{gold}, {silver}]\n", {"WINDSOR_SYNC_AUDIENCES__VIP__SNAPSHOT__PATH": "c.csv"}
    )
    assert "found VIP, which means 2 of audiences; expected a word that means one" in mistake
    settings = folder.load(
        f"{URL}audiences: [{gold}, {silver}]\n", {"WINDSOR_SYNC_AUDIENCES__SILVER__SNAPSHOT__PATH": "c.csv"}
    )
    assert [Path(each.snapshot.path or "").name for each in settings.audiences] == ["a.csv", "c.csv"]


def test_variables_for_a_file_without_audiences_say_so(folder: Folder) -> None:
    (mistake,) = folder.mistakes(URL, {"WINDSOR_SYNC_AUDIENCES__VIP__ENABLED": "no"})
    assert "expected audiences in the file, to which a variable can give values" in mistake


@pytest.mark.parametrize("audiences", ["no list", "[no section, 3]", "{name: VIP}", "[{name: [VIP]}]"])
def test_a_list_that_is_wrong_stays_one_mistake_whatever_variables_say(folder: Folder, audiences: str) -> None:
    mistakes = folder.mistakes(f"{URL}audiences: {audiences}\n", {"WINDSOR_SYNC_AUDIENCES__VIP__ENABLED": "no"})
    assert any(mistake.startswith("windsor.yaml:2") for mistake in mistakes)
