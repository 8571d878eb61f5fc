"""A company with a history: audiences in every state, one with a hostile name, and forwarded events."""

from typing import Any

from tests.support.archive import Archive
from tests.support.world import World
from windsor_sync.sandbox import Faults
from windsor_sync.state.database import Database
from windsor_sync.state.tables import runs
from windsor_sync.usecases.forward import ForwardRequest, forward

HOSTILE = "<script>document.title='taken'</script> & Co"
HOSTILE_KEY = "hostile"
USERS = [f"private-user-{number}" for number in range(200)]
REJECTED = USERS[20]


def configure(world: World) -> None:
    """Let the world have a second audience, which nobody would call so."""
    world.document["audiences"].append(world.entry(HOSTILE, "hostile", trait=HOSTILE_KEY))


def live(world: World) -> None:
    """Syncs that deliver, reject and withhold, and a forwarding with something in most steps."""
    archive = Archive(world)
    world.snapshot(USERS[10:], folder="hostile")
    world.windsor.set_faults(Faults(rejected_users=frozenset({REJECTED})))
    world.sync(HOSTILE_KEY)
    world.windsor.set_faults(Faults())
    for members in (USERS[:120], USERS[5:160], USERS, [*USERS[30:], "private-newcomer"], USERS[:20]):
        world.snapshot(members)
        world.sync()
    messages = [archive.message("track", user) for user in USERS[:5]]
    archive.write([*messages, messages[0], archive.message("track", None), archive.message("page", USERS[0])])
    forward(world.workspace, ForwardRequest(), world.stop)


def repeat(database: Database, run_id: str, times: int) -> None:
    """As many further runs of the same audience, each as this one was."""
    with database.write() as connection:
        row: dict[str, Any] = dict(connection.execute(runs.select().where(runs.c.id == run_id)).one()._mapping)
        first = row["number"] + 1_000
        copies = [{**row, "id": f"copy-{number}", "number": number} for number in range(first, first + times)]
        connection.execute(runs.insert(), copies)
