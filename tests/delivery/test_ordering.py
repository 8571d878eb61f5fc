"""Ordering keys against a model that remembers every item: order always holds, and whatever can go is let go."""

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windsor_sync.delivery.ordering import Ordering, Ticket

NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3)
ROOM = 3


@dataclass
class Item:
    """What really became of one item."""

    number: int
    ordering_keys: frozenset[str]
    state: str = "waits"
    """waits, goes, put off, behind (one that was put off), gone, or lost"""
    holder: object = None


class Traffic(RuleBasedStateMachine):
    """Items come, go alone or several at once, are answered, put off or given up; then those put off go again."""

    def __init__(self) -> None:
        super().__init__()
        self.ordering_keys: Ordering[Item] = Ordering()
        self.items: list[Item] = []
        self.tickets: dict[int, Ticket[Item]] = {}
        self.is_second_round = False

    def before(self, item: Item) -> list[Item]:
        """Those that must go first, by the ordering keys they share."""
        return [other for other in self.items[: item.number] if other.ordering_keys & item.ordering_keys]

    def of(self, *states: str) -> list[Item]:
        return [item for item in self.items if item.state in states]

    def heads(self) -> list[Item]:
        """Those of a request that may be answered next: none of the same request is before them."""
        return [item for item in self.of("goes") if all(other.state == "gone" for other in self.before(item))]

    def start(self, item: Item, holder: list[Item]) -> None:
        for other in self.before(item):
            assert other.state == "gone" or other.holder is holder, "it goes before one that it has to wait for"
        item.state, item.holder = "goes", holder
        self.tickets[item.number].holder = holder

    @precondition(lambda self: not self.is_second_round)
    @rule(names=NAMES)
    def enter(self, names: list[str]) -> None:
        item = Item(len(self.items), frozenset(names))
        is_behind = any(other.state in ("put off", "behind", "lost") for other in self.before(item))
        self.items.append(item)
        ticket = self.tickets[item.number] = self.ordering_keys.enter(item, names, room=self.room)
        assert ticket.is_aside == is_behind
        if ticket.is_aside:
            item.state = "lost" if ticket.is_lost else "behind"

    @property
    def room(self) -> int:
        return ROOM - len(self.of("put off", "behind"))

    @precondition(lambda self: self.startable())
    @rule(data=st.data(), most=st.integers(1, 4))
    def go(self, data: st.DataObject, most: int) -> None:
        item = data.draw(st.sampled_from(self.startable()))
        holder: list[Item] = []
        self.start(item, holder)
        waiting = [item]
        while waiting and most > 1:
            for ticket in list(self.ordering_keys.behind(self.tickets[waiting.pop(0).number])):
                if self.ordering_keys.may_go(ticket, holder):
                    self.start(ticket.item, holder)
                    waiting.append(ticket.item)
                    most -= 1

    def startable(self) -> list[Item]:
        return [item for item in self.of("waits") if self.ordering_keys.may_go(self.tickets[item.number])]

    @precondition(lambda self: self.heads())
    @rule(data=st.data(), outcome=st.sampled_from(["gone", "gone", "gone", "put off", "lost"]))
    def finish(self, data: st.DataObject, outcome: str) -> None:
        item = data.draw(st.sampled_from(self.heads()))
        ticket = self.tickets[item.number]
        could = {other.number for other in self.startable()}
        if outcome == "gone":
            item.state = "gone"
            freed = [other.item for other in self.ordering_keys.leave(ticket)]
            assert [other.number for other in freed] == sorted({other.number for other in freed} - could)
            assert could | {other.number for other in freed} == {other.number for other in self.free()}
        else:
            aside = self.behind(item)
            if outcome == "put off":
                room = self.room - 1
                item.state = "put off"
                told = self.ordering_keys.put_off(ticket, room=room)
            else:
                item.state = "lost"
                told = self.ordering_keys.abandon(ticket)
            assert [other.item for other in told] == aside
            for other in aside:
                other.state = "behind"
            self.note_losses()

    def behind(self, item: Item) -> list[Item]:
        """Who waits for it, directly or not, and is not set aside yet."""
        found = [item]
        for other in self.items[item.number + 1 :]:
            if other.state != "gone" and any(other.ordering_keys & ahead.ordering_keys for ahead in found):
                found.append(other)
        return [other for other in found[1:] if other.state in ("waits", "goes")]

    def note_losses(self) -> None:
        for item in self.of("behind"):
            if self.tickets[item.number].is_lost:
                item.state = "lost"

    def free(self) -> list[Item]:
        waiting = self.of("waits")
        return [item for item in waiting if all(other.state == "gone" for other in self.before(item))]

    @invariant()
    def whoever_waits_for_nobody_may_go(self) -> None:
        assert self.free() == self.startable()

    @invariant()
    def losses_have_a_reason_and_are_final(self) -> None:
        for item in self.items:
            if item.state in ("waits", "goes", "put off", "behind"):
                assert not any(other.state == "lost" for other in self.before(item)), "it would overtake one left owed"
        assert len(self.of("put off", "behind")) == self.ordering_keys.aside

    def teardown(self) -> None:
        """Everything is answered, and what that lets go too, put off or not: all that is not lost gets its turn."""
        for item in self.startable():
            self.start(item, [])
        again = [item for item in self.of("put off") if all(other.state == "gone" for other in self.before(item))]
        while following := self.heads() or again[:1]:
            item = following[0]
            again = again[item.state != "goes" :]
            assert all(other.state == "gone" for other in self.before(item))
            item.state = "gone"
            for ticket in self.ordering_keys.leave(self.tickets[item.number]):
                if ticket.is_aside:
                    again.append(ticket.item)
                else:
                    self.start(ticket.item, [])
        assert {item.state for item in self.items} <= {"gone", "lost"}
        assert not self.ordering_keys
        assert self.ordering_keys.aside == 0


TestTraffic = Traffic.TestCase


def filled(*items: tuple[str, int]) -> tuple[Ordering[int], list[Ticket[int]]]:
    ordering_keys: Ordering[int] = Ordering()
    return ordering_keys, [ordering_keys.enter(number, names, room=ROOM) for names, number in items]


def test_who_is_first_in_one_ordering_key_waits_for_the_other() -> None:
    ordering_keys, (a, b, both, after) = filled(("a", 1), ("b", 2), ("ab", 3), ("b", 4))
    assert [ordering_keys.may_go(ticket) for ticket in (a, b, both, after)] == [True, True, False, False]
    assert ordering_keys.leave(a) == []
    assert ordering_keys.leave(b) == [both]
    assert ordering_keys.leave(both) == [after]


def test_behind_one_that_is_put_off_only_as_many_wait_as_there_is_room() -> None:
    ordering_keys, (first, *rest) = filled(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 4))
    assert ordering_keys.put_off(first, room=2) == rest
    assert [ticket.is_lost for ticket in rest] == [False, False, True, True]
    assert ordering_keys.enter(5, "a", room=9).is_lost, "it would overtake those without room"
    assert (ordering_keys.leave(first), ordering_keys.leave(rest[0]), ordering_keys.leave(rest[1])) == (
        [rest[0]],
        [rest[1]],
        [],
    )


def test_all_are_found_behind_one_that_is_put_off_by_whatever_way_they_wait() -> None:
    ordering_keys, (first, *rest) = filled(("a", 0), ("ab", 1), ("b", 2), ("ab", 3), ("c", 4), ("bc", 5), ("c", 6))
    (elsewhere,) = (ticket for ticket in rest if ticket.item == 4)
    assert ordering_keys.put_off(first, room=9) == [ticket for ticket in rest if ticket is not elsewhere]
    assert ordering_keys.may_go(elsewhere)
    assert ordering_keys.aside == 6


def test_who_was_set_aside_does_not_go_along_with_one_that_was_not() -> None:
    ordering_keys, (late, other, both) = filled(("a", 1), ("b", 2), ("ab", 3))
    assert ordering_keys.put_off(late, room=9) == [both]
    other.holder = "a request"
    assert ordering_keys.leave(late) == []
    assert list(ordering_keys.behind(other)) == []
    assert ordering_keys.leave(other) == [both]


def test_behind_one_that_is_given_up_nothing_goes_not_even_what_was_put_off() -> None:
    ordering_keys, (a, b, both) = filled(("a", 1), ("b", 2), ("ab", 3))
    assert ordering_keys.put_off(a, room=9) == [both]
    assert ordering_keys.abandon(b) == []
    assert both.is_lost
    assert ordering_keys.leave(a) == []
    assert not ordering_keys
