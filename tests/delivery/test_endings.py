"""What a person reads when a delivery gave Windsor up."""

import pytest

from windsor_sync.delivery.endings import unavailable
from windsor_sync.delivery.verdicts import Answer


@pytest.mark.parametrize("silent_s", [0.0, 599.0, 601.0])
def test_a_wait_beyond_our_retry_policy_is_named_however_long_windsor_was_silent(silent_s: float) -> None:
    error = unavailable(Answer(429, 3600.0), silent_s, 600.0)
    assert str(error).startswith("Windsor asks to wait 3600 s (status 429), and this run waits 600 s at most")
    assert error.retry_after_s == 3600


def test_a_silence_is_named_when_no_wait_explains_it() -> None:
    assert str(unavailable(Answer(503, 5.0), 601.0, 600.0)).startswith(
        "Windsor has not been available for 601 s (last: status 503)"
    )


def test_a_wait_that_alone_is_within_our_retry_policy_is_named_with_what_is_over_of_it() -> None:
    assert str(unavailable(Answer(429, 300.0), 400.0, 600.0)) == (
        "Windsor asks to wait 300 s (status 429), and this run waits 600 s at most, of which 400 s are over"
    )
