"""The guard by itself: what it withholds at its limits, whom it leaves alone, and what an approval lets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.domain.guard import Ceiling, Limit, Ruling, judge

THIRTY = Limit(max_exited_percent=30, max_entered_percent=None, floor=100)
BOTH = Limit(max_exited_percent=30, max_entered_percent=50, floor=100)
NOTHING = Ruling((), ())


def exits(exited: int, *, before: int, after: int = 1, ceiling: Ceiling | None = None) -> Ruling:
    """The ruling on exits alone."""
    return judge(before=before, after=after, entered=0, exited=exited, limit=THIRTY, ceiling=ceiling)


def both(*, exited: int, entered: int, ceiling: Ceiling | None = None) -> Ruling:
    """The ruling on an audience of 1,000 with a limit on either side."""
    return judge(before=1_000, after=1_000, entered=entered, exited=exited, limit=BOTH, ceiling=ceiling)


def test_exactly_what_is_allowed_goes_out_and_one_more_is_withheld() -> None:
    assert exits(300, before=1_000) == NOTHING
    assert exits(301, before=1_000).held == ("exited",)
    assert both(exited=0, entered=500) == NOTHING
    assert both(exited=0, entered=501).held == ("entered",)


@pytest.mark.parametrize("percent", [0, 0.5, 12.5, 99.9])
def test_a_limit_may_be_any_share_of_the_members(percent: float) -> None:
    limit = Limit(percent, None, 1)
    allowed = int(percent * 10)
    assert not judge(before=1_000, after=1, entered=0, exited=allowed, limit=limit).trips
    assert judge(before=1_000, after=1, entered=0, exited=allowed + 1, limit=limit).trips


def test_below_the_floor_nothing_is_withheld_and_from_it_on_the_limit_holds() -> None:
    assert exits(98, before=99) == NOTHING
    assert exits(99, before=100).trips


def test_no_floor_protects_an_audience_from_which_everybody_would_go() -> None:
    assert exits(99, before=99, after=0).held == ("exited",)
    assert exits(1, before=1, after=0).held == ("exited",)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 200))
def test_an_initial_sync_is_never_withheld(after: int, entered: int, floor: int) -> None:
    assert judge(before=0, after=after, entered=entered, exited=0, limit=Limit(0, 0, floor)) == NOTHING


def test_without_a_limit_a_side_is_never_withheld() -> None:
    assert judge(before=1_000, after=1, entered=10**6, exited=999, limit=Limit(None, None, 0)) == NOTHING
    assert exits(0, before=1_000) == NOTHING


def test_the_side_that_is_within_its_limit_is_never_held_up() -> None:
    assert both(exited=301, entered=500).held == ("exited",)
    assert both(exited=300, entered=501).held == ("entered",)
    assert both(exited=301, entered=501).held == ("exited", "entered")


def test_a_changed_value_is_no_entry_and_goes_out_while_entries_are_withheld() -> None:
    assert "updated" not in both(exited=301, entered=501).held


def test_an_approval_lets_up_to_its_count_of_its_own_side_through() -> None:
    assert exits(400, before=1_000, ceiling=Ceiling(max_exited=400)) == Ruling((), (), uses_approval=True)
    assert exits(401, before=1_000, ceiling=Ceiling(max_exited=400)).held == ("exited",)
    assert exits(400, before=1_000, ceiling=Ceiling(max_entered=400)).held == ("exited",)
    assert exits(400, before=1_000, ceiling=Ceiling()).held == ("exited",)
    assert both(exited=301, entered=501, ceiling=Ceiling(max_exited=301)).held == ("entered",)
    assert both(exited=301, entered=501, ceiling=Ceiling(max_entered=501)).held == ("exited",)


def test_an_approval_is_spent_only_by_a_side_that_goes_out_because_of_it() -> None:
    assert both(exited=300, entered=0, ceiling=Ceiling(max_exited=400)).uses_approval is False
    assert both(exited=401, entered=0, ceiling=Ceiling(max_exited=400)).uses_approval is False
    assert both(exited=301, entered=501, ceiling=Ceiling(max_exited=400)).uses_approval is True
    assert exits(99, before=99, ceiling=Ceiling(max_exited=99)).uses_approval is False


def test_the_reason_says_how_many_of_how_many_what_is_allowed_and_what_was_approved() -> None:
    assert exits(1_804, before=2_000).reasons == ("1,804 of 2,000 members exited (90 %; 30 % are allowed)",)
    assert exits(1_804, before=2_000, ceiling=Ceiling(max_exited=1_500)).reasons == (
        "1,804 of 2,000 members exited (90 %; 30 % are allowed, 1,500 were approved)",
    )
    assert both(exited=400, entered=600).reasons == (
        "400 of 1,000 members exited (40 %; 30 % are allowed)",
        "600 of 1,000 members entered (60 %; 50 % are allowed)",
    )


def test_a_side_of_which_none_was_approved_says_so() -> None:
    assert exits(400, before=1_000, ceiling=Ceiling(max_exited=0)).reasons == (
        "400 of 1,000 members exited (40 %; 30 % are allowed, 0 were approved)",
    )


@pytest.mark.parametrize(
    ("exited", "before", "shown"),
    [
        (301, 1_000, "30.1"),
        (306, 1_000, "31"),
        (30_001, 100_000, "30.001"),
        (300_000_001, 10**9, "30.0000001"),
        (300_000_000_000_001, 10**15, "30.0000000000001"),
    ],
)
def test_the_reason_has_as_many_decimals_as_it_takes_not_to_contradict_itself(
    exited: int, before: int, shown: str
) -> None:
    assert exits(exited, before=before).reasons == (
        f"{exited:,} of {before:,} members exited ({shown} %; 30 % are allowed)",
    )


@given(st.integers(100, 10**9), st.data(), st.sampled_from([0.0, 0.5, 12.5, 30.0, 99.9]))
def test_what_a_reason_shows_is_more_than_what_it_allows(before: int, data: st.DataObject, percent: float) -> None:
    exited = data.draw(st.integers(0, before))
    for reason in judge(before=before, after=1, entered=0, exited=exited, limit=Limit(percent, None, 100)).reasons:
        assert float(reason.partition("(")[2].partition(" %")[0]) > percent
