"""The verdict table of the design, status by status, and what Retry-After may look like."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.delivery.verdicts import (
    Answer,
    Decision,
    decide,
    is_page,
    judges_address,
    may_have_been_applied,
    words_of,
)
from windsor_sync.http.times import retry_after_s

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

TABLE = {
    Decision.DELIVERED: (200, 201, 202, 204, 299),
    Decision.REJECTED: (400, 402, 404, 405, 409, 410, 413, 415, 422, 451, 499),
    Decision.STOP: (300, 301, 302, 304, 307, 308, 401, 403),
    Decision.WAIT: (408, 423),
    Decision.SLOW_DOWN: (429,),
    Decision.UNSUPPORTED: (501,),
    Decision.RETRY: (0, 100, 500, 502, 503, 504, 520, 599, 999),
}


@pytest.mark.parametrize(("status", "decision"), [(code, one) for one, codes in TABLE.items() for code in codes])
def test_every_status_has_its_verdict(status: int, decision: Decision) -> None:
    assert decide(Answer(status)) is decision


def test_no_status_is_without_a_verdict_and_only_2xx_is_a_yes() -> None:
    assert [status for status in range(1_000) if decide(Answer(status)) is Decision.DELIVERED] == [*range(200, 300)]


@pytest.mark.parametrize("status", TABLE[Decision.DELIVERED])
def test_a_page_is_no_yes_whatever_its_status_and_leaves_doubt(status: int) -> None:
    page = Answer(status, is_page=True)
    assert decide(page) is Decision.RETRY
    assert may_have_been_applied(page)


def test_only_a_redirect_and_an_address_that_is_not_there_are_about_where_a_message_went() -> None:
    about_the_address = [status for status in range(1_000) if judges_address(status)]
    assert about_the_address == [*range(300, 400), 404, 405, 410]
    assert not judges_address(None)


@pytest.mark.parametrize("status", [code for codes in TABLE.values() for code in codes])
def test_only_what_was_neither_taken_nor_refused_leaves_doubt(status: int) -> None:
    assert may_have_been_applied(Answer(status)) == (status in {408, *TABLE[Decision.RETRY]})
    assert not may_have_been_applied(Answer(status, was_sent=False))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("1.5", 1.5),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("Thu, 01 Jan 2026 12:00:30 +0000", 30),
        ("Thu, 01 Jan 2026 14:00:30 +0200", 30),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
        ("Thu, 01 Jan 2026 12:00:30", 30),  # without a zone: UTC
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),  # in the past: at once
        (None, None),
        ("", None),
        ("-5", None),
        ("1.2.3", None),
        ("1..", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("²", None),
        ("9" * 400, None),
        ("Thu, 99 Foo 2026 12:00:30 GMT", None),
        (f"Thu, 01 Jan {10**30} 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date_and_garbage_is_none(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after_s(header, NOW) == seconds


@given(st.text(), st.integers(-(10**40), 10**40))
def test_no_retry_after_raises_or_is_negative(text: str, number: int) -> None:
    for header in (text, str(number), f"Thu, 01 Jan 2026 12:00:00 {number}", f"Thu, {number} Jan {number} 12:00 GMT"):
        seconds = retry_after_s(header, NOW)
        assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "no such user"}', "application/json", "no such user"),
        (b'{"message": "no such user"}', "application/problem+JSON; charset=utf-8", "no such user"),
        (b'{"message": "no such user"}', "text/html", None),
        (b'{"message": "  "}', "application/json", None),
        (b'{"message": {"text": "no"}}', "application/json", None),
        (b'["message"]', "application/json", None),
        (b"", "application/json", None),
        (b"[" * 50_000, "application/json", None),
    ],
)
def test_windsors_words_come_from_json_only(body: bytes, kind: str, words: str | None) -> None:
    assert words_of(body, {"content-type": kind}) == words


def test_an_answer_that_does_not_name_its_type_has_no_words_and_is_no_page() -> None:
    assert words_of(b'{"message": "no such user"}', {}) is None
    assert not is_page(b"<html>", {})


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"<!doctype html><title>Sign in</title>", "text/html", True),
        (b"<html>", "Text/HTML; charset=utf-8", True),
        (b"<html/>", "application/xhtml+xml", True),
        (b"\xef\xbb\xbf \r\n\t<html>", "text/html", True),  # a byte order mark and blank lines come first
        (b"OK", "text/html", False),  # a server's default label
        (b"", "text/html", False),
        (b"X < Y", "text/html", False),
        (b"<html>", "application/json", False),
    ],
)
def test_a_page_is_markup_that_says_so(body: bytes, kind: str, expected: bool) -> None:
    assert is_page(body, {"content-type": kind}) is expected
