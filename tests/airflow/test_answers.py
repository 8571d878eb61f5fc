"""What a person typed into the page's form, as it is read."""

import pytest

from windsor_sync.airflow.answers import PageAnswer, read_answer
from windsor_sync.airflow.forms import LARGEST
from windsor_sync.domain.guard import Ceiling
from windsor_sync.errors import ConfigError


@pytest.mark.parametrize(
    "typed", ["-1", "1.5", "1e3", "²", "٣", "zero", str(LARGEST + 1), "0" * 20 + "9" * 20, "9" * 5_000]
)
def test_what_is_no_number_of_users_is_refused_in_words(typed: str) -> None:
    with pytest.raises(ConfigError, match="is not a whole number from 0 to"):
        read_answer({"answer": "approve", "max_exited": typed})


def test_numbers_are_read_and_an_empty_field_approves_nothing_of_its_kind() -> None:
    found = read_answer({"answer": "approve", "max_exited": " 12 ", "max_entered": "", "note": " sale "})
    assert found == PageAnswer(Ceiling(12, None), "sale")
    assert read_answer({"answer": "Approve", "max_exited": "12"}).ceiling is None
