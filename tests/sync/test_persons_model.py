"""Whatever happens to the ids of people: after one healthy forwarding and sync Windsor shows the truth for each person.

Windsor is asked which ids it takes for one person, under each rule by which it may merge.
"""

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.people import People, Row
from tests.support.world import KEY, World
from windsor_sync.delivery.engine import EngineLimits
from windsor_sync.outbox import Limits, Retry
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.store import Merge, Store
from windsor_sync.sync import Request

USERS = ("a", "b", "c", "d", "e")
VISITORS = ("v", "w", "x")

HASTY = EngineLimits(
    checkpoint_rows=2, give_up_after_s=0.05, rejections_to_stop=50, first_backoff_s=0.001, longest_backoff_s=0.01,
    tries_in_turn=2, rows_put_off=2,
)  # fmt: skip

Step = tuple[str, Any, Faults | None]


def story(seed: int, *, by_anonymous_id: bool) -> list[Step]:
    """Between three and nine steps: snapshots, aliases and syncs, some of them in trouble."""
    draw = Random(seed)

    def rows() -> list[Row]:
        found: set[Row] = set()
        for _ in range(draw.randrange(6)):
            visitor = draw.choice(VISITORS) if by_anonymous_id and draw.random() < 0.6 else ""
            user = "" if visitor and draw.random() < 0.5 else draw.choice(USERS)
            found.add((user, visitor))
        return sorted(found)

    def trouble() -> Faults | None:
        if draw.random() < 0.6:
            return None
        rates = {name: draw.choice((0, 0.3)) for name in ("lost_answer_rate", "error_rate")}
        refused = frozenset(draw.sample(USERS + VISITORS, draw.randrange(3)))
        return Faults(seed=draw.randrange(99), rejected_users=refused, **rates)

    def pairs() -> list[tuple[str, str]]:
        return [(previous, user) for _ in range(draw.randint(1, 3))
                if (previous := draw.choice(USERS + VISITORS)) != (user := draw.choice(USERS))]  # fmt: skip

    steps: list[Step] = [("snapshot", rows(), None)]
    for _ in range(draw.randint(2, 9)):
        match draw.choice(("snapshot", "alias", "sync", "sync")):
            case "snapshot":
                steps.append(("snapshot", rows(), None))
            case "alias":
                steps.append(("alias", pairs(), trouble()))
            case _:
                steps.append(("sync", None, trouble()))
    return steps


class ListeningStore(Store):
    """Remembers who was told what."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(**rules)
        self.told: list[tuple[str, bool]] = []

    def apply(self, message: dict[str, Any], received_at: float) -> None:
        if message["type"] == "identify" and KEY in message["traits"]:
            self.told.append((message.get("userId") or message["anonymousId"], message["traits"][KEY]))
        super().apply(message, received_at)


class Story:
    """What happens to one company's people, step by step."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.newest: list[Row] = []

    def snapshot(self, found: list[Row]) -> None:
        self.newest = found
        self.people.snapshot(*found, ("z", ""))  # never nobody

    def alias(self, pairs: list[tuple[str, str]], faults: Faults | None) -> None:
        archive = self.people.archive
        archive.write([archive.message("alias", user, previousId=previous) for previous, user in pairs])
        self.forward(faults)

    def forward(self, faults: Faults | None = None, **request: Any) -> None:
        self.people.world.windsor.set_faults(faults or Faults())
        self.people.forward(**request)

    def sync(self, faults: Faults | None = None, request: Request | None = None) -> None:
        self.people.world.windsor.set_faults(faults or Faults())
        run = self.people.world.sync(KEY, request)
        run.books.check(run.run_id)

    def ends_well(self) -> None:
        self.forward()
        self.sync(request=Request(limits=Limits(retry=Retry())))
        store = self.people.world.windsor.store
        members = {id_ for pair in [*self.newest, ("z", "")] if (id_ := pair[0] or pair[1])}
        persons = {name: getattr(store.user(name), "id", name) for name in (*USERS, *VISITORS, "z")}
        wanted = {persons[name] for name in members}
        told_true = {persons[name] for name, value in store.told if value}
        shown = {name: self.people.shown(name) for name in persons}
        for name, person in persons.items():
            if person in wanted:
                assert shown[name] is True, (name, shown)
            else:
                assert shown[name] is not True, (name, shown)
            assert shown[name] is not False or person in told_true, (name, shown)
        assert self.people.planned() == 0
        assert self.people.sync().books.changes == 0


def play(folder: Path, steps: list[Step], rule: Merge, *, by_anonymous_id: bool, joins: bool = False) -> None:
    folder.mkdir()
    with Sandbox(store=ListeningStore(merge=rule, identify_merges=joins)) as windsor:
        world = World(folder, windsor, timeout_s=2, **({"identify_merges": True} if joins else {}))
        world.document["defaults"] |= {"guard_floor": 1000}
        told = Story(People(world, identify_by="anonymous_id" if by_anonymous_id else "user_id"))
        object.__setattr__(world.workspace, "engine_limits", HASTY)
        try:
            for step, what, faults in steps:
                match step:
                    case "snapshot":
                        told.snapshot(what)
                    case "alias":
                        told.alias(what, faults)
                    case _:
                        told.sync(faults)
            told.ends_well()
        finally:
            world.reopen()


STORIES = 200 if os.environ.get("WINDSOR_CHAOS") else 2


@pytest.mark.parametrize("rule", list(Merge))
@pytest.mark.parametrize("kind", ["user ids", "anonymous ids", "anonymous ids that an identify merges"])
def test_windsor_shows_the_truth_for_each_person(tmp_path: Path, rule: Merge, kind: str) -> None:
    options = {"by_anonymous_id": kind != "user ids", "joins": "merges" in kind}
    for seed in range(STORIES):
        steps = story(seed, by_anonymous_id=options["by_anonymous_id"])
        try:
            play(tmp_path / str(seed), steps, rule, **options)
        except Exception as error:
            error.add_note(f"seed {seed}: {steps}")
            raise
