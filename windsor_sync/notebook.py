"""Plans a sync in a notebook: two DataFrames in, the changes between them out. Nothing is stored or sent."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from windsor_sync.diff.duckdb import DiffTask, duckdb_diff
from windsor_sync.domain.change import FALSE_FIRST, Limits
from windsor_sync.outbox.audiences import rows_by_user
from windsor_sync.settings.choices import Column, Emails, IdentifyBy
from windsor_sync.snapshots.seal import Sealed, seal
from windsor_sync.sources import DataFrameSource
from windsor_sync.state.ledger import Head
from windsor_sync.storage.scratch import scratch_folder

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("change", "user_id", "anonymous_id", "email", "value")


def plan_frames(
    previous: "pd.DataFrame | None",
    current: "pd.DataFrame",
    *,
    columns: Mapping[str, str] | None = None,
    value: str | None = None,
    identify_by: str = "user_id",
    emails: str = "first",
) -> "pd.DataFrame":
    """The changes that turn one snapshot into the next, as a run would send them: a row each, ordered by user.

    A frame has a row for each member; `columns` maps our names (user_id, anonymous_id, email) to the frames'. `previous`
    is None before the first sync. `change` is entered, exited or updated; those who exited have the identifiers they had
    before. `value` names the column of a computed trait: then the changes carry the new values, and users who are missing
    are not mentioned. Without it, `value` in the result is whether the user is a member.

    Raises SnapshotError when a frame cannot be used, as a run would, and ValueError for another argument that is none of these.
    """
    _refuse_others("columns", columns or {}, [column for column in Column if column is not Column.VALUE])
    _refuse_others("identify_by", [identify_by], IdentifyBy)
    _refuse_others("emails", [emails], Emails)
    mapping = {**(columns or {}), **({"value": value} if value else {})}
    with scratch_folder() as folder:
        sealed = {
            name: _sealed(frame, name, folder, mapping, identify_by, emails, wants_value=value is not None)
            for name, frame in (("previous", previous), ("current", current))
            if frame is not None
        }
        task = DiffTask(
            head=_head(sealed["previous"]) if previous is not None else None,
            snapshot=str(sealed["current"].path),
            number=2,
            taken_at=sealed["current"].taken_at,
            moment=datetime.now(UTC),
            limits=Limits(drops_exits=value is not None),
        )
        outbox = folder / "outbox.parquet"
        duckdb_diff(task, outbox)
        return _changes(outbox, is_membership=value is None)


def _refuse_others(argument: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """A name that is not known would otherwise be a column that is not looked at, without a word."""
    known = list(allowed)
    for name in given:
        if name not in known:
            raise ValueError(f"{argument} of plan_frames: {name!r} is none of {', '.join(known)}.")


def _sealed(
    frame: "pd.DataFrame",
    name: str,
    folder: Path,
    columns: Mapping[str, str],
    identify_by: str,
    emails: str,
    *,
    wants_value: bool,
) -> Sealed:
    source = DataFrameSource(frame, columns=columns, value_of=columns.get("value"), name=f"The DataFrame `{name}`")
    path = folder / f"{name}.parquet"
    return seal(source, path, identify_by=identify_by, emails=emails, wants_value=wants_value)


def _head(sealed: Sealed) -> Head:
    """A ledger in which Windsor has acknowledged all of this snapshot."""
    return Head(
        run_id="previous",
        number=1,
        snapshot_id=None,
        snapshot=str(sealed.path),
        checksum=sealed.checksum,
        taken_at=sealed.taken_at,
        members=sealed.members,
        outbox=None,
        held=(),
        is_settled=True,
    )


def _changes(outbox: Path, *, is_membership: bool) -> "pd.DataFrame":
    import pandas as pd

    found = rows_by_user(str(outbox), COLUMNS)
    # Objects, so that an id stays the text it is and a value the kind it is, with None for what is missing.
    changes = pd.DataFrame(found, columns=list(COLUMNS), dtype=object)
    if is_membership:
        changes["value"] = ~changes["change"].isin(list(FALSE_FIRST))
    else:
        changes["value"] = pd.Series([json.loads(row[-1]) for row in found], dtype=object)
    return changes
