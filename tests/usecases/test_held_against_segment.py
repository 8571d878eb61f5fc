"""With a `segment:` section a run asks Segment first: unsettled, incomplete and suppressed are kept from Windsor."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.segment_api import SPACE, TOKEN, SegmentApi
from tests.support.world import AUDIENCE, KEY, TRAIT_KEY, World
from windsor_sync.errors import ConfigError, CredentialsRefused, LeaseHeld, SegmentUnavailable, SnapshotError
from windsor_sync.settings import load
from windsor_sync.sources.segment_api import ApiRetryPolicy, PublicApi
from windsor_sync.state.leases import held
from windsor_sync.state.tables import readings, suppressions
from windsor_sync.usecases import suppression_list
from windsor_sync.usecases.forget import forget, is_suppressed
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.segment_keys import SegmentKeyedRegistry
from windsor_sync.usecases.workspace import open_workspace

HASTE = ApiRetryPolicy(tries=2, first_wait_s=0.001)


class AskingWorld(World):
    """A world whose windsor.yaml has a `segment:` section."""

    segment_api: SegmentApi

    def ask(self, api: SegmentApi) -> None:
        """Point the section at `api`, in which the world's audience and computed trait are Live."""
        self.segment_api = api
        self.document.update(space=SPACE, segment={"url": api.url})
        self.document["audiences"][0]["id"] = api.audience(AUDIENCE, KEY, "test")["id"]
        self.document["computed_traits"][0]["id"] = api.computed_trait("Total", TRAIT_KEY, "test")["id"]

    def reopen(self) -> None:
        """As another process would, which waits for less for a Segment that is down."""
        super().reopen()
        if hasattr(self, "segment_api"):
            self._workspace = self._opened.enter_context(
                open_workspace(load(self.config, env={}), lambda: self.windsor.api_key, lambda: TOKEN)
            )
            api = self._opened.enter_context(PublicApi(self.segment_api.url, TOKEN, HASTE))
            keys = SegmentKeyedRegistry(self._workspace.database, "windsor", SPACE, lambda: api)
            self._workspace = replace(self._workspace, segment=lambda: api, registry=keys)

    def an_hour_passes(self) -> None:
        """Make the copy of the suppression list as old as it may get."""
        with self.workspace.database.write() as connection:
            read_at = connection.execute(select(readings.c.read_at)).scalar_one()
            connection.execute(update(readings).values(read_at=read_at - suppression_list.EVERY))
        self.reopen()


@pytest.fixture
def asking(world: World, segment_api: SegmentApi) -> Iterator[AskingWorld]:
    """One world that asks a healthy Segment."""
    asking = AskingWorld(world.folder, world.windsor)
    asking.ask(segment_api)
    asking.reopen()
    yield asking
    asking._opened.close()


def crowd(count: int) -> list[str]:
    return [f"user-{number}" for number in range(count)]


def resize(api: SegmentApi, count: int, **more: Any) -> None:
    api.audiences[0]["size"] = {"count": count, "type": "USERS", **more}


@pytest.mark.parametrize(
    "status", ["Live", "Not Computing", "NOT_COMPUTING", "Awaiting Destinations", None, "Brand New"]
)
def test_an_audience_whose_members_stand_is_synced(
    asking: AskingWorld, segment_api: SegmentApi, status: str | None
) -> None:
    segment_api.audiences[0]["status"] = status
    asking.snapshot(["ana"])
    assert asking.sync().books.delivered == 1


@pytest.mark.parametrize(
    "status", ["Computing", "Backfilling", "Preparing", "Locked", "Failed", "Error", "Disabled", "disabled"]
)
def test_an_audience_that_is_not_live_sends_nothing_and_ends_with_8(
    asking: AskingWorld, segment_api: SegmentApi, status: str
) -> None:
    segment_api.audiences[0]["status"] = status
    asking.snapshot(["ana"])
    with pytest.raises(SnapshotError, match=f"Segment reports {AUDIENCE} as {status}") as refused:
        asking.sync()
    assert (refused.value.exit_status, asking.sent) == (8, 0)
    with pytest.raises(SnapshotError):
        asking.plan()


def test_a_computed_trait_that_is_being_computed_is_not_sent(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.computed_traits[0]["status"] = "Computing"
    asking.values({"ana": 1})
    with pytest.raises(SnapshotError):
        asking.sync(TRAIT_KEY)
    segment_api.computed_traits[0]["status"] = "Live"
    assert asking.sync(TRAIT_KEY).books.delivered == 1


def test_a_snapshot_with_too_few_of_the_users_segment_reports_sends_nothing(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    resize(segment_api, 200)
    asking.snapshot(crowd(120))
    with pytest.raises(SnapshotError, match=r"has 60% of the 200 users Segment reports \(120\). Nothing was sent"):
        asking.sync()
    assert asking.sent == 0


@pytest.mark.parametrize(
    ("reported", "downloaded", "is_whole"), [(200, 190, True), (200, 189, False), (200, 500, True), (99, 1, True)]
)
def test_the_tolerance_is_5_percent_and_small_audiences_are_not_judged(
    asking: AskingWorld, segment_api: SegmentApi, reported: int, downloaded: int, is_whole: bool
) -> None:
    resize(segment_api, reported)
    asking.snapshot(crowd(downloaded))
    if is_whole:
        assert asking.sync().books.members == downloaded
    else:
        with pytest.raises(SnapshotError):
            asking.sync()


def test_the_tolerance_of_one_audience_wins(asking: AskingWorld, segment_api: SegmentApi) -> None:
    resize(segment_api, 200)
    asking.document["audiences"][0]["snapshot"]["size_tolerance_percent"] = 50
    asking.reopen()
    asking.snapshot(crowd(120))
    assert asking.sync().books.members == 120


def test_users_without_an_id_and_suppressed_ones_count_as_downloaded(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    resize(segment_api, 200)
    segment_api.suppressed = crowd(100)
    path = asking.snapshot(crowd(150))
    path.write_text(path.read_text() + "".join(f",nobody-{number}@example.com\n" for number in range(50)))
    books = asking.sync().books
    assert (books.members, books.left_out["missing_user_id"], books.left_out["suppressed"]) == (50, 50, 100)


@pytest.mark.parametrize("size", [{"count": 900, "type": "ACCOUNTS"}, {}, {"count": "many", "type": "USERS"}, None])
def test_a_size_that_counts_no_users_is_no_reason_to_refuse(
    asking: AskingWorld, segment_api: SegmentApi, size: object
) -> None:
    segment_api.audiences[0]["size"] = size
    asking.snapshot(["ana"])
    assert asking.sync().books.delivered == 1


def test_a_file_that_a_person_names_is_not_held_against_segment(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.audiences[0]["status"] = "Computing"
    path = asking.snapshot(["ana"])
    assert asking.sync(request=Request(snapshot_path=str(path))).books.delivered == 1


def test_without_an_id_the_audience_is_found_by_its_key(asking: AskingWorld, segment_api: SegmentApi) -> None:
    del asking.document["audiences"][0]["id"]
    asking.reopen()
    segment_api.audiences[0]["status"] = "Computing"
    asking.snapshot(["ana"])
    with pytest.raises(SnapshotError):
        asking.sync()


def test_a_segment_that_is_down_is_a_warning_and_the_run_goes_on(
    asking: AskingWorld, segment_api: SegmentApi, caplog: pytest.LogCaptureFixture
) -> None:
    asking.snapshot(["ana"])
    asking.sync()
    asking.an_hour_passes()
    segment_api.is_down = True
    asking.snapshot(["ana", "ben"])
    assert asking.sync().books.delivered == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["suppression list read at" in warnings[0], "without comparing it" in warnings[1]] == [True, True]


def test_while_the_suppression_list_was_never_read_nothing_is_sent(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    asking.document["audiences"][0]["trait"] = KEY
    asking.reopen()
    segment_api.is_down = True
    asking.snapshot(["ana"])
    with pytest.raises(SegmentUnavailable) as refused:
        asking.sync()
    assert (refused.value.exit_status, asking.sent) == (6, 0)


def test_a_refused_token_stops_the_run_until_a_person_mends_it(asking: AskingWorld, segment_api: SegmentApi) -> None:
    asking.snapshot(["ana"])
    asking.sync()
    asking.snapshot(["ana", "ben"])
    segment_api.troubles = [(403, {}, b"")]
    with pytest.raises(CredentialsRefused):
        asking.sync()
    assert asking.sync().books.delivered == 1


def test_an_id_that_segment_does_not_know_is_a_mistake_in_the_settings(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    segment_api.audiences.clear()
    asking.snapshot(["ana"])
    with pytest.raises(ConfigError, match="knows no such"):
        asking.sync()


# -- suppressions ------------------------------------------------------------------------------------------------


def test_nothing_is_sent_about_whom_segment_suppresses_and_the_books_balance(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    segment_api.suppressed = ["ben"]
    asking.snapshot(["ana", "ben"])
    assert asking.sync().books.left_out["suppressed"] == 1
    assert asking.members_shown() == {"ana"}


def test_who_is_suppressed_later_leaves_without_a_message_and_comes_back_when_unsuppressed(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    asking.snapshot(["ana", "ben"])
    asking.sync()
    segment_api.suppressed = ["ben"]
    asking.an_hour_passes()
    assert asking.sync().books.changes == 0
    segment_api.suppressed = []
    asking.an_hour_passes()
    assert (asking.sync().books.entered, asking.members_shown()) == (1, {"ana", "ben"})


def test_the_list_comes_and_goes_whatever_the_state_lives_in(
    asking: AskingWorld, segment_api: SegmentApi, state_url: str
) -> None:
    asking.document["state"] = state_url
    asking.reopen()
    segment_api.suppressed = ["ben", "cy"]
    asking.snapshot(["ana", "ben", "cy"])
    asking.sync()
    segment_api.suppressed = ["cy", "dee"]
    asking.an_hour_passes()
    asking.sync()
    assert asking.members_shown() == {"ana", "ben"}


def test_a_list_that_another_run_is_reading_stops_only_a_run_that_has_none(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    asking.snapshot(["ana"])
    with held(asking.workspace.database, "Segment's suppression list", "another run"):
        with pytest.raises(LeaseHeld):
            asking.sync()
        assert asking.sent == 0
    asking.sync()
    asking.an_hour_passes()
    segment_api.suppressed = ["ana"]
    with held(asking.workspace.database, "Segment's suppression list", "another run"):
        assert asking.sync().books.left_out["suppressed"] == 0
    assert asking.sync().books.left_out["suppressed"] == 1


def test_the_list_is_read_at_most_once_an_hour_for_all_audiences(asking: AskingWorld, segment_api: SegmentApi) -> None:
    asking.snapshot(["ana"])
    asking.values({"ana": 1})
    for key in (KEY, TRAIT_KEY, KEY):
        asking.sync(key)
        asking.reopen()
    assert sum("/suppressions" in request for request in segment_api.requests) == 1


def test_half_a_list_takes_nobody_off(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.suppressed = ["ana", "ben"]
    asking.snapshot(["ana", "ben", "cleo"])
    asking.sync()
    asking.an_hour_passes()
    segment_api.suppressed = []
    segment_api.next_cursor = "again"
    asking.sync()
    assert asking.members_shown() == {"cleo"}
    assert is_suppressed(asking.workspace.database, "ana")


@pytest.mark.parametrize("is_forgotten_first", [True, False])
def test_who_was_forgotten_stays_suppressed_whatever_segment_says(
    asking: AskingWorld, segment_api: SegmentApi, is_forgotten_first: bool
) -> None:
    asking.snapshot(["ana", "ben"])
    if is_forgotten_first:
        forget(asking.workspace, "ben", who="test", why=None)
    segment_api.suppressed = ["ben"]
    asking.sync()
    forget(asking.workspace, "ben", who="test", why=None)
    segment_api.suppressed = []
    asking.an_hour_passes()
    asking.sync()
    assert asking.members_shown() == {"ana"}


def test_suppressed_users_are_kept_as_hashes_and_logged_as_counts(
    asking: AskingWorld, segment_api: SegmentApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    segment_api.suppressed = [f"canary-{number}" for number in range(1200)]
    suppression_list.refresh(asking.workspace)
    with asking.workspace.database.read() as connection:
        kept = connection.execute(select(suppressions.c.user_hash, suppressions.c.origin)).all()
    assert {(len(row.user_hash), row.origin) for row in kept} == {(64, "segment")}
    assert "Segment suppresses 1200 users: 1200 new, 0 no longer" in caplog.text
    assert "canary" not in caplog.text
    segment_api.suppressed = segment_api.suppressed[:1]
    asking.an_hour_passes()
    suppression_list.refresh(asking.workspace)
    assert "Segment suppresses 1 users: 0 new, 1199 no longer" in caplog.text


# -- keys --------------------------------------------------------------------------------------------------------


def test_the_key_that_segment_made_wins_over_the_derived_one_and_is_pinned(
    asking: AskingWorld, segment_api: SegmentApi
) -> None:
    segment_api.audiences[0]["key"] = "old_name_2"
    asking.snapshot(["ana"])
    assert asking.sync().audience == "old_name_2"
    assert asking.members_shown("old_name_2") == {"ana"}
    segment_api.audiences[0]["key"] = "moved"
    asking.snapshot(["ana", "ben"])
    assert asking.sync().audience == "old_name_2"


def test_the_values_of_a_computed_trait_stand_under_segments_key(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.computed_traits[0]["key"] = "revenue"
    path = asking.values({"ana": 7})
    path.write_text(path.read_text().replace("value", "revenue", 1))
    asking.sync(TRAIT_KEY)
    assert asking.shown("revenue") == {"ana": 7}


def test_a_key_in_windsor_yaml_wins_over_segments(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.audiences[0]["key"] = "segments_key"
    asking.document["audiences"][0]["trait"] = "mine"
    asking.reopen()
    asking.snapshot(["ana"])
    assert asking.sync("mine").audience == "mine"


def test_an_audience_synced_before_it_had_an_id_keeps_its_key(asking: AskingWorld, segment_api: SegmentApi) -> None:
    given_id = asking.document["audiences"][0].pop("id")
    asking.reopen()
    asking.snapshot(["ana"])
    asking.sync()
    asking.document["audiences"][0]["id"] = given_id
    segment_api.audiences[0]["key"] = "another"
    asking.reopen()
    asking.snapshot(["ana", "ben"])
    assert asking.sync().audience == KEY


def test_a_key_is_not_guessed_while_segment_is_down(asking: AskingWorld, segment_api: SegmentApi) -> None:
    segment_api.is_down = True
    asking.snapshot(["ana"])
    with pytest.raises(SegmentUnavailable):
        asking.sync()
    assert asking.workspace.registry.known() == []
