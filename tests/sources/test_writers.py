"""Whatever members there are, whoever writes them, and however the export is split: exactly they are read, or the file is
refused for a reason that is true of it."""

import gzip
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sealing import Bench
from writers import NAMED, ONE_FILE, SEVERAL_FILES, UNSURE, Table, split, workbook

from tests.support.postgres import Postgres
from tests.support.programs import needs
from windsor_sync.errors import SnapshotError
from windsor_sync.sources import open_source

IS_LONG = os.environ.get("WINDSOR_CHAOS") == "1"
EXAMPLES = settings(
    max_examples=300 if IS_LONG else 4,
    phases=list(Phase) if IS_LONG else [Phase.explicit, Phase.generate],  # made smaller, an example takes minutes
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

ODD_IDS = [
    "00123", "NULL", "nan", "None", "\\N", "1e5", "true", "-", "123.0", "7.0", "1.23457E+11", "9E+10", '="00123"', '="7"',
    "(2 rows)", "Total 5", "-- end --", "user_id", " u1", "u1 ", "u\\", '\\"', '"', '""', ",", ";", "a\tb", "<b>", "{", "[",
    "\ufeffu", "\u2028", "\u202eu", "🇩🇪", "e\u0301", "a" * 64,
]  # fmt: skip
IDS = st.one_of(st.sampled_from(ODD_IDS), st.text("ab01.,;\"'\\\n\r\t é日😀#=", min_size=1, max_size=5)).filter(
    lambda user_id: not user_id.startswith("\r")  # pandas writes it bare, and then it is a part of the line's end
)
MAILS = st.one_of(st.none(), st.from_regex(r"[a-zé0-9.+']{1,6}@[a-z]{1,4}\.org", fullmatch=True))
TABLES = st.lists(st.tuples(IDS, MAILS), max_size=8, unique_by=lambda row: row[0])


@dataclass(frozen=True, slots=True)
class Export:
    """What was written."""

    table: Table
    writer: str
    files: Sequence[Path]
    names: str = "parts"
    is_settled: bool = False
    """whether `consists_of` says what belongs together"""

    def share(self, pattern: str) -> bool:
        """Whether most ids, and more than one, look so."""
        count = sum(bool(re.fullmatch(pattern, user_id)) for user_id, _ in self.table)
        return count > 1 and count * 2 > len(self.table)

    def all_are(self, pattern: str) -> bool:
        """Whether every id looks so."""
        return all(re.fullmatch(pattern, user_id) for user_id, _ in self.table)

    def has(self, pattern: str) -> bool:
        """Whether some id does."""
        return any(re.search(pattern, user_id) for user_id, _ in self.table)

    def has_empty_file(self) -> bool:
        packed = gzip.compress(b"", mtime=0)[10:]
        return any(not path.read_bytes().strip() or path.read_bytes()[10:] == packed for path in self.files)


REASONS: dict[str, Callable[[Export], bool]] = {
    r"end in \.0: a program such as pandas": lambda export: export.share(r"-?\d+\.0"),
    r"are written like 1.2E\+11": lambda export: (
        export.share(r"\d([.,]\d+)?[eE]\+?\d+") or export.all_are(r"-?\d+|\d([.,]\d+)?[eE]\+?\d+")
    ),
    r"have commas between their thousands": lambda export: export.share(r"\d{1,3}(,\d{3})+"),
    r"begin with an apostrophe": lambda export: export.share(r"'[\s\S]*"),
    r"are padded with blanks": lambda export: export.share(r"[\s\S]*\S[\s\S]*  "),
    r"stand in a formula": lambda export: export.share(r'="[\s\S]*'),
    r"ends with a footer": lambda export: export.has(r"(^|\n|\r|\u2028)(\(2 rows\)|Total 5|-- end)"),
    r"mixes line endings": lambda export: export.has("\r"),
    r"is empty: it does not hold a single line": lambda export: (
        "json" in export.files[0].name and export.has_empty_file()
    ),
    r"separates its columns with semicolons": lambda export: "semicolons" in export.writer,
    r"separates its columns with tabs": lambda export: "tabs" in export.writer,
    r"is an Excel workbook": lambda export: export.writer == "openpyxl",
    r"is a JSON array": lambda export: export.writer == "pandas, JSON",
    r"consists_of: all_files": lambda export: (
        export.names == UNSURE and len(export.files) > 1 and not export.is_settled
    ),
}
"""Every reason for which such an export may be refused, and when it is true."""


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    needs("sqlite3", "sqlite3")


def empty_folder(bench: Bench) -> Path:
    """A new one for each example."""
    shutil.rmtree(bench.folder / "made", ignore_errors=True)
    made = bench.folder / "made" / uuid.uuid4().hex
    made.mkdir(parents=True)
    return made


def check(bench: Bench, export: Export, path: str, **options: str | None) -> None:
    """The members are exactly the table's, or a reason that is true says why not."""
    try:
        members = bench.members(open_source(path, **options))  # type: ignore[arg-type]
    except SnapshotError as error:
        refusal = str(error)
    else:
        found = sorted((user_id or "", email or "") for user_id, _, email, _ in members)
        assert found == sorted((user_id, email or "") for user_id, email in export.table)
        return
    said = [reason for reason in REASONS if re.search(reason, refusal)]
    assert said, f"a reason that is not in the list: {refusal}"
    assert all(REASONS[reason](export) for reason in said), f"not true of it: {refusal}"


@pytest.mark.forms(10)
@EXAMPLES
@pytest.mark.parametrize("writer", ONE_FILE)
@given(table=TABLES, data=st.data())
def test_whoever_writes_a_table_into_however_many_files_its_members_are_read_or_a_true_reason_is_given(
    shared_bench: Bench, writer: str, table: Table, data: st.DataObject
) -> None:
    ending, write = ONE_FILE[writer]
    if "openpyxl" in writer:  # in a workbook a carriage return becomes a line feed
        table = list(
            {user_id.replace("\r", "\n"): (user_id.replace("\r", "\n"), mail) for user_id, mail in table}.values()
        )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(table)), max_size=3), label="cuts"))
    pieces = [table[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(table)], strict=True)]
    names = data.draw(st.sampled_from(sorted(NAMED)), label="names")
    is_settled = data.draw(st.booleans(), label="consists_of")
    made = empty_folder(shared_bench)
    files = split(made, pieces, ending, write, names)
    path = data.draw(st.sampled_from([f"{made}/", f"{made}/" + "*/" * NAMED[names](0, 1).count("/") + "*"]))
    kinds = {".csv": [None, "csv"], ".jsonl": [None], ".parquet": [None]}
    kind = data.draw(st.sampled_from(kinds[ending.removesuffix(".gz")]), label="format")
    export = Export(table, writer, files, names, is_settled or path.endswith("/"))
    check(shared_bench, export, path, format=kind, consists_of="all_files" if is_settled else None)


@pytest.mark.forms(4)
@EXAMPLES
@pytest.mark.parametrize("writer", SEVERAL_FILES)
@given(table=TABLES.filter(bool), data=st.data())
def test_an_export_that_its_program_splits_itself_is_read_whole(
    shared_bench: Bench, writer: str, table: Table, data: st.DataObject
) -> None:
    ending, write = SEVERAL_FILES[writer]
    made = empty_folder(shared_bench) / "out"
    write(made, table)
    files = sorted(made.rglob(f"*{ending}"))
    depth = len(files[0].relative_to(made).parts) - 1
    path = data.draw(st.sampled_from([f"{made}/", f"{made}/" + "*/" * depth + f"*{ending}"]))
    check(shared_bench, Export(table, writer, files), path)


# -- programs that are not Python's --------------------------------------------------------------------------

MEMBERS: Table = [
    ("00123", "a@x.org"),
    ("NULL", None),
    ('say "hi", ok', "o'neil@x.org"),
    ("two\nlines", None),
    ("\\N", "é@x.org"),
    ("u, 1;2", None),
]


@pytest.mark.parametrize("program", ["COPY", "psql --csv", "psql, as it prints"])
def test_what_postgresql_writes_is_read(bench: Bench, postgres: Postgres, program: str) -> None:
    import psycopg

    needs("psql", "postgresql")
    path = bench.folder / "members.csv"
    with postgres.nothing() as url, psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE members (user_id text, email text)")
        connection.cursor().executemany("INSERT INTO members VALUES (%s, %s)", MEMBERS)
        if program == "COPY":
            with (
                path.open("wb") as file,
                connection.cursor().copy("COPY members TO STDOUT (FORMAT csv, HEADER)") as rows,
            ):
                file.writelines(rows)
        else:
            form = ["--csv"] if program == "psql --csv" else []
            address = url.replace("+psycopg", "")
            path.write_bytes(subprocess.check_output(["psql", *form, "-X", "-c", "TABLE members", address]))
    if program == "psql, as it prints":
        with pytest.raises(SnapshotError, match="separates its columns with vertical bars"):
            bench.seal(path)
    else:
        check(bench, Export(MEMBERS, program, [path]), str(path))


def test_what_libreoffice_makes_of_a_workbook_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("soffice", "libreoffice-calc-nogui")
    monkeypatch.setenv("HOME", str(bench.folder))
    workbook(bench.folder / "members.xlsx", MEMBERS)
    command = ["soffice", "--headless", "--convert-to", "csv", "--outdir", str(bench.folder), "members.xlsx"]
    subprocess.run(command, cwd=bench.folder, check=True, capture_output=True, timeout=120)
    check(bench, Export(MEMBERS, "LibreOffice", []), str(bench.folder / "members.csv"))


@pytest.mark.forms(5)
@pytest.mark.parametrize(
    "writer", ["pandas, gzip", "polars", "duckdb, JSON lines", "pyarrow, Parquet", "fastparquet, gzip"]
)
@pytest.mark.parametrize("names", ["Spark", "partitions", "Redshift"])
def test_an_export_in_a_store_with_objects_for_its_folders_is_read_whole(
    bench: Bench, s3: Any, writer: str, names: str
) -> None:
    ending, write = ONE_FILE[writer]
    files = split(bench.folder / "made", [MEMBERS[:2], MEMBERS[2:]], ending, write, names)
    for folder in {path.parent.relative_to(bench.folder) for path in files} | {Path("made")}:
        s3.pipe_file(f"acme/{folder}/", b"")
        s3.pipe_file(f"acme/{folder}_$folder$", b"")
    for path in files:
        s3.put_file(str(path), f"acme/{path.relative_to(bench.folder)}")
    levels = "*/" * NAMED[names](0, 2).count("/")
    for path in ("s3://acme/made/", f"s3://acme/made/{levels}*{ending}"):
        check(bench, Export(MEMBERS, writer, files), path, format="csv" if ".csv" in ending else None)
