"""The same members in every format that can be read."""

import csv
import gzip
import io
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
from sqlalchemy import Engine, create_engine

from windsor_sync.sources import DataFrameSource, Source, WarehouseSource, open_source
from windsor_sync.sources.warehouse import EngageTables, ProfilesSync, Query, Wanted

TRAIT = "total_revenue"


@dataclass(frozen=True, slots=True)
class Member:
    """A row of a source; `value` is JSON text."""

    user_id: str
    emails: tuple[str, ...] = ()
    value: str | None = None

    @property
    def cell(self) -> str:
        """The value as a CSV cell."""
        value = json.loads(self.value or "null")
        return "" if value is None else value if isinstance(value, str) else self.value or ""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write members."""

    name: str
    write: Callable[[Path, Sequence[Member]], Source]

    def __str__(self) -> str:
        return self.name


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]], **dialect: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, **dialect)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _value_of(members: Sequence[Member]) -> str | None:
    return TRAIT if any(member.value is not None for member in members) else None


def _opened(path: Path, members: Sequence[Member], **options: Any) -> Source:
    return open_source(str(path), value_of=_value_of(members), **options)


def engage_formatted(path: Path, members: Sequence[Member]) -> Source:
    """Ids and traits as columns; a trait of no concern between them."""
    width = max((len(member.emails) for member in members), default=1)
    emails = ["email", *(f"email_{number}" for number in range(1, width))]
    rows = [
        ["use_1", "ignored", member.cell, *member.emails, *[""] * (width - len(member.emails)), member.user_id]
        for member in members
    ]
    path.with_suffix(".csv").write_text(
        _csv(["key", "other_trait", TRAIT, *emails[:width], "user_id"], rows), encoding="utf-8", newline=""
    )
    return _opened(path.with_suffix(".csv"), members)


def engage_unformatted(path: Path, members: Sequence[Member]) -> Source:
    """Ids and traits as JSON, from Windows: a mark of UTF-8, CRLF."""
    rows = [
        [
            "use_1",
            json.dumps({"user_id": [member.user_id], "email": member.emails}, ensure_ascii=False),
            f'{{"other": 1.50, "{TRAIT}": {member.value or "null"}}}',
        ]
        for member in members
    ]
    text = _csv(["key", "external_ids", "audience_traits"], rows)
    path.with_suffix(".csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    return _opened(path.with_suffix(".csv"), members)


def engage_trait_rows(path: Path, members: Sequence[Member]) -> Source:
    """A row for each e-mail; only the first names the user in a column of its own."""
    rows = []
    for member in members:
        ids = json.dumps({"user_id": [member.user_id], "email": member.emails})
        for place, email in enumerate(member.emails or ("",)):
            rows.append([member.user_id, member.cell, ids, "" if place else member.user_id, email])
    path.with_suffix(".csv").write_text(
        _csv(["key", "value", "external_ids", "user_id", "email"], rows), encoding="utf-8", newline=""
    )
    return _opened(path.with_suffix(".csv"), members)


def engage_in_utf_16(path: Path, members: Sequence[Member]) -> Source:
    """The formatted download after it went through a program that writes UTF-16, as "Unicode text"."""
    source = engage_formatted(path, members)
    assert source.origin is not None
    plain = Path(source.origin.path)
    plain.write_bytes(plain.read_bytes().decode().encode("utf-16"))
    return _opened(plain, members)


def files_of_one_snapshot(path: Path, members: Sequence[Member]) -> Source:
    """Every second member in the other file, whose columns stand in another order."""
    path.mkdir(exist_ok=True)
    for number in range(2):
        part = engage_formatted(path / f"part-{number}", members[number::2])
        assert part.origin is not None
    return _opened(path / "part-*.csv", members)


def object_store(path: Path, members: Sequence[Member]) -> Source:
    """The formatted download behind a URL; tests/sources/test_object_store.py has a server that speaks S3."""
    source = engage_formatted(path, members)
    assert source.origin is not None
    name = f"contract/{path.name}/members.csv"
    fsspec.filesystem("memory").pipe_file(f"/{name}", Path(source.origin.path).read_bytes())
    return open_source(f"memory://{name}", value_of=_value_of(members))


def plain_csv(path: Path, members: Sequence[Member]) -> Source:
    """A customer's own columns, every cell in quotation marks, gzipped."""
    rows = [[member.cell, (member.emails or ("",))[0], member.user_id] for member in members]
    packed = path.with_suffix(".csv.gz")
    packed.write_bytes(
        gzip.compress(_csv(["total", "mail", "customer"], rows, lineterminator="\n", quoting=csv.QUOTE_ALL).encode())
    )
    columns = {"user_id": "customer", "email": "mail"}
    if any(member.value is not None for member in members):  # of an audience it would say who is a member
        return open_source(str(packed), value_of=TRAIT, format="csv", columns={**columns, "value": "total"})
    return _opened(packed, members, format="csv", columns=columns)


def json_lines(path: Path, members: Sequence[Member]) -> Source:
    lines = [
        f'{{"user_id": {json.dumps(member.user_id)}, "email": {json.dumps(member.emails)}, "value": {member.value or "null"}}}'
        for member in members
    ]
    path.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
    return _opened(path.with_suffix(".jsonl"), members)


def parquet(path: Path, members: Sequence[Member]) -> Source:
    with duckdb.connect() as connection:
        connection.execute('CREATE TABLE members ("user" VARCHAR, email VARCHAR[], value JSON)')
        if members:
            rows = [[member.user_id, list(member.emails), member.value] for member in members]
            connection.executemany("INSERT INTO members VALUES (?, ?, ?)", rows)
        connection.execute(f"COPY members TO '{path.with_suffix('.parquet')}' (FORMAT parquet)")
    return _opened(path.with_suffix(".parquet"), members, columns={"user_id": "user"})


def data_frame(path: Path, members: Sequence[Member]) -> Source:
    del path
    columns: Mapping[str, list[Any]] = {
        "user_id": [member.user_id for member in members],
        "email": [list(member.emails) for member in members],
        TRAIT: [json.loads(member.value or "null") for member in members],
    }
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return DataFrameSource(frame, value_of=_value_of(members))


def _database(path: Path, tables: Mapping[str, Sequence[Sequence[Any]]]) -> Callable[[str], Engine]:
    """A warehouse with these tables (`name (columns)` to rows), whose driver hands over JSON as objects."""
    sqlite3.register_converter("json", json.loads)
    database = path.with_suffix(".db")
    database.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, rows in tables.items():
            connection.execute(f"CREATE TABLE {table}")
            marks = ", ".join("?" * (table.count(",") + 1))
            connection.executemany(f"INSERT INTO {table.partition(' ')[0]} VALUES ({marks})", rows)
    return lambda _: create_engine(f"sqlite:///{database}?detect_types=1")


def warehouse(path: Path, members: Sequence[Member]) -> Source:
    """A query of a customer's own."""
    rows = [(member.user_id, json.dumps(member.emails), member.value) for member in members]
    connections = _database(path, {"members (customer TEXT, email JSON, value JSON)": rows})
    value_of = _value_of(members)
    query = Query(
        f"SELECT email, {'value, ' if value_of else ''}customer FROM members", {"user_id": "customer"}, value_of
    )
    return WarehouseSource("warehouse", query, connections)


def profiles_sync(path: Path, members: Sequence[Member]) -> Source:
    """The tables of Profiles Sync: a wide one for an audience, rows for a computed trait, whose values are texts."""
    named = [(f"use_{number}", member) for number, member in enumerate(members)]
    ids = [(profile, "user_id", member.user_id, 0) for profile, member in named]
    ids += [(profile, "email", email, place) for profile, member in named for place, email in enumerate(member.emails)]
    value_of = _value_of(members)
    tables: dict[str, Sequence[Sequence[Any]]] = {
        "user_identifiers (canonical_segment_id TEXT, type TEXT, value TEXT, seq INTEGER)": ids,
        "profile_merges (segment_id TEXT, canonical_segment_id TEXT)": [],
    }
    if value_of:
        rows = [(profile, value_of, member.cell) for profile, member in named]
        tables["user_traits (canonical_segment_id TEXT, name TEXT, value TEXT)"] = rows
    else:
        tables["profile_traits (canonical_segment_id TEXT, vip BOOLEAN, merged_to TEXT)"] = [
            (profile, True, None) for profile, _ in named
        ]
    wanted = Wanted("main", value_of or "vip", is_audience=value_of is None)
    return WarehouseSource("warehouse", ProfilesSync(wanted), _database(path, tables))


def engage_tables(path: Path, members: Sequence[Member]) -> Source:
    """The table `users` of the schema that Engage writes."""
    rows = [(member.user_id, (member.emails or (None,))[0], True, member.value or "null") for member in members]
    connections = _database(path, {f"users (id TEXT, email TEXT, vip BOOLEAN, {TRAIT} JSON)": rows})
    value_of = _value_of(members)
    wanted = Wanted("main", value_of or "vip", is_audience=value_of is None)
    return WarehouseSource("warehouse", EngageTables(wanted), connections)


FORMATS = tuple(
    Format(write.__name__, write)
    for write in (
        engage_formatted,
        engage_unformatted,
        engage_trait_rows,
        engage_in_utf_16,
        files_of_one_snapshot,
        object_store,
        plain_csv,
        json_lines,
        parquet,
        data_frame,
        warehouse,
        profiles_sync,
        engage_tables,
    )
)
