"""What comes of Segment's own samples, and of every shape an Engage download can take."""

import csv
import io
from pathlib import Path

import pytest
from sealing import Bench, read

from windsor_sync.errors import SnapshotError

SAMPLES = Path(__file__).parent / "samples"
TWO_MEMBERS = [
    (None, "anon_1", "luke@force.com\nchosen_one@force.com", None),
    (None, "anon_2", "green_master@force.com", None),
]
TWO_VALUES = [(None, "anon_1", "luke@force.com", "34"), (None, "anon_2", "green_master@force.com", "23")]


@pytest.mark.parametrize("sample", ["audience_csv_format_a.csv", "audience_csv_format_b.csv"])
def test_segments_audience_samples_are_two_members_each(bench: Bench, sample: str) -> None:
    assert bench.members(SAMPLES / sample, identify_by="anonymous_id", emails="all") == TWO_MEMBERS


def test_segments_hashed_sample_is_refused_with_the_reason(bench: Bench) -> None:
    with pytest.raises(SnapshotError, match=r"holds e-mails only .* choose user_id"):
        bench.seal(SAMPLES / "audience_csv_format_c.csv", identify_by="anonymous_id")


@pytest.mark.parametrize("sample", ["trait_csv_format_a.csv", "trait_csv_format_b.csv", "trait_csv_format_c.csv"])
def test_segments_trait_samples_are_two_values_each(bench: Bench, sample: str) -> None:
    options = {"identify_by": "anonymous_id", "wants_value": True, "value_of": "x"}
    assert bench.members(SAMPLES / sample, **options) == TWO_VALUES
    assert {row[2] for row in bench.members(SAMPLES / sample, emails="all", **options)} == {
        row[2] for row in TWO_MEMBERS
    }


def test_rows_for_further_ids_count_as_duplicates(bench: Bench) -> None:
    sealed = bench.seal(SAMPLES / "trait_csv_format_c.csv", identify_by="anonymous_id", wants_value=True, value_of="x")
    assert (sealed.rows_read, sealed.members, sealed.left_out["duplicate"]) == (3, 2, 1)


@pytest.mark.parametrize("sample", ["audience_csv_format_a.csv", "audience_csv_format_b.csv"])
def test_samples_without_user_ids_are_refused_unless_anonymous_ids_will_do(bench: Bench, sample: str) -> None:
    with pytest.raises(SnapshotError, match=r"none of its 2 rows has user_id.*identify_by: anonymous_id"):
        bench.seal(SAMPLES / sample)


def test_columns_may_stand_in_any_order_and_others_are_ignored(bench: Bench) -> None:
    header = "email_10,vip,email_1,user_id,ltv,email,email_2,key\n"
    path = bench.write(header + "k@x,true,b@x,u1,1.5,a@x,c@x,use_1\n")
    assert bench.members(path, emails="all") == [("u1", None, "a@x\nb@x\nc@x\nk@x", None)]


def test_emails_are_trimmed_and_ids_are_not(bench: Bench) -> None:
    path = bench.write('user_id,email\n u1 ,"\ta@x \n"\n')
    assert bench.members(path) == [(" u1 ", None, "a@x", None)]


def test_a_profile_with_several_user_ids_is_several_users(bench: Bench) -> None:
    formatted = bench.write("user_id,user_id_1,email\nu1,u2,a@x\nu3,,b@x\n")
    assert bench.user_ids(formatted) == ["u1", "u2", "u3"]
    unformatted = bench.write('key,external_ids\nk,"{""user_id"": [""u1"", ""u2""]}"\nk,"{""user_id"": ""u3""}"\n')
    sealed = bench.seal(unformatted)
    assert (sealed.rows_read, sealed.members) == (3, 3)


def test_ids_that_are_json_numbers_stay_as_they_are_written(bench: Bench) -> None:
    numbers = ["123", "1e5", "1.10", "-0", "12345678901234567890123", "1E400"]
    cells = [f'k,"{{""user_id"": [{number}], ""other"": ""1.0, 2""}}"\n' for number in numbers]
    assert bench.user_ids(bench.write("key,external_ids\n" + "".join(cells))) == sorted(numbers)
    lines = [f'{{"user_id": {number}, "note": "[1.0, 2"}}\n' for number in numbers]
    assert bench.user_ids(bench.write("".join(lines), "numbers.jsonl")) == sorted(numbers)


def test_typographic_quotation_marks_inside_texts_are_left_alone(bench: Bench) -> None:
    path = bench.write('key,external_ids\nk,"{""user_id"": [""“u1”""]}"\n')
    assert bench.user_ids(path) == ["“u1”"]


CELLS = {
    "34": "34",
    "-1.5": "-1.5",
    "450.00": "450",
    "1e5": "100000",
    "true": "true",
    "[1, 2]": "[1,2]",
    '{"a": "b"}': '{"a":"b"}',
    "00123": '"00123"',
    "Infinity": '"Infinity"',
    "[NaN]": '"[NaN]"',
    "[1,]": '"[1,]"',
    "True": "true",
    "1.": '"1."',
    ".5": '".5"',
    "+1": '"+1"',
    'say "hi"': '"say \\"hi\\""',
    "2024-06-01": '"2024-06-01"',
}


def test_a_cell_is_json_by_the_grammar_of_json_and_else_a_text(bench: Bench) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["user_id", "ltv"], *([cell, cell] for cell in CELLS)])
    members = bench.members(bench.write(text.getvalue()), wants_value=True, value_of="ltv")
    assert {row[0]: row[3] for row in members} == CELLS


@pytest.mark.parametrize("column", ["traits", "custom_traits", "whatever"])
def test_values_are_found_in_the_traits_column_whatever_its_name(bench: Bench, column: str) -> None:
    path = bench.write(f'key,{column},user_id\nk,"{{""a/b~c"": 450.0, ""x"": 1}}",u1\nk,"{{""x"": 2}}",u2\nk,,u3\n')
    sealed = bench.seal(path, wants_value=True, value_of="a/b~c")
    assert sealed.left_out["missing_value"] == 2
    assert read(sealed) == [("u1", None, None, "450")]


@pytest.mark.parametrize(
    "header", ["user_id,email", "user_id,email\n\n", "key,external_ids\r\n", "key,external_ids,traits\n", "user_id\n"]
)
def test_a_header_alone_is_an_empty_audience(bench: Bench, header: str) -> None:
    sealed = bench.seal(bench.write(header))
    assert (sealed.rows_read, sealed.members) == (0, 0)


def test_rows_may_leave_out_empty_numbered_cells_at_their_end(bench: Bench) -> None:
    path = bench.write("user_id,email,email_1,email_2\nu1,a@x\nu2,b@x,c@x\nu3,d@x,e@x,f@x\nu4,\n")
    assert [row[2] for row in bench.members(path, emails="last")] == ["a@x", "c@x", "f@x", None]


def test_a_few_malformed_rows_are_left_out_and_named_by_their_lines(bench: Bench) -> None:
    rows = [f"u{number},x@y\n" for number in range(5000)]
    rows[99], rows[2000] = "broken\n", "u,x,y\n"
    sealed = bench.seal(bench.write("user_id,email\n" + "".join(rows)))
    assert (sealed.members, sealed.left_out["malformed"], sealed.malformed_lines) == (4998, 2, (101, 2002))
    with pytest.raises(SnapshotError, match="2 of 5000 rows"):
        bench.seal(bench.write("user_id,email\n" + "".join(rows)), max_malformed_percent=0.01)
