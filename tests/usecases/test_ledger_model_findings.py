"""What the model test has found, each in its smallest sequence."""

from tests.support.world import KEY, World
from windsor_sync.domain.change import Limits
from windsor_sync.domain.run import RunState
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest


def test_who_entered_with_a_resync_that_sent_nothing_and_has_left_since_is_never_told_false(world: World) -> None:
    world.snapshot(["ana"])
    world.windsor.set_faults(Faults(revoked_after=0))
    run = world.sync(request=Request(limits=Limits(is_resync=True)))
    assert (run.books.owed, run.books.in_doubt) == (1, 0)
    world.windsor.set_faults(Faults())
    world.snapshot(["ben"])
    assert world.sync().books.changes == 1
    assert world.shown() == {"ben": True}


def test_who_has_only_an_anonymous_id_is_told_false_though_somebody_else_is_suppressed(world: World) -> None:
    world.document["defaults"] = {"identify_by": "anonymous_id"}
    header = ("user_id", "anonymous_id", "email")
    world._write("audience", header, [("ana", "", ""), ("ben", "", ""), ("", "anonymous-1", "")])
    world.sync()
    forget(world.workspace, "ben", who="dee", why=None)
    world._write("audience", header, [("ana", "", "")])
    world.sync()
    assert world.shown() == {"ana": True, "ben": True, "anonymous-1": False}


def test_a_run_waits_for_nobody_when_a_user_was_suppressed_after_it_was_opened(world: World) -> None:
    world.snapshot(["ana", "ben"])
    workspace, audience = world.workspace, world.computation()
    known = workspace.registry.register(audience)
    with workspace.hold(known.key, "one task") as lease:
        opened = open_run(workspace, audience, known, seal_newest(workspace, audience, Request()), Request(), lease)
    forget(workspace, "ben", who="dee", why=None)
    with workspace.hold(known.key, "another task") as lease:
        run = deliver_run(workspace, audience, opened, lease, world.stop)
    assert (run.state, run.held, run.sentence) == (RunState.DONE, (), "Windsor was told 1 change.")
    assert world.shown(KEY) == {"ana": True}
    run.books.check(run.run_id)
