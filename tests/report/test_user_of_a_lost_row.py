"""Who asks for the user of a row whose outbox is gone hears that it is not stored any more, and that they asked is kept."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.archive import FIRST_DAY, Archive
from tests.support.world import World
from windsor_sync.domain.run import Run
from windsor_sync.report.users import Shown, show_user
from windsor_sync.report.views import view_run
from windsor_sync.sandbox import Faults
from windsor_sync.state.runs import recent
from windsor_sync.state.tables import audit_trail
from windsor_sync.usecases.forward import ForwardRequest, forward


def overwrite(file: Path) -> None:
    """Of the same length as before, but no Parquet any more."""
    file.write_bytes(bytes(file.stat().st_size))


def cut_short(file: Path) -> None:
    """Half of it."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("lose", [Path.unlink, overwrite, cut_short])
def test_the_user_of_a_row_whose_outbox_was_pruned_or_damaged_is_not_stored_any_more(
    world: World, lose: Callable[[Path], None]
) -> None:
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.snapshot(["ana", "ben"])
    world.sync()
    (run,) = recent(world.workspace.database)
    assert show_user(world.workspace, run, 0, who="ben in Airflow").user is not None
    (file,) = (world.folder / ".windsor" / "files" / "outboxes").rglob("*.parquet")
    lose(file)
    assert show_user(world.workspace, run, 0, who="ben in Airflow") == Shown(0, None)
    with world.workspace.database.read() as connection:
        asked = select(func.count()).where(audit_trail.c.what == "show user")
        assert connection.execute(asked).scalar_one() == 2


@pytest.mark.parametrize("who", [{"userId": "ana"}, {"userId": None, "anonymousId": "ana"}], ids=["user", "anonymous"])
def test_the_user_of_a_rejected_row_is_shown_for_forwarded_events_too(world: World, who: dict[str, str | None]) -> None:
    archive = Archive(world)
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    for day in range(2):  # an outbox of several runs: one file, or several
        others = [archive.message("track", f"user-{number}") for number in range(3)]
        archive.write([*others, {**archive.message("track", None), **who}], day=FIRST_DAY + timedelta(days=day))
        (run,) = forward(world.workspace, ForwardRequest(), world.stop)
        (row,) = [verdict.seq for verdict in rejected(world, run)]
        shown = show_user(world.workspace, run, row, who="ben in Airflow")
        assert (shown.user, shown.is_anonymous) == ("ana", who["userId"] is None)


def rejected(world: World, run: Run) -> "list[Any]":
    view = view_run(world.workspace, run.run_id, after=-1)
    assert view is not None
    return list(view.rows)
