"""Shares the files of an archive between processes: reading them is nearly all of an intake's work.

The workers are plain interpreters that are told over a pipe what to do. Unlike multiprocessing that works under a
daemon process (a Celery worker's child), needs nothing of the caller's `__main__`, and leaves no orphans: a worker whose
pipe closes, for whatever reason, ends.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from windsor_sync.errors import WindsorSyncError
from windsor_sync.events.archive import ArchiveFile, is_shared
from windsor_sync.events.parts import EventTally, Sorter
from windsor_sync.segment.routing import Routing

MOST_WORKERS = 4
WORTH_A_WORKER_BYTES = 2 * 1024 * 1024
"""Of compressed archive: a third of a second's work, which is what it takes to start a process."""

_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from windsor_sync.events.workers import work; work(sys.stdin.buffer, sys.stdout.buffer)"
)


def sort_files(
    archive: str, files: Sequence[ArchiveFile], routing: Routing, folder: Path
) -> Generator[EventTally, None, None]:
    """Put every line of the files into its bucket, and what is to be sent into parts in `folder`.

    A single failure ends it and is raised; so does closing the iterator.
    """
    count = _workers(archive, files)
    if count < 2:
        yield from _sort_here(archive, files, routing, folder)
        return
    waiting: SimpleQueue[tuple[int, ArchiveFile] | None] = SimpleQueue()
    for task in enumerate(files):
        waiting.put(task)
    answers: SimpleQueue[EventTally | Exception | None] = SimpleQueue()
    with ExitStack() as running:
        for number in range(count):
            waiting.put(None)
            worker = _Worker((archive, routing, folder, str(number)), waiting, answers)
            running.callback(worker.end)
        yield from _answers(answers, count)


def _workers(archive: str, files: Sequence[ArchiveFile]) -> int:
    if not sys.executable or not is_shared(archive):
        return 1
    size = sum(file.size_bytes for file in files)
    return min(MOST_WORKERS, _processors(), len(files), size // WORTH_A_WORKER_BYTES)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sort_here(archive: str, files: Sequence[ArchiveFile], routing: Routing, folder: Path) -> Iterator[EventTally]:
    sorter = Sorter(archive, routing, folder, "0")
    for index, file in enumerate(files):
        yield from sorter.sort(index, file)
    sorter.close()


def _answers(answers: "SimpleQueue[EventTally | Exception | None]", count: int) -> Iterator[EventTally]:
    while count:
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            count -= 1
        else:
            yield answer


class _Worker:
    """A process, and the thread that gives it files and takes its answers."""

    def __init__(self, setting: tuple[Any, ...], waiting: Any, answers: Any) -> None:
        self._waiting = waiting
        self._answers = answers
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter with our own words
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._thread = Thread(target=self._talk, args=(setting,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let nothing of it run on."""
        self._process.kill()
        self._thread.join()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was not written to it yet
                pipe.close()  # type: ignore[union-attr]

    def _talk(self, setting: tuple[Any, ...]) -> None:
        try:
            self._tell(sys.path)
            self._tell(setting)
            while (task := self._waiting.get()) is not None:
                self._tell(task)
                while not self._hear().is_last:
                    pass
            self._tell(None)
            self._hear()
        except (OSError, EOFError, pickle.UnpicklingError):
            self._answers.put(_died("died (was it short of memory, or killed?)"))
        except Exception as error:
            self._answers.put(error)

    def _tell(self, what: Any) -> None:
        assert self._process.stdin is not None
        _put(what, self._process.stdin)

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        answer = pickle.load(self._process.stdout)  # noqa: S301  # from our own process
        if isinstance(answer, Exception):
            raise answer
        self._answers.put(answer)
        return answer


def work(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """A worker's life: sort the files that come, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; whoever started us ends us
    gc.set_threshold(100_000)  # messages are many small objects without cycles: looking for some costs a tenth
    with suppress(EOFError, BrokenPipeError):
        try:
            sorter = Sorter(*pickle.load(tasks))  # noqa: S301
            while (task := pickle.load(tasks)) is not None:  # noqa: S301
                for tally in sorter.sort(*task):
                    _put(tally, answers)
            sorter.close()
            _put(None, answers)
        except WindsorSyncError as error:
            _put(error, answers)
        except Exception as error:
            _put(_died(f"failed with {type(error).__name__}"), answers)  # its words may repeat a message
    os._exit(0)  # nothing to tidy up, and no pipe to flush into that may be gone


def _put(what: Any, pipe: IO[bytes]) -> None:
    pickle.dump(what, pipe)
    pipe.flush()


def _died(how: str) -> WindsorSyncError:
    return WindsorSyncError(
        f"A process that read archive files {how}. Nothing of this run was taken in, and nothing was sent. Run it again."
    )
