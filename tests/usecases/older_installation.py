"""Makes tests/usecases/older_installation.tar.xz: what a company has on disk that used an older version until now.

Run once in a worktree of that version (b293124), with today's dependencies: `PYTHONPATH=. python older_installation.py OUT`.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

from windsor_sync.dispatch import StopSwitch
from windsor_sync.forward import Request, forward
from windsor_sync.privacy import forget

from tests.support.archive import Archive
from tests.support.world import TRAIT_KEY, World
from windsor_sync.sandbox import Faults, Sandbox

USERS = [f"user-{number:02}" for number in range(40)]


def live(world: World) -> None:
    """Sync an audience three times and a trait twice, forward events, forget one user; some of everything stays owed."""
    archive = Archive(world)
    world.document["events"]["archive"] = "segment-logs"
    world.document["defaults"] = {"max_exited_percent": None}
    world.destination["give_up_after_s"] = 0.2
    world.snapshot(USERS[:20])
    world.sync()
    world.values({user: number for number, user in enumerate(USERS[:10])})
    world.sync(TRAIT_KEY)
    archive.write([archive.message("track", user) for user in USERS[:10]])
    forward(world.workspace, Request(), StopSwitch())
    world.snapshot(USERS[5:25])
    world.sync()
    forget(world.workspace, USERS[7], who="ann", why=None)
    world.windsor.set_faults(
        Faults(rejected_users=frozenset(USERS[30:]), lost_answer_rate=0.3, seed=7, revoked_after=8)
    )
    world.snapshot(USERS[10:35])
    world.sync()
    world.windsor.set_faults(Faults(rejected_users=frozenset(USERS[8:9])))
    world.values({user: number + 1 for number, user in enumerate(USERS[:12])})
    world.sync(TRAIT_KEY)
    archive.write([archive.message("track", user) for user in USERS[5:15]])
    world.windsor.set_faults(Faults(revoked_after=4))
    forward(world.workspace, Request(), StopSwitch())
    world.windsor.set_faults(Faults())


def main() -> None:
    """Live, and pack the folder with what Windsor shows."""
    with Sandbox(api_key="sandbox") as windsor, tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), windsor, max_in_flight=2)
        live(world)
        shown = {user.id: dict(user.properties) for user in windsor.store.users()}
        arrived = [message.message_id for message in windsor.store.accepted if message.call == "track"]
        (world.folder / "windsor.json").write_text(json.dumps({"shown": shown, "events": arrived}))
        (world.folder / "document.json").write_text(json.dumps(world.document))
        world.reopen()
        with tarfile.open(sys.argv[1], "w:xz") as packed:
            for name in (".windsor", "snapshots", "segment-logs", "windsor.json", "document.json"):
                packed.add(world.folder / name, name)


if __name__ == "__main__":
    main()
