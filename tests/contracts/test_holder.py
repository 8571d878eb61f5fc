"""A lease whose holder was killed is free at once, and only then."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from windsor_sync.errors import LeaseHeld
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.leases import acquire
from windsor_sync.storage.process import has_died, mark_of_this_process

VIP = "vip at windsor"

HOLD = """
import sys
from windsor_sync.state.leases import acquire
from windsor_sync.state.database import open_database

acquire(open_database(sys.argv[1]), "vip at windsor", "the nightly run")
print("held", flush=True)
sys.stdin.read()
"""

Process = subprocess.Popen[bytes]


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts Python programs that say when they are ready; they end with the test."""
    running: list[Process] = []

    def begin(program: str, *arguments: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_the_lease_of_a_killed_process_is_taken_over_at_once(state_url: str, start: Callable[..., Process]) -> None:
    database = open_database(state_url)
    holder = start(HOLD, state_url)
    with pytest.raises(LeaseHeld, match="the nightly run"):
        acquire(database, VIP, "the next")
    holder.kill()
    holder.wait()
    assert acquire(database, VIP, "the next").token == 2
    database.close()


def test_the_lease_of_a_process_that_stands_still_is_not_taken_over(
    state_url: str, start: Callable[..., Process]
) -> None:
    database = open_database(state_url)
    start(HOLD, state_url).send_signal(signal.SIGSTOP)
    with pytest.raises(LeaseHeld):
        acquire(database, VIP, "the next")
    database.close()


def test_a_lease_that_this_process_holds_is_not_taken_over(database: Database) -> None:
    acquire(database, VIP, "a")
    with pytest.raises(LeaseHeld):
        acquire(database, VIP, "b")


MARK = """
from windsor_sync.storage.process import mark_of_this_process

print("ready", mark_of_this_process(), sep="\\n", flush=True)
input()
"""


@pytest.fixture
def marked(start: Callable[..., Process]) -> tuple[Process, str]:
    """A process and its mark."""
    process = start(MARK)
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def test_a_killed_process_has_died_even_before_its_parent_looked(marked: tuple[Process, str]) -> None:
    process, mark = marked
    assert not has_died(mark)
    process.send_signal(signal.SIGSTOP)
    assert not has_died(mark)
    process.kill()
    while not has_died(mark):  # the parent has not asked how it ended, so its number is still taken
        pass
    process.wait()
    assert has_died(mark)


def test_a_later_process_with_the_same_number_is_not_taken_for_the_holder() -> None:
    mark = mark_of_this_process()
    assert mark is not None
    same_number, began = mark.rsplit(" ", 1)
    assert not has_died(mark)
    assert has_died(f"{same_number} {int(began) - 1}")


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_process_of_another_machine_start_or_namespace_is_not_judged(place: int, marked: tuple[Process, str]) -> None:
    process, mark = marked
    process.kill()
    process.wait()
    words = mark.split(" ")
    words[place] += "x"
    assert not has_died(" ".join(words))


def test_a_forked_process_has_a_mark_of_its_own() -> None:
    parents = mark_of_this_process()
    assert parents is not None
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, str(mark_of_this_process()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000).decode().split(" ")[-2] == str(child)
    os.close(reading)
    os.close(writing)


def test_a_holder_without_a_mark_is_not_judged() -> None:
    assert not has_died(None)
