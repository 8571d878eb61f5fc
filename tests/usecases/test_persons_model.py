"""Whatever happens to the ids of people: after one healthy forwarding and sync Windsor shows the truth for each person.

Windsor is asked which ids it takes for one person, under each rule by which it may merge.
"""

import os
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import pytest

from tests.support.people import People
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.delivery.bounds import EngineLimits
from windsor_sync.domain.change import Limits, Retry
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.receiver import Receiver
from windsor_sync.sandbox.store import Merge, Store
from windsor_sync.usecases.forget import forget
from windsor_sync.usecases.request import Request

USERS = ("a", "b", "c", "d", "e")
VISITORS = ("v", "w", "x")

HASTY = EngineLimits(
    checkpoint_rows=2, give_up_after_s=0.05, rejections_to_stop=50, first_backoff_s=0.001, longest_backoff_s=0.01,
    tries_in_turn=2, rows_put_off=2,
)  # fmt: skip

Step = tuple[str, Any, Faults | None]
Row = tuple[str, str, str, str]
"""User id, anonymous id, e-mail and value."""


class Plot(NamedTuple):
    """What a story is about."""

    by_anonymous_id: bool = False
    joins: bool = False
    """Windsor merges the two ids of an identify, and windsor.yaml says so"""
    is_trait: bool = False
    """a computed trait with `on_missing: null`"""
    holds: bool = False
    """`alias: hold`, and a person releases them now and then"""


PLOTS = {
    "user ids": Plot(),
    "anonymous ids": Plot(by_anonymous_id=True),
    "an identify merges": Plot(by_anonymous_id=True, joins=True),
    "a computed trait": Plot(by_anonymous_id=True, is_trait=True),
    "held aliases": Plot(holds=True),
}


def story(seed: int, plot: Plot) -> list[Step]:
    """Between three and nine steps: snapshots, aliases, syncs and a user who is forgotten, some of them in trouble."""
    draw = Random(seed)

    def rows() -> list[Row]:
        found: dict[tuple[str, str], Row] = {}
        for _ in range(draw.randrange(6)):
            visitor = draw.choice(VISITORS) if plot.by_anonymous_id and draw.random() < 0.6 else ""
            user = "" if visitor and draw.random() < 0.5 else draw.choice(USERS)
            email = draw.choice(("", "", f"{user or visitor}@a.example", f"{user or visitor}@b.example"))
            found[user, visitor] = (user, visitor, email, str(draw.randrange(3)))
        return sorted(found.values())

    def trouble() -> Faults | None:
        if draw.random() < 0.6:
            return None
        rates = {name: draw.choice((0, 0.3)) for name in ("lost_answer_rate", "error_rate")}
        refused = frozenset(draw.sample(USERS + VISITORS, draw.randrange(3)))
        return Faults(seed=draw.randrange(99), rejected_users=refused, **rates)

    def pairs() -> list[tuple[str, str]]:
        drawn = [(draw.choice(USERS + VISITORS), draw.choice(USERS)) for _ in range(draw.randint(1, 3))]
        return [(previous, user) for previous, user in drawn if previous != user]

    steps: list[Step] = [("snapshot", rows(), None)]
    kinds = ("snapshot", "snapshot", "alias", "alias", "sync", "sync", "sync", "forget")
    for _ in range(draw.randint(2, 9)):
        match kind := draw.choice(kinds):
            case "snapshot":
                steps.append((kind, rows(), None))
            case "alias":
                steps.append((kind, pairs(), trouble()))
            case "forget":
                steps.append((kind, draw.choice(USERS + VISITORS), None))
            case _:
                steps.append((kind, draw.random() < 0.5, trouble()))
    return steps


class ListeningStore(Store):
    """Remembers who was or may have been told anything but that they are not in it."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(**rules)
        self.told: set[str] = set()

    def hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "identify" and message["traits"].get(KEY, message["traits"].get(TRAIT_KEY)):
            self.told.add(message.get("userId") or message["anonymousId"])


class ListeningReceiver(Receiver):
    """Hears what it answers with an error, too: whoever sent it cannot know that it was not taken."""

    def _reject(self, messages: list[dict[str, Any]], faults: Faults) -> None:
        super()._reject(messages, faults)
        for message in messages:
            cast("ListeningStore", self.store).hear(message)


class Story:
    """What happens to one company's people, step by step."""

    def __init__(self, world: World, plot: Plot) -> None:
        self.world, self.plot = world, plot
        identify_by = "anonymous_id" if plot.by_anonymous_id else "user_id"
        entry = {"identify_by": identify_by, **({"on_missing": None} if plot.is_trait else {})}
        events = {"alias": "hold"} if plot.holds else {}
        self.people = People(world, TRAIT_KEY if plot.is_trait else KEY, events, **entry)
        object.__setattr__(world.workspace, "engine_limits", HASTY)
        self.newest: list[Row] = []
        self.forgotten: set[str] = set()

    def step(self, kind: str, what: Any, faults: Faults | None) -> None:
        match kind:
            case "snapshot":
                self.newest = [*what, ("z", "", "", "1")]  # never nobody
                self.people.download(*self.newest)
            case "alias":
                archive = self.people.archive
                archive.write([archive.message("alias", user, previousId=previous) for previous, user in what])
                self.forward(faults)
            case "forget":
                forget(self.world.workspace, what, who="model", why=None)
                self.forgotten.add(what)
            case _:
                if what and self.plot.holds:
                    self.forward(faults, releases_aliases=True)
                self.sync(faults)

    def forward(self, faults: Faults | None = None, **request: Any) -> None:
        self.world.windsor.set_faults(faults or Faults())
        self.people.forward(**request)

    def sync(self, faults: Faults | None = None, request: Request | None = None) -> None:
        self.world.windsor.set_faults(faults or Faults())
        run = self.world.sync(self.people.key, request)
        run.books.check(run.run_id)

    def ends_well(self) -> None:
        self.forward(releases_aliases=True)
        self.sync(request=Request(limits=Limits(retry=Retry())))
        store = self.world.windsor.store
        names = (*USERS, *VISITORS, "z")
        persons = {name: getattr(store.user(name), "id", name) for name in names}
        wanted: dict[str, set[Any]] = {}
        for user, visitor, _, value in self.newest:
            if user or (visitor and self.plot.by_anonymous_id):
                wanted.setdefault(persons[user or visitor], set()).add(int(value) if self.plot.is_trait else True)
        told = {persons[name] for name in store.told if name in persons}
        forgotten = {persons[name] for name in self.forgotten}
        shown = {name: self.people.shown(name) for name in names}
        for name in names:
            if persons[name] in forgotten:
                continue
            if persons[name] in wanted:
                assert shown[name] in wanted[persons[name]], (name, shown)
                assert shown[name] is not False, (name, shown)
            else:
                assert not shown[name], (name, shown)
                assert shown[name] is None or persons[name] in told, (name, shown)
        assert self.people.planned() == 0
        assert self.people.sync().books.changes == 0


def play(folder: Path, steps: list[Step], rule: Merge, plot: Plot) -> None:
    folder.mkdir()
    with Sandbox(store=ListeningStore(merge=rule, identify_merges=plot.joins)) as windsor:
        object.__setattr__(windsor._receiver, "__class__", ListeningReceiver)
        world = World(folder, windsor, timeout_s=2, **({"identify_merges": True} if plot.joins else {}))
        world.document["defaults"] |= {"guard_floor": 1000}
        told = Story(world, plot)
        try:
            for step in steps:
                told.step(*step)
            told.ends_well()
        finally:
            world.reopen()


IS_LONG = os.environ.get("WINDSOR_CHAOS") == "1"
STORIES = 100 if IS_LONG else 1
PAIRS = [(about, rule) for about in PLOTS for rule in Merge]
"""In the short form every other one: each plot and each rule is among them."""


@pytest.mark.forms(4)
@pytest.mark.parametrize(("about", "rule"), PAIRS)
def test_windsor_shows_the_truth_for_each_person(tmp_path: Path, rule: Merge, about: str) -> None:
    first = list(PLOTS).index(about) * len(Merge) + list(Merge).index(rule)
    for seed in range(first, first + STORIES):
        steps = story(seed, PLOTS[about])
        try:
            play(tmp_path / str(seed), steps, rule, PLOTS[about])
        except Exception as error:
            error.add_note(f"seed {seed}: {steps}")
            raise
