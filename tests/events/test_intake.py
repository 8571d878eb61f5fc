"""What becomes of the archive's lines: each ends in one bucket, and what is for Windsor waits in order, once."""

import gzip
import json
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import Logs, head, select, track

from windsor_sync.errors import WindsorSyncError
from windsor_sync.events import parts, sealing, workers
from windsor_sync.events.archive import list_files
from windsor_sync.events.intake import UncountedLinesError
from windsor_sync.segment.routing import Routing
from windsor_sync.state.ledger import Verdict

GOOD = [
    track("m-1"),
    {"type": "identify", "userId": 7, "messageId": "m-2", "traits": {}, "timestamp": "2025-06-01T00:00:00.123456789Z"},
    {"type": "page", "anonymousId": "a-1", "messageId": "m-3", "sentAt": None, "timestamp": "2025-06-01T00:00:01Z"},
    {"Type": "screen", "USER_ID": "u-1", "message_id": "m-4", "Name": "Basket", "timestamp": "2025-06-01T00:00:02Z"},
    {"type": "group", "userId": "u-1", "groupId": "g", "messageId": "m-5", "timestamp": "2025-06-01T00:00:03Z"},
    {"type": "alias", "userId": "u-1", "previousId": "a-1", "messageId": "m-6", "timestamp": "2025-06-01T00:00:04Z"},
    track("m-7", second=5, integrations={"All": False, "Windsor": {"option": 1}}),
]  # fmt: skip


def test_all_six_calls_come_through_with_what_segments_archive_does_to_them(logs: Logs) -> None:
    logs.put(b"", name="dummy-object.txt")
    logs.write(*GOOD[:4])
    # Some client has unpacked it, and its last line has no end.
    logs.put("\n".join(json.dumps(message) for message in GOOD[4:]).encode())
    done = logs.take_in()
    assert done.rows() == [f"m-{number}" for number in (1, 2, 3, 4, 5, 6, 7)]
    assert done.rows("call") == ["track", "identify", "page", "screen", "group", "alias", "track"]
    assert done.rows("user_id") == ["u-1", "7", None, "u-1", "u-1", "u-1", "u-1"]
    assert json.loads(done.rows("message")[3]) == {
        "type": "screen", "userId": "u-1", "messageId": "m-4", "name": "Basket", "timestamp": "2025-06-01T00:00:02Z"
    }  # fmt: skip
    assert (done.intake.received, done.intake.rows, done.intake.held) == (7, 7, 0)
    assert list(done.intake.lines.values()) == [4, 3]


def test_a_line_that_is_no_message_is_kept_aside_by_file_and_line_and_stops_nothing(logs: Logs) -> None:
    first = logs.write(track("m-1"), "{torn", "", '"text"', track("m-2", event=None), track("m-3"), "\udcff")
    packed = gzip.compress((json.dumps(track("m-4")) + "\n" + json.dumps(track("m-5")) + "\n").encode())
    second = logs.put(packed[:-4])
    done = logs.take_in()
    assert done.rows()[:3] == ["m-1", "m-3", "m-4"]
    assert done.lines_aside() == [
        (first, 2, "malformed_json"),
        (first, 4, "not_an_object"),
        (first, 5, "event_not_defined"),
        (first, 7, "malformed_utf8"),
        (second, 3, "torn_file"),
    ]
    assert done.intake.lines == {first: 6, second: 3}
    assert done.intake.failed_on_ingest == dict.fromkeys(
        ("malformed_json", "not_an_object", "event_not_defined", "malformed_utf8", "torn_file"), 1
    )


def test_what_is_kept_aside_has_nothing_of_the_message(logs: Logs) -> None:
    logs.write('{"email": "ana@example.com"', track("m", user="", properties={"secret": "ana@example.com"}))
    done = logs.take_in()
    assert done.intake.failed_on_ingest == {"malformed_json": 1, "id_not_string": 1}
    assert b"ana@" not in done.aside.read_bytes() + done.seen.read_bytes()
    assert select(done.aside, "SELECT column_name FROM (DESCRIBE file)") == [("file",), ("line",), ("code",)]


def test_the_order_is_by_timestamp_then_as_in_the_archive(logs: Logs) -> None:
    logs.write(track("late-in-time", second=9), track("tie-1", second=5), track("first", second=1))
    logs.write(track("tie-2", second=5), {**track("no-time"), "timestamp": None}, track("middle", second=3))
    logs.write(track("late-file", second=0), day="1000000000000")
    done = logs.take_in()
    assert done.rows() == ["late-file", "first", "middle", "tie-1", "tie-2", "no-time", "late-in-time"]
    assert done.rows("seq") == list(range(7))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(
    messages=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 3_000])), max_size=20),
    weight=st.integers(1, 6),
    position=st.integers(0, 20),
)
def test_an_outbox_in_several_files_is_the_one_in_a_single_file(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[int, int]], weight: int, position: int
) -> None:
    def outboxes(stretch_weight: int) -> list[Any]:
        logs = Logs(tmp_path_factory.mktemp("stretches"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sealing, "STRETCH_WEIGHT", stretch_weight)
            logs.write(
                *(track(f"m-{i}", second=at, properties={"x": "y" * size}) for i, (at, size) in enumerate(messages))
            )
            first = logs.take_in()
            logs.write(*(track(f"n-{i}", second=at) for i, (at, _) in enumerate(messages)), track("m-0"))
            second = logs.take_in(previous=head(first, min(position, first.intake.rows)))
        assert all(len(list(done.outbox.iterdir())) >= done.intake.rows / stretch_weight for done in (first, second))
        return [done.rows("seq, message, message_id, timestamp, status, since_run") for done in (first, second)]

    assert outboxes(weight) == outboxes(sealing.STRETCH_WEIGHT)


def test_a_repeated_message_is_sent_once_and_the_first_in_the_archive_wins(logs: Logs) -> None:
    logs.write(track("m", user="first", second=9), track("m", user="second", second=1))
    logs.write(track("m", user="third"), track("n"))
    done = logs.take_in()
    assert done.rows("user_id") == ["u-1", "first"]
    assert done.intake.duplicates == 2


def test_a_message_of_an_earlier_run_is_repeated_only_after_the_window(logs: Logs) -> None:
    logs.write(track("m-1"))
    first = logs.take_in()
    logs.write(track("m-1"), track("m-2"))
    assert logs.take_in(seen=[first]).rows() == ["m-2"]
    logs.write(track("m-1"), track("m-2"), track("m-3"))
    assert logs.take_in().rows() == ["m-3"]
    logs.write(track("m-1"))
    assert logs.take_in(seen=[]).rows() == ["m-1"]


def test_a_line_without_a_message_id_is_known_again(logs: Logs) -> None:
    message = {**track("x"), "messageId": None}
    logs.write(message, message)
    assert logs.take_in().intake.duplicates == 1
    logs.write(message)
    assert logs.take_in().rows() == []


def test_what_is_owed_is_carried_over_and_what_has_its_answer_is_not(logs: Logs) -> None:
    logs.write(*(track(f"m-{number}", second=number) for number in range(8)))
    first = logs.take_in()
    answers = {
        "row_0": Verdict.UNANSWERED, "row_1": Verdict.REJECTED, "row_4": Verdict.DELIVERED, "row_5": Verdict.SUPPRESSED
    }  # fmt: skip
    logs.write(track("m-3"), track("new", second=4), track("m-1"))
    second = logs.take_in(previous=head(first, 3, **answers))
    assert second.rows("message_id, since_run") == [("m-0", 1), ("m-3", 1), ("new", 2), ("m-6", 1), ("m-7", 1)]
    assert (second.intake.carried, second.intake.duplicates) == (4, 2)
    third = logs.take_in(previous=head(second), seen=[])
    assert third.rows("message_id, since_run") == second.rows("message_id, since_run")
    logs.write(track("m-6"))
    assert logs.take_in(previous=head(third), seen=[]).intake.duplicates == 1  # though its first run left the window


def test_held_aliases_stay_until_they_are_released_and_then_go_in_their_place(logs: Logs) -> None:
    logs.write(GOOD[5], track("m-1"))
    first = logs.take_in(holds_alias=True)
    assert (first.rows("message_id, status"), first.intake.held) == ([("m-1", "send"), ("m-6", "held")], 1)
    logs.write({**GOOD[5], "messageId": "m-8"}, track("m-9", second=9))
    second = logs.take_in(previous=head(first, 2), holds_alias=True)
    assert second.rows("message_id, status") == [("m-6", "held"), ("m-8", "held"), ("m-9", "send")]
    logs.write({**GOOD[5], "messageId": "m-10"})
    third = logs.take_in(previous=head(second, 3), holds_alias=True, releases_alias=True)
    assert third.rows("message_id, status") == [("m-6", "send"), ("m-8", "send"), ("m-10", "held")]
    fourth = logs.take_in(previous=head(third), holds_alias=True)
    assert fourth.rows("message_id, status") == third.rows("message_id, status")  # once released is released


def test_a_held_alias_is_known_while_it_waits_and_as_long_again_once_it_is_released(logs: Logs) -> None:
    logs.write(GOOD[5])
    waiting = logs.take_in(holds_alias=True)
    for _ in range(2):  # the runs before have left the window
        logs.write(GOOD[5])
        waiting = logs.take_in(previous=head(waiting), seen=[], holds_alias=True)
        assert (waiting.intake.duplicates, waiting.intake.held) == (1, 1)
    idle = logs.take_in(previous=head(waiting), holds_alias=True)
    assert select(idle.seen, "SELECT count(*) FROM file") == [(0,)]
    released = logs.take_in(previous=head(idle), holds_alias=True, releases_alias=True)
    logs.write(GOOD[5])
    assert logs.take_in(previous=head(released, 1), seen=[released], holds_alias=True).rows() == []


LINES = st.sampled_from(
    [
        *("{not json", "[1]", "\udcff", "", "  ", '{"type":"delete"}', json.dumps({**track("x"), "userId": ""})),
        json.dumps(track("never", integrations={"All": False})),
        json.dumps({**GOOD[3], "messageId": "screen"}),
        *(json.dumps(track(f"m-{number}", second=number % 3)) for number in range(6)),
        json.dumps({**track("x"), "messageId": None}),
    ]
)
FILES = st.lists(st.tuples(st.lists(LINES, max_size=12), st.booleans()), max_size=4)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(first=FILES, second=FILES, position=st.integers(0, 8))
def test_every_line_ends_in_exactly_one_bucket(
    tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any, position: int
) -> None:
    logs = Logs(tmp_path_factory.mktemp("property"))
    routing = Routing(calls=frozenset({"track"}))
    sent: list[str] = []
    previous = None
    for files in (first, second):
        for lines, is_torn in files:
            path = logs.root / logs.write(*lines)
            path.write_bytes(path.read_bytes()[:-4] if is_torn else path.read_bytes())
        intake = (done := logs.take_in(previous=previous, routing=routing)).intake
        assert intake.received == sum(is_torn + sum(bool(line.strip()) for line in lines) for lines, is_torn in files)
        assert intake.received == sum(intake.lines.values())
        assert len(done.lines_aside()) == sum(intake.failed_on_ingest.values())
        assert len(done.rows()) == intake.rows == len(set(done.rows()))
        assert done.rows("seq") == list(range(intake.rows))
        answered = min(position, intake.rows)
        sent += done.rows()[:answered]
        previous = head(done, answered)
    assert len(sent) == len(set(sent))


def test_an_intake_that_does_not_add_up_is_refused(logs: Logs) -> None:
    logs.write(track("m"))
    intake = logs.take_in().intake
    with pytest.raises(UncountedLinesError, match="does not add up"):
        replace(intake, duplicates=1).check()


def test_several_processes_come_to_what_one_comes_to(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in range(6):
        logs.write(*(track(f"m-{(file * 50 + number) % 220}", second=number % 7) for number in range(50)), "{bad")
    alone = logs.take_in()
    logs.read.clear()
    monkeypatch.setattr(workers, "WORTH_A_WORKER_BYTES", 1)
    monkeypatch.setattr(workers, "_processors", lambda: 3)
    heard: list[tuple[int, int]] = []
    together = logs.take_in(seen=[], on_progress=lambda lines, files: heard.append((lines, files)))
    assert together.intake == alone.intake
    assert together.rows("message, message_id, timestamp, seq") == alone.rows("message, message_id, timestamp, seq")
    assert together.lines_aside() == alone.lines_aside()
    assert heard[-1] == (306, 6)
    assert heard == sorted(heard)


def test_a_file_out_of_reach_fails_the_intake_in_another_process_too(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_A_WORKER_BYTES", 1)
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    for number in range(3):
        logs.write(track(f"m-{number}"))
    files = list_files(str(logs.root), None)
    (logs.root / files[1].path).unlink()
    with pytest.raises(WindsorSyncError, match="cannot be read"):
        list(workers.sort_files(str(logs.root), files, Routing(), logs.folder))


def test_no_process_outlives_an_intake_that_is_given_up(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_A_WORKER_BYTES", 1)
    monkeypatch.setattr(workers, "_processors", lambda: 2)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(workers.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    for number in range(4):
        logs.write(track(f"m-{number}"))
    reading = workers.sort_files(str(logs.root), list_files(str(logs.root), None), Routing(), logs.folder)
    assert next(reading).lines == 1
    reading.close()
    assert [process.poll() is not None for process in started] == [True, True]


UNDER_A_DAEMON = """
import multiprocessing, sys
from pathlib import Path
from windsor_sync.events import workers
from windsor_sync.events.archive import list_files
from windsor_sync.segment.routing import Routing

def read():
    workers.WORTH_A_WORKER_BYTES, workers._processors = 1, lambda: 2
    tallies = workers.sort_files(sys.argv[1], list_files(sys.argv[1]), Routing(), Path(sys.argv[2]))
    assert sum(tally.kept for tally in tallies) == 4

daemon = multiprocessing.get_context("fork").Process(target=read, daemon=True)
daemon.start()
daemon.join()
sys.exit(daemon.exitcode)
"""


def test_several_processes_read_under_a_daemon_process_too(logs: Logs) -> None:
    for number in range(4):
        logs.write(track(f"m-{number}"))
    command = [sys.executable, "-c", UNDER_A_DAEMON, str(logs.root), str(logs.folder)]
    assert subprocess.run(command, timeout=60, stderr=subprocess.DEVNULL).returncode == 0


READING = """
import signal, sys
from pathlib import Path
from windsor_sync.events import workers
from windsor_sync.events.intake import IntakeTask, take_in
from windsor_sync.events.archive import list_files
from windsor_sync.segment.routing import Routing

def on_progress(lines, files):
    print("reading", flush=True)
    signal.pause()

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background hand on that it is ignored
workers.WORTH_A_WORKER_BYTES, workers._processors = 1, lambda: 2
task = IntakeTask(sys.argv[1], list_files(sys.argv[1]), Routing(), False, False, (), None, 1)
take_in(task, outbox=Path("o"), seen=Path("s"), aside=Path("a"), on_progress=on_progress)
"""


def test_ctrl_c_during_reading_leaves_no_process(logs: Logs) -> None:
    for number in range(4):
        logs.write(track(f"m-{number}"))
    command = [sys.executable, "-c", READING, str(logs.root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them hear it
        process.wait(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_process_ends_by_itself_when_whoever_started_it_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", workers._START], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    pickle.dump(sys.path, process.stdin)
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_memory_is_bounded_by_a_part_not_by_a_file(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 1_000_000)
    message = json.dumps(track("m", properties={"text": "x" * 20_000}))
    logs.put(gzip.compress("".join(message.replace('"m"', f'"m-{number}"') + "\n" for number in range(2_000)).encode()))
    tracemalloc.start()
    try:
        done = logs.take_in()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.intake.rows == 2_000
    assert peak < 12_000_000  # of 40 MB


def test_nothing_is_left_behind(logs: Logs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    logs.write(track("m"), "{bad")
    logs.take_in()
    assert list(scratch.iterdir()) == []
