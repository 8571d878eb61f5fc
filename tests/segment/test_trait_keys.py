"""Trait keys: Segment's published pairs, the rule as properties, and the keys nobody may have."""

import csv
import re
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.segment.trait_keys import RESERVED, TraitKey, collisions, key_problem, retired_problem, trait_key

VECTORS = Path(__file__).parent / "trait-key-vectors.csv"

# A rival JavaScript helper breaks a lone capital off the capitalised word behind it. Segment's rule does not: it has
# a vector of its own for just that (CStringRef is cstring_ref), so both cannot hold.
RIVALS = {"thisIsAString": "this_is_astring", "ThisIsAString": "this_is_astring"}

A_WORD = st.from_regex(r"[A-Z0-9]+[a-z0-9]*|[a-z0-9]+", fullmatch=True)
A_SEPARATOR = st.text(
    st.sampled_from(string.punctuation + string.whitespace + "¬ƒßЖ中🎉\ud800"), min_size=1, max_size=3
)


def published() -> list[tuple[str, str]]:
    with VECTORS.open(encoding="utf-8", newline="") as file:
        return [(row["name"], row["expected_key"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "key"), [pair for pair in published() if pair[0] not in RIVALS])
def test_a_published_name_has_its_published_key(name: str, key: str) -> None:
    assert trait_key(name) == key


@pytest.mark.parametrize(("name", "key"), RIVALS.items())
def test_a_lone_capital_stays_with_the_word_behind_it(name: str, key: str) -> None:
    assert trait_key(name) == key


def test_no_published_vector_is_missing() -> None:
    assert len(published()) == 51
    assert RIVALS.keys() <= {name for name, _ in published()}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Order Completed Last 30days", "order_completed_last_30days"),
        ("3 Product Views in Last 60 Days", "3_product_views_in_last_60_days"),
        ("Clientes con Éxito", "clientes_con_exito"),
        ("Café Müller", "cafe_muller"),
        ("A\u0301rbol", "arbol"),  # an accent of its own
        ("Łódź VIP", "odz_vip"),  # no accent, but a letter of its own
        ("first–last", "first_last"),
        ("Gold™", "gold_tm"),
        ("Ｆｕｌｌ　Width", "full_width"),
        ("fwƒHigh", "fw_high"),
        ("VIP ⭐️ Users", "vip_users"),
        ("Покупатели", ""),
        ("", ""),
    ],
)
def test_a_name_outside_ascii_is_transliterated_and_keeps_its_word_borders(name: str, key: str) -> None:
    assert trait_key(name) == key


@given(st.text())
def test_a_key_is_its_own_key(name: str) -> None:
    assert trait_key(trait_key(name)) == trait_key(name)


@given(st.text())
def test_a_key_is_words_of_small_letters_and_digits_joined_by_single_underscores(name: str) -> None:
    assert re.fullmatch(r"([a-z0-9]+(_[a-z0-9]+)*)?", trait_key(name))


@given(st.lists(st.tuples(A_SEPARATOR, A_WORD), min_size=1), A_SEPARATOR)
def test_only_the_words_count_not_what_separates_or_surrounds_them(parts: list[tuple[str, str]], end: str) -> None:
    name = "".join(separator + word for separator, word in parts) + end
    assert trait_key(name) == "_".join(word.lower() for _, word in parts)


@given(st.text())
def test_composed_and_decomposed_accents_give_one_key(name: str) -> None:
    assert trait_key(unicodedata.normalize("NFC", name)) == trait_key(unicodedata.normalize("NFD", name))


@given(st.text(st.sampled_from("aZbY09_- .é¬")) | st.text())
def test_the_rule_agrees_with_reading_the_name_one_character_at_a_time(name: str) -> None:
    assert trait_key(name) == read_one_character_at_a_time(name)


def read_one_character_at_a_time(name: str) -> str:
    """The rule as a reader with one character of memory: a capital after a small letter's word starts a new word."""
    key, in_word, in_tail = "", False, False
    for character in unicodedata.normalize("NFKD", name):
        if unicodedata.category(character) in ("Mn", "Mc", "Me"):
            continue
        capital, small = character in string.ascii_uppercase, character in string.ascii_lowercase
        if not (capital or small or character in string.digits):
            in_word = in_tail = False
            continue
        if not in_word or (capital and in_tail):
            key += "_" if key else ""
            in_tail = False
        in_word, in_tail = True, in_tail or small
        key += character.lower()
    return key


@pytest.mark.parametrize("key", ["email", "Email", "userId", "user_id", "createdAt", "created_at", "messageId", "id"])
def test_a_key_with_a_meaning_of_its_own_is_refused_by_name_with_a_remedy(key: str) -> None:
    problem = key_problem(key)
    assert problem is not None
    assert repr(key) in problem
    assert "`trait:`" in problem


@pytest.mark.parametrize("key", ["", "  ", trait_key("Покупатели")])
def test_an_empty_key_is_refused_with_a_remedy(key: str) -> None:
    problem = key_problem(key)
    assert problem is not None
    assert "`trait:`" in problem


@pytest.mark.parametrize("key", ["Test Audience", "my-audience", "customers, with commas", "j_o_a__b_x1", "e_mail"])
def test_a_key_set_by_hand_is_any_other_text(key: str) -> None:
    assert key_problem(key) is None


OF_AN_IDENTIFY = (
    *("id", "username", "email", "phone", "name", "firstName", "lastName", "title", "avatar", "address", "age"),
    *("birthday", "company", "createdAt", "description", "gender", "website", "type", "traits", "context"),
    *("integrations", "userId", "anonymousId", "groupId", "previousId", "messageId"),
    *("timestamp", "originalTimestamp", "sentAt", "receivedAt"),
)


@pytest.mark.parametrize("field", OF_AN_IDENTIFY)
def test_both_spellings_of_what_an_identify_uses_are_reserved_in_any_case(field: str) -> None:
    for spelling in (field, re.sub("([A-Z])", r"_\1", field).lower()):
        assert spelling in RESERVED
        assert key_problem(spelling.upper()) is not None


def test_two_computations_on_one_key_are_found_and_named() -> None:
    names = ["Big Spender", "VIP", "big-spender", "VIP"]
    found = collisions((name, trait_key(name)) for name in names)
    assert [(collision.key, collision.names) for collision in found] == [
        ("big_spender", ("Big Spender", "big-spender")),
        ("vip", ("VIP", "VIP")),
    ]
    assert all(word in str(found[0]) for word in ("'Big Spender', 'big-spender' share", "'big_spender'", "`trait:`"))


def test_keys_that_differ_do_not_collide() -> None:
    assert collisions([("A", TraitKey("Test Audience")), ("B", TraitKey("test_audience"))]) == []


def test_a_retired_key_is_refused_by_name_until_its_reuse_is_allowed() -> None:
    retired = {TraitKey("vip")}
    problem = retired_problem("VIP", TraitKey("vip"), retired, reuse_key=False)
    assert problem is not None
    assert all(word in problem for word in ("'VIP'", "'vip'", "`trait:`", "reuse_key: true"))
    assert retired_problem("VIP", TraitKey("vip"), retired, reuse_key=True) is None
    assert retired_problem("VIP 2", TraitKey("vip_2"), retired, reuse_key=False) is None
