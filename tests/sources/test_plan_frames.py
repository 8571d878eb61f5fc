"""Two DataFrames in a notebook: the changes between them are those that a run would send."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windsor_sync
from tests.support.world import World
from windsor_sync import plan_frames
from windsor_sync.errors import SnapshotError

members = st.dictionaries(
    st.sampled_from(["u1", "00123", "NA", " u", "é", "null"]), st.sampled_from([None, "a@x", "b@x"])
)


def frame(emails: dict[str, str | None]) -> pd.DataFrame:
    return pd.DataFrame({"user_id": list(emails), "email": list(emails.values())}, dtype=object)


def listed(changes: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(changes[["change", "user_id", "email", "value"]].itertuples(index=False, name=None))


def test_changes_carry_the_identifiers_that_windsor_has_to_be_told() -> None:
    previous = frame({"left": "old@x", "moved": "old@x", "stayed": "same@x"})
    current = frame({"moved": "new@x", "stayed": "same@x", "came": None})
    assert listed(plan_frames(previous, current)) == [
        ("entered", "came", None, True),
        ("exited", "left", "old@x", False),
        ("updated", "moved", "new@x", True),
    ]


@settings(max_examples=12, deadline=None)
@given(previous=members, current=members)
def test_the_changes_applied_to_the_previous_members_give_the_current_ones(
    previous: dict[str, str | None], current: dict[str, str | None]
) -> None:
    found = dict(previous)
    for change, user, email, _ in listed(plan_frames(frame(previous), frame(current))):
        if change == "exited":
            del found[str(user)]
        else:
            assert (change == "updated") == (user in previous)
            found[str(user)] = email  # type: ignore[assignment]
    # An e-mail that was told is not replaced by none.
    assert found == {user: previous.get(user) if email is None else email for user, email in current.items()}


def test_a_frame_compared_with_itself_has_no_changes() -> None:
    same = frame({"u1": "a@x", "u2": None})
    changes = plan_frames(same, same.sample(frac=1))
    assert len(changes) == 0
    assert list(changes.columns) == ["change", "user_id", "anonymous_id", "email", "value"]


def test_without_a_previous_frame_everyone_enters() -> None:
    assert listed(plan_frames(None, frame({"u1": None}))) == [("entered", "u1", None, True)]


def test_a_computed_trait_is_mentioned_where_its_value_changed() -> None:
    before = pd.DataFrame({"customer": ["u1", "u2", "u3"], "ltv": [1.0, 2.0, 3.0]})
    after = pd.DataFrame({"customer": ["u1", "u2", "u4"], "ltv": [1.0, 2.5, 4.0]})
    changes = plan_frames(before, after, columns={"user_id": "customer"}, value="ltv")
    assert listed(changes) == [("updated", "u2", None, 2.5), ("entered", "u4", None, 4)]


def test_a_frame_that_names_no_user_is_refused_by_its_name() -> None:
    with pytest.raises(SnapshotError, match="The DataFrame `current` lacks user_id"):
        plan_frames(None, pd.DataFrame({"id": ["u1"]}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": {"mail": "email"}}, "columns of plan_frames: 'mail' is none of user_id, anonymous_id, email"),
        ({"identify_by": "email"}, "identify_by of plan_frames: 'email' is none of user_id, anonymous_id"),
        ({"emails": "every"}, "emails of plan_frames: 'every' is none of first, last, all"),
    ],
)
def test_a_misspelt_argument_is_refused_with_what_it_could_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan_frames(None, frame({"u1": None}), **options)


def test_an_empty_frame_is_an_audience_without_members_whatever_its_columns_are() -> None:
    someone = frame({"u1": None})
    for empty in (
        pd.DataFrame(columns=["user_id"]),
        someone[:0],
        pd.DataFrame({"user_id": pd.Series([], dtype=float)}),
    ):
        assert listed(plan_frames(someone, empty)) == [("exited", "u1", None, False)]
        assert listed(plan_frames(empty, someone)) == [("entered", "u1", None, True)]


def test_the_changes_are_those_that_a_run_would_send(world: World) -> None:
    before, after = {"u1": "1@x", "u2": "2@x", "u3": "3@x"}, {"u2": "2@x", "u3": "new@x", "u4": None}
    world.snapshot(before)
    world.sync()
    world.snapshot(after)
    sent = {
        (message["userId"], message["traits"].get("email"), message["traits"]["order_completed_last_30days"])
        for message in world.plan()
    }
    assert {row[1:] for row in listed(plan_frames(frame(before), frame(after)))} == sent


def test_importing_the_package_does_not_import_the_engine() -> None:
    found = "import sys, windsor_sync; print('duckdb' in sys.modules, 'pandas' in sys.modules)"
    alone = subprocess.run([sys.executable, "-c", found], check=True, capture_output=True, text=True)
    assert alone.stdout.split() == ["False", "False"]
    assert callable(windsor_sync.plan_frames)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = windsor_sync.nothing_such


@pytest.mark.parametrize("dtype", ["object", "string[python]"])
@pytest.mark.parametrize("column", ["user_id", "email", "value"])
@pytest.mark.parametrize("text", ["half\ud800", "caf\udce9"])
def test_half_a_character_in_a_frame_is_a_sentence(dtype: str, column: str, text: str) -> None:
    cells = np.array([text, "b"], dtype=object)
    frame = pd.DataFrame({"user_id": ["a", "b"]})
    frame[column] = pd.Series(cells, dtype="object").astype(dtype)
    with pytest.raises(SnapshotError, match=r"The DataFrame `current`.* Nothing was sent"):
        plan_frames(None, frame, value="value" if column == "value" else None)
