"""A whole sync with its snapshots and its sealed files in an object store that speaks S3."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.world import World
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget


def upload(store: Any, path: Path) -> None:
    """What the customer's export does."""
    store.put_file(str(path), f"acme/exports/{path.name}")


def test_audiences_converge_with_everything_in_an_object_store(make_world: Callable[..., World], s3: Any) -> None:
    world = make_world()
    world.document["files"] = "s3://acme/windsor"
    world.document["audiences"][0]["snapshot"] = {"path": "s3://acme/exports/*.csv", "taken_at": "%Y%m%dT%H%M"}
    upload(s3, world.snapshot(["u1", "u2", "u3"]))
    world.sync()
    assert world.members_shown() == {"u1", "u2", "u3"}
    world.reopen()
    upload(s3, world.snapshot(["u2", "u3", "u4"]))
    planned = world.plan()
    world.sync()
    assert len(planned) == 2
    assert world.shown() == {"u1": False, "u2": True, "u3": True, "u4": True}
    sent = world.sent
    world.sync()
    assert world.sent == sent
    assert audit(world.workspace, repair=False) == []
    forgotten = forget(world.workspace, "u2", who="test", why=None)
    assert (forgotten.snapshots, forgotten.outboxes) == (2, 1)
    world.sync()
    assert audit(world.workspace, repair=False) == []
    assert {path.split("/")[2] for path in s3.find("acme/windsor")} == {"snapshots", "outboxes", "marks", "forgotten"}
    assert not (world.folder / ".windsor" / "files").exists()
