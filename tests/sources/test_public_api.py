"""Asking Segment: whole lists or none, bounded waits, errors that say what to do and repeat nothing."""

import json
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.segment_api import SPACE, TOKEN, SegmentApi
from windsor_sync.errors import ConfigError, CredentialsRefused, SegmentUnavailable, WindsorSyncError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.sources.segment_api import ApiRetryPolicy, PublicApi

HASTE = ApiRetryPolicy(first_wait_s=0.001, longest_wait_s=1.0, timeout_s=2.0)


@pytest.fixture
def api(segment_api: SegmentApi) -> PublicApi:
    return PublicApi(segment_api.url, TOKEN, HASTE)


def test_audiences_and_computed_traits_are_listed_with_key_status_cadence_and_size(
    segment_api: SegmentApi, api: PublicApi
) -> None:
    segment_api.audience("Big Spender", "big_spender", "1", size={"count": 12, "type": "USERS"}, status="Computing")
    segment_api.computed_trait("Total", "total_2", "2")
    audience, trait = api.computations(SPACE)
    assert (audience.id, audience.name, audience.key, audience.users) == ("aud_1", "Big Spender", "big_spender", 12)
    assert (audience.status, audience.cadence, audience.audience_type) == ("Computing", "REALTIME", "USERS")
    assert (trait.computation_class, trait.key, trait.users) == (ComputationClass.TRAIT, "total_2", None)


def test_every_page_is_read(segment_api: SegmentApi, api: PublicApi) -> None:
    for number in range(450):
        segment_api.audience(f"A {number}", f"a_{number}", str(number))
    assert [one.key for one in api.computations(SPACE)] == [f"a_{number}" for number in range(450)]
    assert len(segment_api.requests) == 4  # three pages, and one of computed traits


def test_missing_and_odd_fields_do_not_hide_an_audience(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.audiences += [
        {"id": "aud_1"},
        {"id": "aud_2", "name": None, "key": 7, "size": "many", "computeCadence": None, "status": ["?"], "new": {}},
        {"name": "without an id"},
        {"id": "aud_3", "size": {"count": 3, "type": "ACCOUNTS"}, "enabled": False},
    ]
    found = list(api.computations(SPACE))
    assert [(one.id, one.name, one.key, one.users) for one in found] == [
        (f"aud_{number}", f"aud_{number}", None, None) for number in (1, 2, 3)
    ]
    assert [one.status for one in found] == [None, None, "Disabled"]


def test_different_users_are_counted_rather_than_entries(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.audience("A", "a", "1", size={"count": 12, "uniqueCount": 10, "type": "USERS"})
    assert api.computation(SPACE, ComputationClass.AUDIENCE, "aud_1").users == 10


def test_ids_are_no_part_of_the_path_they_are_put_into(segment_api: SegmentApi, api: PublicApi) -> None:
    with pytest.raises(ConfigError):
        api.computation("../suppressions?x=", ComputationClass.AUDIENCE, "aud/1#")
    assert segment_api.requests == ["/spaces/..%2Fsuppressions%3Fx%3D/audiences/aud%2F1%23"]


def test_only_user_ids_are_suppressed_users(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.suppressed = ["ana", "00123"]
    segment_api.suppressed_objects = ["obj"]
    assert list(api.suppressed_users()) == ["ana", "00123"]


ASKS: dict[str, Callable[[PublicApi], object]] = {
    "list": lambda api: list(api.computations(SPACE)),
    "one": lambda api: api.computation(SPACE, ComputationClass.AUDIENCE, "aud_1"),
    "suppressed": lambda api: list(api.suppressed_users()),
}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": []}', b'{"data": {"audience": 1, "audiences": {}}}'])
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_an_answer_without_what_was_asked_for_is_no_empty_list(
    segment_api: SegmentApi, api: PublicApi, ask: Callable[[PublicApi], object], body: bytes
) -> None:
    segment_api.troubles = [(200, {}, body)] * 3
    with pytest.raises(SegmentUnavailable, match="its answer is not what its documentation says"):
        ask(api)


@pytest.mark.parametrize("cursor", ["again", "30"])
def test_cursors_that_go_in_a_circle_end_in_an_error_and_not_in_an_endless_list(
    segment_api: SegmentApi, api: PublicApi, cursor: str
) -> None:
    segment_api.suppressed = ["ana"]
    segment_api.next_cursor = cursor
    with pytest.raises(SegmentUnavailable, match="pages never end"):
        list(api.suppressed_users())
    assert len(segment_api.requests) == 2


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "0.01"}),
        (429, {"X-RateLimit-Reset": "0.01"}),
        (429, {"X-RateLimit-Reset": "1700000000"}),  # a moment that has passed
        (429, {}),
        (500, {}),
        (503, {"Retry-After": "0"}),
    ],
)
def test_a_passing_trouble_is_waited_out(
    segment_api: SegmentApi, api: PublicApi, status: int, headers: dict[str, str]
) -> None:
    segment_api.audience("A", "a", "1")
    segment_api.troubles = [(status, headers, b"{}")] * 3
    assert [one.key for one in api.computations(SPACE)] == ["a"]


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "7"}, [7.0, 7.0, 7.0]),
        ({"Retry-After": "0"}, [0.25, 0.5, 1.0]),
        ({"X-RateLimit-Reset": "5"}, [5.0, 5.0, 5.0]),
        ({"Retry-After": "3", "X-RateLimit-Reset": "5"}, [3.0, 3.0, 3.0]),
        ({}, [0.25, 0.5, 1.0]),
    ],
)
def test_segment_says_how_long_to_wait_and_else_each_wait_is_twice_the_last(
    segment_api: SegmentApi, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], waits: list[float]
) -> None:
    segment_api.audience("A", "a", "1")
    segment_api.troubles = [(429, headers, b"{}")] * 3
    waited: list[float] = []
    # Only its own clock and dice: threads of other tests sleep too.
    clock = SimpleNamespace(sleep=waited.append, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("windsor_sync.sources.segment_api.time", clock)
    monkeypatch.setattr("windsor_sync.sources.segment_api.random", SimpleNamespace(uniform=lambda least, _: least))
    with PublicApi(segment_api.url, TOKEN) as api:
        assert [one.key for one in api.computations(SPACE)] == ["a"]
    assert waited == waits


def test_half_an_answer_is_asked_for_again(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.audience("A", "a", "1")
    segment_api.troubles = [(200, {"Content-Length": "1000", "Connection": "close"}, b'{"data": {"audiences": [')]
    assert [one.key for one in api.computations(SPACE)] == ["a"]


def test_a_wait_beyond_our_retry_policy_is_not_waited_for(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.troubles = [(429, {"Retry-After": "3600"}, b"")]
    started = time.monotonic()
    with pytest.raises(SegmentUnavailable, match="429"):
        list(api.computations(SPACE))
    assert (len(segment_api.requests), time.monotonic() - started < 60) == (1, True)


def test_a_segment_that_was_not_reached_is_not_asked_again(segment_api: SegmentApi, api: PublicApi) -> None:
    segment_api.is_down = True
    for _ in range(3):
        with pytest.raises(SegmentUnavailable, match="503"):
            list(api.computations(SPACE))
    assert len(segment_api.requests) == HASTE.tries


def test_nobody_listening_is_unavailable() -> None:
    with SegmentApi() as gone:
        url = gone.url
    with PublicApi(url, TOKEN, HASTE) as api, pytest.raises(SegmentUnavailable, match="no complete answer"):
        list(api.computations(SPACE))


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, CredentialsRefused, "SEGMENT_PUBLIC_API_TOKEN"),
        (403, CredentialsRefused, "may read the space's audiences"),
        (404, ConfigError, "Compare `space`"),
        (422, ConfigError, "segment.region"),
        (418, ConfigError, "refused the question (418)"),
        (
            302,
            ConfigError,
            "is redirected (302) to http://127.0.0.1:9/. Nothing was sent. If that is Segment's, put it",
        ),
    ],
)
def test_a_lasting_refusal_is_told_at_once_with_what_to_do(
    segment_api: SegmentApi, api: PublicApi, status: int, error: type[WindsorSyncError], words: str
) -> None:
    segment_api.troubles = [(status, {"Location": "http://127.0.0.1:9/"}, b'{"errors": [{"message": "canary"}]}')]
    with pytest.raises(error) as refused:
        list(api.computations(SPACE))
    assert len(segment_api.requests) == 1
    assert words in str(refused.value)
    assert "Nothing was sent" in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén"])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PublicApi("http://127.0.0.1:9", token)
    assert not token or token not in str(refused.value)
    assert "one line of plain letters" in str(refused.value)


def test_neither_token_nor_cursor_nor_user_reaches_a_log(
    segment_api: SegmentApi, api: PublicApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    segment_api.most_a_page = 1
    segment_api.suppressed = ["canary-one", "canary-two"]
    list(api.suppressed_users())
    segment_api.is_down = True
    with pytest.raises(SegmentUnavailable):
        list(api.suppressed_users())
    assert len(segment_api.requests) > 2
    assert not [secret for secret in (TOKEN, "canary", "pagination") if secret in caplog.text]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "audiences", "pagination", "next", "id", "name", "key", "size", "count", "type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON | st.fixed_dictionaries({"data": st.fixed_dictionaries({"audiences": st.lists(JSON)})}))
def test_whatever_json_comes_it_is_read_or_refused_in_our_words(segment_api: SegmentApi, document: object) -> None:
    segment_api.troubles = [(200, {}, json.dumps(document).encode())]
    with PublicApi(segment_api.url, TOKEN, HASTE) as api:
        try:
            found = list(api.computations(SPACE))
        except SegmentUnavailable:
            return
        finally:
            segment_api.troubles = []
    assert all(one.id and one.name for one in found)
