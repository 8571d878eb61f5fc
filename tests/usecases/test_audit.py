"""`audit` finds what the ledger stands on and what does not hold, names what mends it, and leaves the living alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.support.archive import Archive
from tests.support.world import KEY, World
from windsor_sync.domain.run import Run
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import runs
from windsor_sync.usecases.audit import Irregularity, audit
from windsor_sync.usecases.forward import ForwardRequest, forward


def stored(world: World, folder: str) -> Path:
    (found,) = (world.folder / ".windsor" / "files" / folder).rglob("*.parquet")
    return found


def spoil(file: Path) -> None:
    """Of the same length as before, but no Parquet any more."""
    file.write_bytes(bytes(file.stat().st_size))


def found_by_audit(world: World) -> Irregularity:
    (found,) = audit(world.workspace, repair=False)
    return found


def test_a_sealed_snapshot_that_was_overwritten_is_found_though_it_has_its_length(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    spoil(stored(world, "snapshots"))
    found = found_by_audit(world)
    assert (found.audience, found.is_mended) == (KEY, False)
    assert "was changed since it was written" in found.text
    assert found.remedy.startswith(f"Run `windsor-sync recover {KEY}`")


def test_a_quick_audit_leaves_the_contents_out(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    file = stored(world, "snapshots")
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    assert audit(world.workspace, repair=False, is_quick=True) == []
    assert len(audit(world.workspace, repair=False)) == 1
    spoil(file)
    (found,) = audit(world.workspace, repair=False, is_quick=True)
    assert "cannot be read, or does not have its 2 rows" in found.text


def test_an_audit_tells_how_many_files_it_has_read(world: World) -> None:
    world.snapshot(["ana", "ben"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.sync()
    told: list[tuple[int, int]] = []
    audit(world.workspace, repair=False, looked_at=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("lose", [spoil, Path.unlink])
def test_an_outbox_that_owes_something_and_cannot_be_read_any_more_is_found(
    world: World, lose: Callable[[Path], None]
) -> None:
    world.snapshot(["ana", "ben"])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"ana"})))
    world.sync()
    lose(stored(world, "outboxes"))
    found = found_by_audit(world)
    assert found.text.startswith("The stored file outboxes/")
    assert found.remedy.startswith(f"Run `windsor-sync recover {KEY}`")


def test_the_lost_outbox_of_events_that_are_still_owed_is_found(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana")])
    world.windsor.set_faults(Faults(revoked_after=0))
    (run,) = forward(world.workspace, ForwardRequest(), world.stop)
    assert run.books.owed == 1
    assert audit(world.workspace, repair=False) == []
    stored(world, "outboxes").unlink()
    found = found_by_audit(world)
    assert found.text.startswith("The stored file outboxes/events/")
    assert found.remedy.startswith("Run `windsor-sync recover --events`")


def test_books_that_do_not_balance_are_found(world: World) -> None:
    world.snapshot(["ana", "ben"])
    run = world.sync()
    with world.workspace.database.write() as connection:
        connection.execute(update(runs).where(runs.c.id == run.run_id).values(delivered=1))
    found = found_by_audit(world)
    assert run.run_id in found.text
    assert found.remedy.startswith("Report it")


def test_a_run_that_is_still_going_is_not_repaired(world: World) -> None:
    world.snapshot(["ana", "ben"])
    seen: list[list[Irregularity]] = []

    def look(run: Run, delivery: object) -> None:
        seen.append(audit(world.workspace, repair=True))

    assert world.sync(on_progress=look).books.delivered == 2
    (found,) = seen[0]
    assert not found.is_mended
    assert "Another run is writing to" in found.remedy
