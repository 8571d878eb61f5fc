"""Snapshots and archive files with bytes changed, cut, put in or taken from another file: read, or refused in a sentence.

`make chaos` tries many times as many.
"""

import bz2
import gzip
import io
import json
import lzma
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.processes import IS_CHAOS
from windsor_sync.domain.labels import counted
from windsor_sync.errors import WindsorSyncError
from windsor_sync.events.archive import ArchiveFile, read_lines
from windsor_sync.events.reading import read_event
from windsor_sync.segment.routing import Routing
from windsor_sync.snapshots.seal import seal
from windsor_sync.sources import open_source

CANARIES = ("canary-user-7131", "canary7131@example.com", "canary-anonymous-7131")
ROWS = 40
MB = 1 << 20
MOST_GROWN_MB = 300
EXAMPLES = 4_000 if IS_CHAOS else 40


def frame() -> pd.DataFrame:
    user, email, anonymous = CANARIES
    numbers = range(ROWS)
    return pd.DataFrame(
        {
            "user_id": [f"{user}-{number}" for number in numbers],
            "email": [f"{number}{email}" if number % 3 else None for number in numbers],
            "anonymous_id": [f"{anonymous}-{number}" for number in numbers],
        }
    )


def csv() -> bytes:
    return bytes(frame().to_csv(index=False).encode())


def zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("members.csv", text)
    return packed.getvalue()


def written(write: Callable[[pd.DataFrame, io.BytesIO], object]) -> bytes:
    target = io.BytesIO()
    write(frame(), target)
    return target.getvalue()


FILES: dict[str, bytes] = {
    "members.csv": csv(),
    "quoted.csv": csv().replace(b"user-7131-3,", b'"user-7131-3\n""x""",'),
    "wide.csv": csv().decode().encode("utf-16"),
    "members.csv.gz": gzip.compress(csv()),
    "members.csv.bz2": bz2.compress(csv()),
    "members.csv.xz": lzma.compress(csv()),
    "members.zip": zipped(csv()),
    "members.parquet": written(lambda table, target: table.to_parquet(target)),
    "members.jsonl": frame().to_json(orient="records", lines=True).encode(),
    "members.xlsx": written(lambda table, target: table.to_excel(target, index=False)),
}


def messages() -> bytes:
    user, email, anonymous = CANARIES
    lines = [
        {"type": kind, "userId": f"{user}-{number}", "anonymousId": anonymous, "event": "Seen", "traits": {"email": email},
         "messageId": f"m-{number}", "timestamp": "2026-01-01T00:00:00Z", "previousId": "x", "groupId": "g"}
        for number, kind in enumerate(["track", "identify", "page", "alias", "group", "screen"] * 5)
    ]  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


ARCHIVES: dict[str, bytes] = {
    "lines": messages(),
    "packed": gzip.compress(messages()),
    "array": b"[" + messages().replace(b"\n", b",\n") + b"{}]",
    "wide": messages().decode().encode("utf-16"),
    "indented": json.dumps([json.loads(line) for line in messages().splitlines()], indent=1).encode(),
}
JUNK = st.sampled_from(
    [b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"\r", b",", b"{", b"}", b"[" * 2_000, b"\x1f\x8b\x08", b"PK\x03\x04",
     b"PAR1", b"\xed\xa0\x80", b"9" * 400, b"-1e999", b"NaN", b"\\ud800", b"{}" * 50, "\u202e\u2028\U0001f9ff".encode()]
) | st.binary(min_size=1, max_size=8)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """A file's name and its bytes after a few accidents."""
    name = draw(st.sampled_from(sorted(files)))
    data = bytearray(files[name])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["flip", "cut", "drop", "insert", "splice", "repeat"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 200))]
            case "insert":
                data[at:at] = draw(JUNK)
            case "splice":
                other = files[draw(st.sampled_from(sorted(files)))]
                begin = draw(st.integers(0, len(other)))
                data[at:at] = other[begin : begin + draw(st.integers(1, 2_000))]
            case _:
                data[at:at] = data[max(0, at - 300) : at] * draw(st.integers(1, 20))
    return name, bytes(data)


def is_private(text: str) -> bool:
    return any(canary in text for canary in (*CANARIES, "canary"))


@pytest.fixture(scope="module", autouse=True)
def memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < MOST_GROWN_MB


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=spoiled(FILES))
def test_a_spoiled_snapshot_is_sealed_or_refused_in_a_sentence_that_names_nobody(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, file: tuple[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("spoiled", numbered=True)
    path = folder / file[0]
    path.write_bytes(file[1])
    kind = {"parquet": "parquet", "jsonl": "jsonl"}.get(path.suffix[1:], "csv")
    try:
        sealed = seal(open_source(str(path), format=kind), folder / "sealed.parquet", max_malformed_percent=100)
    except WindsorSyncError as refusal:
        said = str(refusal)
        assert said.isprintable()
        assert not is_private(said)
        assert not (folder / "sealed.parquet").exists()
    else:
        assert sealed.rows_read == sealed.members + sum(sealed.left_out.values())
        assert not is_private(" ".join(sealed.remarks))
    assert not is_private(caplog.text)


@settings(max_examples=EXAMPLES * 3, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=spoiled(ARCHIVES))
def test_every_line_of_a_spoiled_archive_is_a_message_or_has_a_reason(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "spoiled-archive"
    folder.mkdir(exist_ok=True)
    (folder / "a.gz").write_bytes(file[1])
    routing = Routing()
    outcomes = 0
    for piece in read_lines(str(folder), ArchiveFile("a.gz", len(file[1]), "", None)):
        for line in piece:
            if isinstance(line, bytes) and line.strip():
                outcome = read_event(line.strip(), routing)
                assert not is_private(getattr(outcome, "value", ""))
            outcomes += 1
    assert outcomes < len(file[1]) * 50 + 100, counted(outcomes, "line")
