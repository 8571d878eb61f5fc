"""What Windsor echoes of a user is taken out of its words, however it spells it."""

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from windsor_sync.delivery.redaction import LONGEST, PLACEHOLDER, SHORT, redacted

SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    html.escape,
    lambda value: json.dumps(value)[1:-1],
    lambda value: quote(value, safe=""),
    lambda value: value.replace(" ", "\n\t "),
]

PRIVATE = st.text(st.characters(codec="utf-8", exclude_characters=PLACEHOLDER), min_size=SHORT, max_size=40)


def plain(text: str) -> str:
    """A value on one line, as it could be read in a message."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


@given(private=st.lists(PRIVATE, min_size=1, max_size=4), words=st.lists(st.text(max_size=30)), data=st.data())
def test_no_private_value_survives(private: list[str], words: list[str], data: st.DataObject) -> None:
    assume(all(len(plain(value)) >= SHORT for value in private))
    echoes = [data.draw(st.sampled_from(SPELLINGS))(value) for value in private]
    text = data.draw(st.sampled_from(["", " ", '"', ": "])).join(data.draw(st.permutations(words + echoes)))
    left = redacted(text, private) or ""
    assert not [value for value in private if plain(value) in left]


@given(value=st.text("abc123.é-", min_size=1, max_size=3), before=st.sampled_from([" ", '"', "(", "="]))
def test_a_short_value_does_not_survive_where_it_stands_alone(value: str, before: str) -> None:
    assert redacted(f"user{before}{value} is unknown", [value]) == f"user{before}{PLACEHOLDER} is unknown"


def test_a_short_value_is_left_alone_inside_of_words() -> None:
    assert redacted("error 410: no field id", ["1", "ie", "d"]) == "error 410: no field id"


@pytest.mark.parametrize(
    ("value", "echo"),
    [
        ('"gold"', "tier gold is unknown"),
        ('["gold", {"a": "blue"}]', "gold or blue?"),
        ("1234.5", "value 1234.5 is too large"),
    ],
)
def test_a_computed_value_is_taken_out_without_its_json_quotes_too(value: str, echo: str) -> None:
    left = redacted(echo, [value]) or ""
    assert not [word for word in ("gold", "blue", "1234") if word in left]


@given(st.text(max_size=600))
def test_what_is_left_is_one_line_that_every_terminal_and_database_takes(text: str) -> None:
    left = redacted(text, []) or ""
    assert len(left) <= LONGEST
    assert left.isprintable()
    left.encode()


@given(st.integers(0, LONGEST + 20))
def test_a_value_that_the_cut_would_halve_leaves_no_half(padding: int) -> None:
    left = redacted("x" * padding + " customer-4711-a", ["customer-4711-a"]) or ""
    assert "cust" not in left


@pytest.mark.parametrize(
    "text",
    ["no user ana@example.com here", "no user 'ana.b+c@mail.example.org' here", "no number +49 (30) 123-456-78 here"],
)
def test_other_peoples_addresses_and_numbers_go_too(text: str) -> None:
    left = redacted(text, []) or ""
    assert not [word for word in ("ana", "example", "30", "123", "78") if word in left]
    assert left.startswith("no ")
    assert left.endswith(" here")


def test_words_without_anything_private_stay_as_they_are() -> None:
    assert redacted("traits.vip must be a boolean (400)", ["user-1", None, ""]) == "traits.vip must be a boolean (400)"
    assert redacted(None, ["user-1"]) is None


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a@" * 500_000, "1 " * 500_000, "@" * 1_000_000])
def test_words_without_an_end_take_no_time(text: str) -> None:
    began = time.thread_time()
    redacted(text, ("user-1", "somebody@example.com"))
    assert time.thread_time() - began < 0.2
