"""A `forget` that stood still past its leases leaves the files of the run that took over alone."""

from typing import Any

import pytest
from sqlalchemy import update

from tests.support.world import World
from windsor_sync.errors import LeaseLost
from windsor_sync.state.tables import leases
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget


def test_a_forget_that_lost_its_leases_changes_no_file_that_another_run_may_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.snapshot(["ana", "ben"])
    world.sync()
    named = world.workspace.stored.named()
    put = world.workspace.stored.put

    def then_stand_still(*args: Any) -> Any:
        placed = put(*args)
        with world.workspace.database.write() as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1, holder="another run"))
        return placed

    with monkeypatch.context() as patch:
        patch.setattr(world.workspace.stored, "put", then_stand_still)
        with pytest.raises(LeaseLost):
            forget(world.workspace, "ana", who="a test", why=None)
    assert world.workspace.stored.named() == named
    with world.workspace.database.write() as connection:
        connection.execute(update(leases).values(holder=None))
    assert forget(world.workspace, "ana", who="a test", why=None).snapshots == 1
    assert audit(world.workspace, repair=False) == []
