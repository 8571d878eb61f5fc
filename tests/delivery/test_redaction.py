"""What Windsor echoes of a user is taken out of its words, however it spells it."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.clocks import seconds
from windsor_sync.delivery.redaction import LONGEST, LOOKED_AT, PLACEHOLDER, SHORT, redacted

SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    html.escape,
    lambda value: json.dumps(value)[1:-1],
    lambda value: quote(value, safe=""),
    lambda value: quote(quote(value, safe=""), safe=""),
    lambda value: "".join(f"%{octet:02x}" for octet in value.encode()),
    lambda value: "".join(f"&#{ord(character)};" for character in value),
    lambda value: "".join(f"&#X{ord(character):x};" for character in value),
    lambda value: "".join(f"\\u{unit:04x}" for unit in units(value)),
    lambda value: json.dumps(quote(html.escape(value), safe="")),
    lambda value: value.replace(" ", "\n\t "),
]

PRIVATE = st.text(st.characters(codec="utf-8", exclude_characters=PLACEHOLDER), min_size=SHORT, max_size=40)


def units(text: str) -> list[int]:
    """As JavaScript counts characters."""
    octets = text.encode("utf-16-be")
    return [int.from_bytes(octets[place : place + 2]) for place in range(0, len(octets), 2)]


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


WRAPPED: list[Callable[[bytes], str]] = [
    bytes.hex,
    lambda octets: octets.hex().upper(),
    lambda octets: base64.b64encode(octets).decode(),
    lambda octets: base64.urlsafe_b64encode(octets).decode().rstrip("="),
]


@given(
    value=st.sampled_from(["ana@example.com", "customer-4711", "Zoë Ångström", "??>>~~ÿÿ"]),
    wrap=st.sampled_from(WRAPPED),
    before=st.sampled_from([b"", b"{", b'{"', b"user="]),
)
def test_a_value_in_hex_or_base64_is_found_wherever_it_stands_in_it(
    value: str, wrap: Callable[[bytes], str], before: bytes
) -> None:
    left = redacted(f"no user {wrap(before + value.encode() + b' x')} here", [value]) or ""
    core = wrap(value.encode()).rstrip("=")[:-2]
    assert PLACEHOLDER in left
    assert core not in left
    assert left.startswith("no user ")
    assert left.endswith(" here")


@pytest.mark.parametrize(
    "echo",
    [
        "ana%40example.com",
        "ana&#64;example.com",
        "ana&commat;example.com",
        r"ana\u0040example.com",
        "ana%2540example.com",
    ],
)
def test_other_peoples_addresses_go_however_their_at_sign_is_written(echo: str) -> None:
    assert redacted(f"no user {echo} here", []) == f"no user {PLACEHOLDER} here"


def test_what_the_end_of_what_is_looked_at_cuts_is_private_too() -> None:
    """The values before it leave room, so that the end is shown."""
    text = "ana@example.com " * 127 + "customer-4711-a is unknown"
    assert redacted(text[:2_048], ["customer-4711-a"]) == redacted(text, ["customer-4711-a"])
    assert "cust" not in (redacted(text, ["customer-4711-a"]) or "")


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


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "a@" * 500_000,
        "1 " * 500_000,
        "@" * 1_000_000,
        "%25" * 300_000,
        "&#38;" * 200_000,
        r"\u005c" * 200_000,
    ],
)
def test_words_without_an_end_take_no_longer_than_short_ones(text: str) -> None:
    private = (
        "user-1",
        "somebody@example.com",
        "a" * 30_000,
        json.dumps(["a" * 9 + str(number) for number in range(500)]),
    )
    long, short = (seconds(lambda looked: redacted(looked, private), words, 3) for words in (text, text[:LOOKED_AT]))
    assert long < 5 * short
