"""Every source makes the same snapshot of the same members."""

import pytest
from formats import FORMATS, Format, Member
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import Bench, read

MEMBERS = (
    Member("00123", ("first@example.com",)),
    Member("NA", ()),
    Member(" padded ", ("padded@example.com",)),
    Member('quoted "id", with a comma\nand a new line', ("x@example.com",)),
    Member("😀", ("emoji@example.com",)),
)
TRAITS = (
    Member("u1", ("u1@example.com",), "450"),
    Member("u2", (), "-0.5"),
    Member("u3", (), "true"),
    Member("u4", (), '"most viewed"'),
    Member("u5", (), '["a","b"]'),
    Member("u6", (), '{"a":1}'),
    Member("u7", (), '"00123"'),
    Member("u8", (), '"NaN"'),
)

ONE_EMAIL_A_USER = ("plain_csv", "engage_tables")
"""What has a single column for it."""

every_format = pytest.mark.parametrize("format", FORMATS, ids=str)


@every_format
def test_members_are_the_same_from_every_source(bench: Bench, format: Format) -> None:
    expected = [(member.user_id, None, (*member.emails, None)[0], None) for member in MEMBERS]
    sealed = bench.seal(format.write(bench.folder / "members", MEMBERS))
    assert read(sealed) == sorted(expected, key=repr)
    assert (sealed.rows_read, sealed.members, sum(sealed.left_out.values())) == (5, 5, 0)


@every_format
def test_values_are_the_same_json_from_every_source(bench: Bench, format: Format) -> None:
    source = format.write(bench.folder / "values", TRAITS)
    found = {row[0]: row[3] for row in bench.members(source, wants_value=True)}
    assert found == {member.user_id: member.value for member in TRAITS if member.value != '"NaN"'}


@pytest.mark.parametrize("format", [format for format in FORMATS if format.name not in ONE_EMAIL_A_USER], ids=str)
def test_several_emails_are_found_in_their_order(bench: Bench, format: Format) -> None:
    members = (Member("u1", ("b@x.org", "a@x.org", "c@x.org")), Member("u2", ("z@x.org",)), Member("u3"))
    emails = {}
    for choice in ("first", "last", "all"):
        source = format.write(bench.folder / "emails", members)
        emails[choice] = {row[0]: row[2] for row in bench.members(source, emails=choice)}
    assert emails["first"] == {"u1": "b@x.org", "u2": "z@x.org", "u3": None}
    assert emails["last"] == {"u1": "c@x.org", "u2": "z@x.org", "u3": None}
    assert emails["all"] == {"u1": "b@x.org\na@x.org\nc@x.org", "u2": "z@x.org", "u3": None}


@pytest.mark.parametrize("format", [format for format in FORMATS if format.name != "json_lines"], ids=str)
def test_an_empty_audience_is_a_snapshot_without_members(bench: Bench, format: Format) -> None:
    sealed = bench.seal(format.write(bench.folder / "empty", ()))
    assert (sealed.rows_read, sealed.members) == (0, 0)


@every_format
def test_a_row_without_a_value_is_left_out_of_a_computed_trait(bench: Bench, format: Format) -> None:
    members = (Member("u1", (), "1"), Member("u2", (), None))
    sealed = bench.seal(format.write(bench.folder / "missing", members), wants_value=True)
    assert (sealed.rows_read, sealed.members, sealed.left_out["missing_value"]) == (2, 1, 1)


NASTY_TEXTS = ("00123", "NA", "null", "nan", "None", "1e5", "1.0", "TRUE", '"', '""', ",", "\n", "\r\n", "\r", " x ", "\t",
               "“q”", "😀", "a\\b", "{", "[1]", "'", "a,\"b\"\nc", "\ufeff", "-0", "\u2028")  # fmt: skip
ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
) | st.sampled_from(NASTY_TEXTS)


@every_format
@settings(max_examples=6, deadline=None)
@given(user_ids=st.lists(ids, min_size=1, max_size=20, unique=True))
def test_ids_are_text_to_the_letter(shared_bench: Bench, format: Format, user_ids: list[str]) -> None:
    source = format.write(shared_bench.folder / f"ids_{format}", [Member(user_id) for user_id in user_ids])
    assert shared_bench.user_ids(source) == sorted(user_ids, key=lambda text: repr((text,)))
