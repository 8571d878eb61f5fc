"""Events from an archive in an object store that speaks S3, with the outboxes in it too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.archive import Archive, arrived, sent
from tests.support.world import World
from windsor_sync.domain.run import Run
from windsor_sync.events.books import overview
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.forward import ForwardRequest, forward

LOGS = "acme/logs/segment-logs"


def upload(store: Any, archive: Archive, path: Path) -> None:
    """What Segment does."""
    store.put_file(str(path), f"{LOGS}/{path.relative_to(archive.root)}")


def one_run(world: World) -> Run:
    (run,) = forward(world.workspace, ForwardRequest(), world.stop)
    run.books.check(run.run_id)
    return run


def test_each_event_arrives_once_and_in_order_with_everything_in_an_object_store(
    make_world: Callable[..., World], s3: Any
) -> None:
    world = make_world()
    archive = Archive(world)
    world.document["files"] = "s3://acme/windsor"
    world.document["events"]["archive"] = f"s3://{LOGS}/"
    world.destination |= {"give_up_after_s": 0.2, "timeout_s": 2}
    s3.pipe_file(f"{LOGS}/dummy-object.txt", b"")
    s3.pipe_file(f"{LOGS}/src1/1767225600000/empty.gz", b"")
    path = archive.write([archive.message("track", user) for user in ("ana", "ben", "ana")])
    upload(s3, archive, path)
    assert one_run(world).books.delivered == 3
    s3.pipe_file(f"{LOGS}/{path.relative_to(archive.root)}", path.read_bytes())  # the same again: no new file to S3
    assert forward(world.workspace, ForwardRequest(), world.stop) == []
    upload(s3, archive, archive.write([archive.message("identify", user) for user in ("ana", "ben", "cem")]))
    world.windsor.set_faults(Faults(error_rate=1.0, error_statuses=(503,)))
    assert one_run(world).books.owed == 3
    assert forget(world.workspace, "cem", who="a test", why=None).outboxes == 1
    world.windsor.set_faults(Faults())
    upload(s3, archive, archive.write([archive.message("page", "ana")]))
    run = one_run(world)
    assert (run.books.delivered, run.books.withheld, overview(run)["carried"]) == (3, 1, 3)
    assert arrived(world) == sent(one for one in archive.written if one["userId"] != "cem")
    assert audit(world.workspace, repair=False) == []
    assert not (world.folder / ".windsor" / "files").exists()
