"""`windsor-sync forward` as a person runs it."""

import json

from tests.chaos.processes import windsor_sync
from tests.support.archive import Archive
from tests.support.world import World
from windsor_sync.sandbox import Faults


def test_forward_shows_the_steps_of_the_delivery_overview_and_then_nothing_new(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "ana"), archive.message("page", "ben"), "{torn"])
    with windsor_sync(world, "forward", "--json") as command:
        ended = command.end()
    (run,) = json.loads(ended.output)["runs"]
    assert (ended.status, run["received"], run["failed_on_ingest"], run["delivered"]) == (0, 3, 1, 2)
    assert run["failed_on_ingest_by_code"] == {"malformed_json": 1}
    with windsor_sync(world, "forward") as command:
        assert command.end().output == "Nothing new in the archive.\n"
    with windsor_sync(world, "runs") as command:
        listed = command.end().output
    assert "events-1-" in listed
    assert max(len(line) for line in listed.splitlines()) <= 100


def test_a_rejected_event_ends_in_status_4_and_names_the_code_but_nobody(world: World) -> None:
    archive = Archive(world)
    archive.write([archive.message("track", "secret-user"), archive.message("track", "ben")])
    world.windsor.set_faults(Faults(rejected_users=frozenset({"secret-user"})))
    with windsor_sync(world, "forward") as command:
        ended = command.end()
    assert ended.status == 4
    assert "rejected 1 of 2 messages (1 × 400" in ended.errors
    assert "secret-user" not in ended.errors + ended.output


def test_the_hook_gets_identify_and_track_and_the_other_calls_are_counted_as_unsupported(world: World) -> None:
    world.destination |= {"wire": "windsor_hook", "url": f"{world.windsor.url}hook"}
    archive = Archive(world)
    archive.write([archive.message(call, "ana", groupId="acme") for call in ("identify", "track", "page", "group")])
    with windsor_sync(world, "forward", "--json") as command:
        ended = command.end()
    assert ended.status == 0, ended.errors
    (run,) = json.loads(ended.output)["runs"]
    assert run["filtered_by_code"] == {"UNSUPPORTED_EVENT_TYPE": 2}
    assert [one.call for one in world.windsor.store.accepted] == ["identify", "track"]


def test_held_aliases_are_named_when_nothing_is_new_and_go_when_they_are_released(world: World) -> None:
    archive = Archive(world, alias="hold")
    archive.write([archive.message("alias", "ana", previousId="anon-1"), archive.message("track", "ana")])
    with windsor_sync(world, "forward") as command:
        assert "held for a person" in command.end().output
    with windsor_sync(world, "forward") as command:
        waiting = command.end().output
    assert waiting == (
        "Nothing new in the archive. Held for a person: 1 alias message; --release-aliases sends what is held.\n"
    )
    with windsor_sync(world, "forward", "--release-aliases") as command:
        assert command.end().status == 0
    assert [one.call for one in world.windsor.store.accepted] == ["track", "alias"]
    with windsor_sync(world, "forward") as command:
        assert command.end().output == "Nothing new in the archive.\n"
