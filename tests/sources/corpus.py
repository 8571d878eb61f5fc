"""Files as customers have them, at their worst, each made by code, with what must come of it: exact counts, or a refusal.

A case that is refused says with which words; one that is read says who is a member, and how many rows were left out
for which reason. Nothing may hang, and nothing may take more than a gigabyte (the big ones are in `BIG`).
"""

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import zstandard

MANY = 3000
"""Rows enough that one bad one is below the share that makes a snapshot unusable."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file, and what must come of it."""

    name: str
    content: bytes | Callable[[Path], Path | str]
    """of `file`; or a function that makes the file in a folder and returns the path to read"""
    file: str = "snapshot.csv"
    options: Mapping[str, Any] = field(default_factory=dict)
    """format, columns, value_of, identify_by …"""
    says: tuple[str, ...] = ()
    """parts of the refusal; empty when the file is read"""
    users: tuple[str, ...] | None = None
    """the members, where it matters who they are"""
    members: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """rows by reason, the reasons that occur"""

    def __str__(self) -> str:
        return self.name

    def make(self, folder: Path) -> str:
        """Put the file into the folder."""
        if callable(self.content):
            return str(self.content(folder))
        (folder / self.file).write_bytes(self.content)
        return str(folder / self.file)


def refused(name: str, content: Any, *says: str, file: str = "snapshot.csv", **options: Any) -> Case:
    return Case(name, content, file, options, says=says)


def read(
    name: str, content: Any, *users: str, file: str = "snapshot.csv", left_out: Any = None, **options: Any
) -> Case:
    return Case(name, content, file, options, users=users, members=len(users), left_out=left_out or {})


def counted(
    name: str, content: Any, members: int, left_out: Any = None, *, file: str = "snapshot.csv", **options: Any
) -> Case:
    return Case(name, content, file, options, members=members, left_out=left_out or {})


# -- text ----------------------------------------------------------------------------------------------------


def rows(count: int, *odd: bytes, header: bytes = b"user_id,email\n") -> bytes:
    """`odd` rows in the middle of so many good ones."""
    good = [b"u%d,u%d@x\n" % (number, number) for number in range(count)]
    return b"".join([header, *good[: count // 2], *odd, *good[count // 2 :]])


def ids(*user_ids: str, encoding: str = "utf-8") -> bytes:
    return "".join(f"{line}\n" for line in ("user_id", *user_ids)).encode(encoding)


ALTERED = (
    "00123",
    "NULL",
    "NaN",
    "null",
    "true",
    "1e400",
    "-0",
    "1.10",
    "0x10",
    "None",
    "NA",
    "inf",
    "2024-01-31",
    "#N/A",
)
SCRIPTS = ("שלום", "مرحبا", "👩‍👩‍👧‍👦", "\u200f\u202eabc", "ﬁ", "İ", "ß", "🇩🇪", "\u00a0", "\u2028x", "a\u0301")

TEXT = (
    refused("an empty file", b"", "is empty"),
    refused("one byte", b"\n", "is empty"),
    refused("a mark of UTF-8 alone", b"\xef\xbb\xbf", "is empty"),
    read("a header alone", b"user_id,email\n"),
    read("a header without its newline", b"user_id,email"),
    read("a mark of UTF-8", b"\xef\xbb\xbf" + ids("u1", "u2"), "u1", "u2"),
    read("CRLF", b"user_id,email\r\nu1,a@x\r\nu2,\r\n", "u1", "u2"),
    read("the last line without a newline", b"user_id\nu1\nu2", "u1", "u2"),
    read("blank lines at the end", b"user_id,email\nu1,a@x\n\n\n\n", "u1"),
    read("blank lines before the header", b"\n\nuser_id,email\nu1,a@x\n", "u1"),
    read("blank lines in the middle", b"user_id,email\nu1,a@x\n\nu2,b@x\n", "u1", "u2"),
    refused("carriage returns alone", b"user_id,email\ru1,a@x\ru2,b@x\r", "carriage returns alone"),
    refused("mixed line endings", b"user_id,email\nu1,a@x\r\nu2,b@x\n", "mixes line endings"),
    refused(
        "an id with a carriage return outside quotation marks, a quoted line feed behind it",
        '\ufeffuser_id,email\n"0日,""b",\n \rb ,\n ;,q@r.org\n u1,2@jg.org\n"..\t;\n",\n'.encode(),
        "mixes line endings",
    ),
    refused("a NUL byte in a cell", b"user_id,email\nu1,a\0@x\n", "NUL byte in line 2"),
    refused("zeros", bytes(100_000), "NUL byte in line 1"),
    refused(
        "a header into which a row has run",
        b"tser_id,email,u-7131-0,,a-7131-0\nu-7131-1,b@x.org,a-7131-1,,\n",
        "the columns tser_id, email and 3 that do not look like names",
    ),
    refused("random bytes", bytes((number * 7919) % 251 + 1 for number in range(9999)), "not UTF-8"),
    refused("an open quotation mark", b'user_id,email\nu1,"a@x\nu2,b@x\n', "opened in line 2 is never closed"),
    refused("quotation marks that swallow rows", rows(500, b'u,"x\n') + rows(9, b'v,"y"\n', header=b""), "rows cannot be",
            "line 252"),
    read("quotation marks in the middle of a cell", b'user_id,email\nu"1"x,a@x\nu2,b@x\n', 'u"1"x', "u2"),
    read("a row over several lines", b'user_id,note\nu1,"a\n\nb"\nu2,c\n', "u1", "u2"),
    counted("a field of a million characters", rows(MANY, b"u,%s\n" % (b"x" * 1_000_000)), MANY + 1),
    counted("a field of three million characters", rows(MANY, b"u,%s\n" % (b"x" * 3_000_000)), MANY, {"malformed": 1}),
    read("a thousand columns", b"user_id," + b",".join(b"c%d" % n for n in range(999)) + b"\nu1" + b"," * 999 + b"\n", "u1"),
    read("a column twice", b"user_id,user_id,email,email\nu1,u2,a@x,b@x\n", "u1", "u2"),
    read("column names with blanks around them", b" user_id , email\nu1,a@x\n", "u1"),
    read("column names in capitals", b"USER_ID,EMAIL\nu1,a@x\n", "u1"),
    counted("the header again in the middle", rows(MANY, b"user_id,email\n"), MANY, {"malformed": 1}),
    read("a comma at the end of each row", b"user_id,email\nu1,a@x,\nu2,b@x,\n", "u1", "u2"),
    read("a comma at the end of each row and of the header", b"user_id,email,\nu1,a@x,\nu2,b@x,\n", "u1", "u2"),
    counted("one row with too many cells", rows(MANY, b"u,x,y,z\n"), MANY, {"malformed": 1}),
    counted("one row with too few cells", rows(MANY, b"u\n"), MANY, {"malformed": 1}),
    refused("one row in five hundred too many", rows(500, b"u\n"), "1 of 501 rows cannot be read", "line 252"),
    *(
        refused(f"quotation marks that a backslash escapes, {name}", rows(30, row), "escaped by a backslash", "line 17")
        for name, row in {
            "and a comma": b'u,"say \\"hi\\", ok"\n',
            "at the end": b'u,"a \\"word\\""\n',
            "in the first cell": b'"u\\"1",a@x\n',
            "around one word, and a comma": b'"a \\"b\\", c",x\n',
            "and a comma, twice": b'u,"\\"a\\", \\"b\\", c"\n',
        }.items()
    ),
    refused("a last row that is cut", rows(MANY) + b"u", "cut short", "instead of 2 cells"),
    refused("semicolons", b"user_id;email\nu1;a@x\n", "separates its columns with semicolons"),
    refused("tabs", b"user_id\temail\nu1\ta@x\n", "separates its columns with tabs"),
    refused("a web page", b"\n <!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
    refused("an error in JSON", b'{"error": {"message": "expired"}}', "is JSON"),
    refused("an error in plain words", b"Internal Server Error\n", "names no user"),
    refused("an error in XML", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    refused("hashed ids", b"user_id\n" + b"A1" * 32 + b"\n", "hashed ids"),
    refused("hashed e-mails", b"email\n" + b"A1" * 32 + b"\n", "hashes the ids"),
    refused("anonymous ids only", b"key,anonymous_id\nk,a1\n", "none of its 1 rows has user_id"),
    read("anonymous ids, wanted", b"key,anonymous_id\nk,a1\n", "a1", identify_by="anonymous_id"),
)  # fmt: skip

ENCODINGS = (
    read("UTF-16 with its mark", ids("ü1", "u2", encoding="utf-16"), "ü1", "u2"),
    read("UTF-16, the other order", b"\xfe\xff" + ids("ü1", "u2", encoding="utf-16-be"), "ü1", "u2"),
    read("UTF-16 without a mark", ids("ü1", "u2", encoding="utf-16-le"), "ü1", "u2"),
    read("UTF-16 of the other order without a mark", ids("ü1", encoding="utf-16-be"), "ü1"),
    read("UTF-16 beyond the first plane", ids("😀", encoding="utf-16"), "😀"),
    refused("UTF-16 that is cut in a character", ids("ü1", encoding="utf-16")[:-1], "UTF-16 text that is cut short"),
    refused("UTF-16 with a lone surrogate", ids("u1", encoding="utf-16") + b"\x00\xd8a\x00", "UTF-16 text", "damaged"),
    refused("UTF-32", ids("u1", encoding="utf-32"), "UTF-32"),
    read("Latin-1", ids("müller", "Ångström", encoding="latin-1"), "müller", "Ångström"),
    read("Latin-1, packed", gzip.compress(ids("müller", encoding="latin-1")), "müller"),
    refused("UTF-8 and Latin-1 mixed", ids("müller") + "josé\n".encode("latin-1"), "not UTF-8", "in line 3"),
    refused("Windows-1252 beyond Latin-1", ids("5€", encoding="cp1252"), "not UTF-8", "line 2"),
    refused("Cyrillic in an encoding of its own", ids("имя", "пользователь", encoding="cp1251"), "not UTF-8", "line 2"),
    refused("Greek in an encoding of its own", ids("χρήστης", encoding="iso-8859-7"), "not UTF-8", "line 2"),
    refused("Shift-JIS", ids("日本語", encoding="shift-jis"), "not UTF-8"),
    refused("a lone surrogate in UTF-8", ids("u1") + b"\xed\xa0\x80\n", "not UTF-8", "line 3"),
    refused("an overlong slash in UTF-8", ids("u1") + b"\xc0\xaf\n", "not UTF-8", "line 3"),
    read("ids of other scripts", ids(*SCRIPTS), *SCRIPTS),
    read("one name composed and decomposed", ids("é", "e\u0301"), "é", "e\u0301"),
)

IDS = (
    read("ids that a spreadsheet would alter", ids(*ALTERED), *ALTERED),
    read("ids of blanks, and with blanks around them", ids(" ", "  ", " u1", "u1 ", "\tu1"), " ", "  ", " u1", "u1 ", "\tu1"),
    read("empty ids", b'user_id,email\n,a@x\n"",b@x\nu1,c@x\n', "u1", left_out={"missing_user_id": 2}),
    read("one user twice, alike", b"user_id,email\nu1,a@x\nu1,a@x\n", "u1", left_out={"duplicate": 1}),
    read("one user twice, contradictory", b"user_id,email\nu1,a@x\nu1,b@x\n", "u1", left_out={"duplicate": 1}),
    read("one user twice with two values", b"user_id,value\nu1,1\nu1,2\n", "u1", left_out={"duplicate": 1},
         value_of="ltv", wants_value=True),
    read("values that are missing", b"user_id,value\nu1,1\nu2,\n", "u1", left_out={"missing_value": 1},
         value_of="ltv", wants_value=True),
    read("ids with quotation marks and SQL", ids("'; DROP TABLE rows; --", "%s", "{0}", "\\"), "'; DROP TABLE rows; --", "%s",
         "{0}", "\\"),
    read("an id of sixty thousand characters", ids("x" * 60_000), "x" * 60_000),
)  # fmt: skip


# -- JSON ----------------------------------------------------------------------------------------------------


def external_ids(*cells: str) -> bytes:
    lines = ["key,external_ids", *('k,"' + cell.replace('"', '""') + '"' for cell in cells)]
    return "".join(f"{line}\n" for line in lines).encode()


def mostly(cell: str) -> bytes:
    """One odd cell among many good ones."""
    good = [json.dumps({"user_id": [f"u{number}"]}) for number in range(MANY)]
    return external_ids(*good[:9], cell, *good[9:])


def lines(*objects: str) -> bytes:
    return "".join(f"{each}\n" for each in objects).encode()


JSONL = "snapshot.jsonl"
MANY_LINES = [json.dumps({"user_id": f"u{number}"}) for number in range(MANY)]
JSON = (
    read("typographic quotation marks", external_ids('{"user_id": [“u1”], "email": ["a@x"]}'), "u1"),
    read("a single id instead of an array", external_ids('{"user_id": "u1"}'), "u1"),
    read("numbers as ids", external_ids('{"user_id": [123]}', '{"user_id": [1e400]}', '{"user_id": ["u1"]}'),
         "123", "1e400", "u1"),
    *(
        counted(f"{word} where an id is missing", mostly(f'{{"user_id": [{word}]}}'), MANY, {"malformed": 1})
        for word in ("NaN", "nan", "Infinity", "-Infinity")
    ),
    read("NaN beside the ids", external_ids('{"user_id": ["u1"], "x": [NaN]}', '{"user_id": [7], "x": [NaN]}'), "u1", "7"),
    read("NaN as the text of an id", external_ids('{"user_id": ["NaN", 7]}'), "NaN", "7"),
    read("several ids of one profile", external_ids('{"user_id": ["u1", "u2", "u1"]}'), "u1", "u2", left_out={"duplicate": 1}),
    read("escaped characters in ids", external_ids(r'{"user_id": ["\u00e9\n\"\\"]}'), 'é\n"\\'),
    read("a key twice in one object", external_ids('{"user_id": ["u1"], "user_id": ["u2"]}'), "u1"),
    read("no ids at all", external_ids('{"user_id": ["u1"]}', "{}", '{"user_id": []}', '{"user_id": null}'), "u1",
         left_out={"missing_user_id": 3}),
    counted("an invalid object", mostly('{"user_id": ["u'), MANY, {"malformed": 1}),
    counted("an array instead of an object", mostly('["u"]'), MANY, {"malformed": 1}),
    counted("a word instead of an object", mostly("nope"), MANY, {"malformed": 1}),
    counted("arrays in the array of ids", mostly('{"user_id": [["u"]]}'), MANY, {"malformed": 1}),
    counted("a hundred thousand brackets", mostly('{"user_id": ' + "[" * 100_000), MANY, {"malformed": 1}),
    counted("a hundred thousand brackets, closed", mostly('{"other": ' + "[" * 100_000 + "]" * 100_000 + "}"), MANY,
            {"missing_user_id": 1}),
    counted("a lone surrogate, escaped", mostly(r'{"user_id": ["\ud800"]}'), MANY, {"malformed": 1}),
    read("a NUL, escaped", external_ids(r'{"user_id": ["u\u0000"]}'), "u\0"),
    refused("only invalid objects", external_ids('{"user_id": [', "nope", '{"user_id": ["u1"]}'), "2 of 3 rows"),
    read("JSON lines", lines('{"user_id": "u1"}', '{"user_id": "u2"}'), "u1", "u2", file=JSONL),
    read("JSON lines in UTF-16", lines('{"user_id": "ü1"}').decode().encode("utf-16"), "ü1", file=JSONL),
    read("JSON lines with CRLF and blank lines", b'{"user_id": "u1"}\r\n\r\n{"user_id": 7}\r\n', "u1", "7", file=JSONL),
    counted("one bad JSON line", lines(*MANY_LINES[:9], "{nope", *MANY_LINES[9:]), MANY, {"malformed": 1}, file=JSONL),
    refused("a JSON line that is cut", lines('{"user_id": "u1"}') + b'{"user_id": "u', "cut short", file=JSONL),
    refused("a JSON array", b'[{"user_id": "u1"}]', "JSON array", file=JSONL),
    refused("CSV as JSON lines", b"user_id\nu1\n", "2 of 2 rows cannot be read (not a JSON object; line 1, 2)", file=JSONL),
    refused("JSON over several lines", b'{\n "user_id": "u1"\n}\n', "3 of 3 rows", "not a JSON object", file=JSONL),
)  # fmt: skip

TRAIT = {"value_of": "ltv", "wants_value": True}


def cells(*values: str) -> bytes:
    """A value for each of the users u0, u1 …"""
    lines = [f'u{number},"{value.replace(chr(34), chr(34) * 2)}"\n' for number, value in enumerate(values)]
    return ("user_id,ltv\n" + "".join(lines)).encode()


def among_many(value: str) -> bytes:
    """JSON lines, one of them with this value."""
    good = [f'{{"user_id": "u{number}", "ltv": {number}}}' for number in range(MANY)]
    return lines(*good[:9], f'{{"user_id": "odd", "ltv": {value}}}', *good[9:])


BEYOND = (
    "1e309",
    "-1e400",
    "9" * 5000,
    "9" * 400 + ".5",
    "[1e999]",
    "[" * 3000 + "]" * 3000,
    '{"a":' * 1500 + "1" + "}" * 1500,
)
VALUES = (
    read("values beyond what a reader of JSON holds, as texts", cells(*BEYOND), *(f"u{n}" for n in range(len(BEYOND))), **TRAIT),
    read("values that are nearly that", cells("1e199", "9" * 100, "1e-400", "[" * 400 + "]" * 400), "u0", "u1", "u2", "u3",
         **TRAIT),
    *(
        counted(f"a value in JSON that no reader holds, {number}", among_many(value), MANY, {"malformed": 1}, file=JSONL, **TRAIT)
        for number, value in enumerate(BEYOND)
    ),
    read("traits beside other JSON", b'user_id,address,traits\nu1,"{""city"": ""x""}","{""ltv"": 5}"\n', "u1", **TRAIT),
    refused("JSON without the trait", b'user_id,address\nu1,"{""city"": ""x""}"\n', "none of its 1 rows has a value", **TRAIT),
)  # fmt: skip


# -- packed --------------------------------------------------------------------------------------------------

SMALL = ids("u1", "u2")


def zipped(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def encrypted() -> bytes:
    """A zip archive whose flags say that its file has a password."""
    packed = bytearray(zipped(("vip.csv", SMALL)))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


PACKED = (
    read("gzip", gzip.compress(SMALL), "u1", "u2", file="snapshot.csv.gz"),
    read("gzip by a CSV's name", gzip.compress(SMALL), "u1", "u2"),
    read("a CSV by gzip's name", SMALL, "u1", "u2", file="snapshot.csv.gz"),
    read("two streams of gzip", gzip.compress(ids("u1")) + gzip.compress(b"u2\n"), "u1", "u2"),
    read("bzip2", bz2.compress(SMALL), "u1", "u2"),
    read("xz", lzma.compress(SMALL), "u1", "u2"),
    read("zstd", zstandard.compress(SMALL), "u1", "u2", file="snapshot.csv.zst"),
    read("two frames of zstd", zstandard.compress(ids("u1")) + zstandard.compress(b"u2\n"), "u1", "u2"),
    refused("gzip that is cut", gzip.compress(rows(MANY))[:-5000], "cut short", "ends too early"),
    refused("gzip of nothing", gzip.compress(b""), "is empty"),
    refused("gzip and then something else", gzip.compress(SMALL) + b"surplus", "damaged"),
    refused("gzip with a wrong checksum", gzip.compress(SMALL)[:-8] + bytes(8), "damaged"),
    refused("gzip twice", gzip.compress(gzip.compress(SMALL)), "compressed twice"),
    refused("zstd that is cut", zstandard.compress(rows(MANY))[:-50], "cut short"),
    refused("bzip2 that is cut", bz2.compress(rows(MANY))[:-50], "cut short"),
    refused("xz that is cut", lzma.compress(rows(MANY))[:-50], "cut short"),
    read("zip", zipped(("vip.csv", SMALL)), "u1", "u2", file="snapshot.csv.zip"),
    read("zip from a Mac", zipped(("vip.csv", SMALL), ("__MACOSX/._vip.csv", b"x"), (".DS_Store", b"x")), "u1", "u2"),
    read("zip with a path that leads elsewhere", zipped(("../../../tmp/escaped.csv", SMALL)), "u1", "u2"),
    refused("zip of several files", zipped(("a.csv", SMALL), ("b.csv", SMALL)), "archive of 2 files (a.csv, b.csv)"),
    refused("zip of nothing", zipped(), "zip archive of 0 files"),
    refused("zip in a zip", zipped(("vip.zip", zipped(("vip.csv", SMALL)))), "zip archive"),
    refused("zip with a password", encrypted(), "with a password"),
    refused("zip that is cut", zipped(("vip.csv", rows(MANY)))[:-100], "damaged"),
    refused(
        "zip with a damaged file", zipped(("vip.csv", rows(MANY))).replace(b"PK\x01\x02", b"PK\x01\x03"), "damaged"
    ),
    refused(
        "an Excel workbook",
        zipped(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<x/>")),
        "Excel workbook",
    ),
    refused("an old Excel workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(999), "Excel workbook"),
)


# -- Parquet -------------------------------------------------------------------------------------------------

PARQUET = "snapshot.parquet"


def table(select: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({select}) TO '{folder / PARQUET}' (FORMAT parquet)")
        return folder / PARQUET

    return write


def cut(share: float) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = table("SELECT 'u' || i AS user_id FROM range(50000) t(i)")(folder)
        os.truncate(path, int(path.stat().st_size * share))
        return path

    return write


PARQUETS = (
    refused("an empty Parquet file", b"", "no Parquet file", file=PARQUET),
    refused("a Parquet file with a wrong mark", b"PAR2" + bytes(100) + b"PAR2", "no Parquet file", file=PARQUET),
    refused("a Parquet file of marks alone", b"PAR1PAR1", "no Parquet file", file=PARQUET),
    refused("a Parquet file that is cut at its end", cut(0.99), "no Parquet file"),
    refused("half a Parquet file", cut(0.5), "no Parquet file"),
    refused("CSV by a Parquet file's name", SMALL, "no Parquet file", file=PARQUET),
    refused("a Parquet file without the column", table("SELECT 1 AS id"), "lacks user_id"),
    read("Parquet without rows", table("SELECT 'x' AS user_id LIMIT 0")),
    read("whole numbers as ids", table("SELECT 123::BIGINT AS user_id"), "123"),
    read("decimals without places as ids", table("SELECT 123::DECIMAL(18, 0) AS user_id"), "123"),
    refused("fractions as ids", table("SELECT 123::DOUBLE AS user_id"), "lost its zeros"),
    refused("decimals as ids", table("SELECT 123.5::DECIMAL(18, 2) AS user_id"), "lost its zeros"),
    refused("bytes as ids", table("SELECT 'u1'::BLOB AS user_id"), "holds BLOB, which is no id"),
    refused("structures as ids", table("SELECT {'id': 'u1'} AS user_id"), "no id"),
    refused("arrays as ids", table("SELECT ['u1'] AS user_id"), "no id"),
    refused("days as ids", table("SELECT DATE '2024-01-31' AS user_id"), "no id"),
    read("UUIDs as ids", table("SELECT '00000000-0000-0000-0000-000000000001'::UUID AS user_id"),
         "00000000-0000-0000-0000-000000000001"),
    read("e-mails of no type, since there are none", table("SELECT 'u1' AS user_id, NULL::BLOB AS email"), "u1"),
    read("null ids", table("SELECT unnest(['u1', NULL, '']) AS user_id"), "u1", left_out={"missing_user_id": 2}),
    read("nested columns of no concern", table("SELECT 'u1' AS user_id, [{'a': 1}] AS other"), "u1"),
    read("nested values", table("SELECT 'u1' AS user_id, {'a': [1, 2]} AS value"), "u1", value_of="ltv", wants_value=True),
    refused("structures as e-mails", table("SELECT 'u1' AS user_id, {'a': 1} AS email"), "which is no e-mail"),
)  # fmt: skip


# -- the file system -----------------------------------------------------------------------------------------


def directory(folder: Path) -> Path:
    (folder / "x.csv").mkdir()
    return folder / "x.csv"


def loop(folder: Path) -> Path:
    (folder / "a.csv").symlink_to(folder / "b.csv")
    (folder / "b.csv").symlink_to(folder / "a.csv")
    return folder / "a.csv"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.csv")
    return folder / "pipe.csv"


def pattern_over_everything(folder: Path) -> str:
    """A good file among things that are none."""
    for make in (directory, loop, pipe):
        make(folder)
    (folder / "good.csv").write_bytes(SMALL)
    return f"{folder}/*.csv"


def odd_name(folder: Path) -> Path:
    path = folder / 'a\'b "c" [x]{y},z;\n%s.csv'
    path.write_bytes(SMALL)
    return path


def being_rewritten(folder: Path) -> Path:
    """Its successor is on the way, by the same name."""
    (folder / "snapshot.csv.gz").write_bytes(gzip.compress(SMALL))
    (folder / "snapshot.csv.gz.tmp").write_bytes(gzip.compress(SMALL)[:20])
    return folder / "snapshot.csv.gz"


FILES = (
    refused("nothing", lambda folder: folder / "nothing.csv", "No snapshot matches"),
    refused("a folder by a CSV's name", directory, "it is a folder"),
    refused("links in a circle", loop, "No snapshot matches"),
    refused("a pipe", pipe, "No snapshot matches"),
    read("a pattern over all of these and a good file", pattern_over_everything, "u1", "u2"),
    read("a name of odd characters", odd_name, "u1", "u2"),
    refused("a file and its half-written successor", being_rewritten, "is being written"),
)


def parts(names: Mapping[str, bytes], pattern: str = "") -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        for name, content in names.items():
            (folder / "export" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "export" / name).write_bytes(content)
        return f"{folder}/export/{pattern}"

    return write


def two_exports(folder: Path, *, marker_hours: int | None = None) -> str:
    """The first part of today's export, which writes over yesterday's; the second is still to come."""
    pattern = parts({"part-0.csv": ONE, "part-1.csv": TWO, "_SUCCESS": b""}, "part-*.csv")(folder)
    now = 1_750_000_000
    for name, hours in (("part-0.csv", 24), ("part-1.csv", 0), ("_SUCCESS", marker_hours)):
        path = folder / "export" / name
        if hours is None:
            path.unlink()
        else:
            os.utime(path, (now + hours * 3600,) * 2)
    return pattern


ONE, TWO = ids("u1"), ids("u2")
PARTS = (
    read("parts", parts({"part-0.csv": ONE, "part-1.csv": TWO}, "*.csv"), "u1", "u2"),
    read("parts that count from one", parts({"part-1-of-2.csv": ONE, "part-2-of-2.csv": TWO}, "*.csv"), "u1", "u2"),
    read("a folder of files", parts({"a.csv": ONE, "b.csv": TWO}), "u1", "u2"),
    read("parts, packed and not", parts({"part-0.csv.gz": gzip.compress(ONE), "part-1.csv": TWO}, "part-*"), "u1", "u2"),
    read("parts with one user in two", parts({"part-0.csv": ONE, "part-1.csv": ONE}, "*.csv"), "u1", left_out={"duplicate": 1}),
    read("parts with other columns", parts({"part-0.csv": ONE, "part-1.csv": b"email,user_id\na@x,u2\n"}, "*.csv"), "u1", "u2"),
    read("parts of which one is empty", parts({"part-0.csv": ONE, "part-1.csv": b"user_id\n"}, "*.csv"), "u1"),
    read("parts, of which one is named", parts({"part-0.csv": ONE, "part-1.csv": TWO, "x.csv": ONE}, "part-1.csv"), "u1", "u2"),
    read("gaps that a marker explains", parts({"part-0.csv": ONE, "part-2.csv": TWO, "_SUCCESS": b""}, "*.csv"), "u1", "u2"),
    refused("parts with a gap", parts({"part-0.csv": ONE, "part-2.csv": TWO}, "*.csv"), "part 1 is missing"),
    refused("parts of two exports", two_exports, "parts of several exports: part-1.csv is of 2025-06-15 15:06 UTC, part-0"),
    refused("parts of two exports, and the first one's marker", lambda folder: two_exports(folder, marker_hours=1),
            "parts of several exports"),
    read("parts of a slow export that says it is done", lambda folder: two_exports(folder, marker_hours=25), "u1", "u2"),
    refused("the last part alone", parts({"part-2.csv": ONE}, "*.csv"), "part 1 is missing"),
    refused("one part of two", parts({"part-1-of-2.csv": ONE}, "*.csv"), "part 2 is missing"),
    refused("a part twice", parts({"part-0-a.csv": ONE, "part-0-b.csv": TWO}, "*.csv"), "part 0 twice"),
    refused("a part that is being written", parts({"a.csv": ONE, "b.csv.tmp": TWO}), "is being written"),
    refused("a part without a byte", parts({"part-0.csv": ONE, "part-1.csv": b""}, "*.csv"), "part-1.csv", "is empty"),
    refused("a part that names no user", parts({"part-0.csv": ONE, "part-1.csv": b"id\n1\n"}, "*.csv"), "part-1.csv", "no user"),
    refused("a part with bad rows", parts({"part-0.csv": ONE, "part-1.csv": rows(9, b"u\n")}, "*.csv"), "part-1.csv", "line 6"),
    refused("a folder without files", parts({"x/.y.csv": ONE}), "No snapshot matches"),
    refused("a folder of folders", parts({"x/y.csv": ONE}), "has files in folders of its own: x", "/*/"),
)  # fmt: skip


# -- big -----------------------------------------------------------------------------------------------------

GIGABYTE = 1 << 30


def bomb(line: bytes) -> Callable[[Path], Path]:
    """A gigabyte of one line again and again, in a megabyte or so: the same stream many times."""

    def write(folder: Path) -> Path:
        stream = gzip.compress(line * (1 + (16 << 20) // len(line)), 9)
        path = folder / "bomb.csv.gz"
        path.write_bytes(gzip.compress(b"user_id,email\n") + stream * 64)
        return path

    return write


def zip_bomb(folder: Path) -> Path:
    path = folder / "bomb.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb.csv", "w") as member:
        member.write(b"user_id\n")
        for _ in range(40):
            member.write(b"u1\n" * ((8 << 20) // 3))
    return path


def sparse(start: bytes, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(start)
        os.truncate(path, 2 * GIGABYTE)
        return path

    return write


def wide(folder: Path) -> Path:
    path = folder / "wide.csv"
    names = b",".join(b"c%d" % number for number in range(9_999))
    path.write_bytes(b"user_id," + names + b"\n" + b"".join(b"u%d" % n + b"," * 9_999 + b"\n" for n in range(20)))
    return path


BIG = (
    refused("a gzip bomb of rows", bomb(b"u1,a@x\n"), "unpacks to more than 200 times its size"),
    refused("a gzip bomb of one line", bomb(b"a"), "a line of more than 64 MB"),
    refused("a gzip bomb of newlines", bomb(b"\n"), "unpacks to more than 200 times its size"),
    refused("a gzip bomb of quotation marks", bomb(b'"'), "a line of more than 64 MB"),
    refused("a zip bomb", zip_bomb, "unpacks to more than 200 times its size"),
    refused("two gigabytes of nothing", sparse(b"", "snapshot.csv"), "a line of more than 64 MB"),
    refused(
        "two gigabytes of nothing after a header", sparse(b"user_id\nu1\n", "snapshot.csv"), "a line of more than 64 MB"
    ),
    refused("two gigabytes of nothing as JSON lines", sparse(b"{}\n", "snapshot.jsonl"), "a line of more than 64 MB"),
    refused("two gigabytes of nothing as Parquet", sparse(b"PAR1", "snapshot.parquet"), "no Parquet file"),
    counted("ten thousand columns", wide, 20),
)

CASES = TEXT + ENCODINGS + IDS + JSON + VALUES + PACKED + PARQUETS + FILES + PARTS


def named(name: str) -> Case:
    """A case by its name."""
    return next(case for case in cases() if case.name == name)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from CASES
    yield from BIG
