"""Files that cannot be snapshots, each with what its refusal has to say."""

import gzip
from dataclasses import dataclass

SECRET = "canary@example.com"
"""Stands in every file; no message may repeat it."""


@dataclass(frozen=True, slots=True)
class Nasty:
    """A file that cannot be used."""

    name: str
    content: bytes
    says: tuple[str, ...]
    """parts of the finding: what, and in which line"""
    remedy: str
    file: str = "snapshot.csv"
    format: str | None = None
    value_of: str | None = None

    def __str__(self) -> str:
        return self.name


ROW = f"u1,{SECRET}\n"
FORMATTED = "user_id,email\n" + ROW * 20
UNFORMATTED = "key,external_ids\n" + 'k,"{""user_id"":[""u1""],""email"":[""' + SECRET + '""]}"\n'

AGAIN = "again"

CSV = (
    Nasty("an empty file", b"", ("is empty",), AGAIN),
    Nasty("blank lines only", b"\n\r\n \n", ("is empty",), AGAIN),
    Nasty("a web page", b"<!DOCTYPE html><html>sign in</html>", ("web page", "line 1"), AGAIN),
    Nasty("JSON", b'[{"user_id": "u1"}]', ("is JSON", "line 1"), "format: jsonl"),
    Nasty("a damaged zip archive", b"PK\x03\x04" + bytes(range(256)), ("damaged",), AGAIN),
    Nasty("a Parquet file by a CSV's name", b"PAR1" + bytes(100), ("Parquet",), "format: parquet"),
    Nasty("damaged zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 100, ("damaged",), AGAIN),
    Nasty("UTF-32", FORMATTED.encode("utf-32"), ("UTF-32",), "UTF-8"),
    Nasty("NUL bytes", (FORMATTED + "u2\0,x\n").encode(), ("NUL byte", "line 22"), "download it again"),
    Nasty("no known encoding", (FORMATTED + "u€,x\n").encode("cp1252"), ("not UTF-8", "line 22"), "UTF-8"),
    Nasty("carriage returns alone", FORMATTED.replace("\n", "\r").encode(), ("carriage returns",), "line feeds"),
    Nasty("mixed line endings", (FORMATTED + "u2,x\r\n" + ROW).encode(), ("mixes line endings",), "one kind"),
    Nasty("semicolons", FORMATTED.replace(",", ";").encode(), ("semicolons", "line 1"), "commas"),
    Nasty("no header", (ROW * 3).encode(), ("names no user", "line 1", "2 cells that do not look like"), "user_id"),
    Nasty(
        "other columns",
        b"id,mail\n" + ROW.encode(),
        ("names no user", "line 1", "expected a column user_id or external_ids", "found the columns id, mail"),
        "choose user_id",
    ),
    Nasty("hashed e-mails", b"email\n" + b"A" * 64 + b"\n", ("e-mails only", "hashes"), "choose user_id"),
    Nasty("hashed ids", b"user_id\n" + b"0F" * 32 + b"\n", ("hashed ids",), "choose user_id"),
    Nasty("a missing value column", FORMATTED.encode(), ("no values of ltv", "value or ltv"), "trait", value_of="ltv"),
    Nasty(
        "ids without user_id",
        f'key,external_ids\nk,"{{""email"": [""{SECRET}""]}}"\n'.encode(),
        ("none of its 1 rows has user_id",),
        "identify_by: anonymous_id",
    ),
    Nasty(
        "traits without the one that is wanted",
        ("user_id,traits\n" + 'u1,"{""other"": 1}"\n').encode(),
        ("none of its 1 rows has a value",),
        "Choose the trait",
        value_of="ltv",
    ),
    Nasty("an open quotation mark at the end", (FORMATTED + 'u2,"x').encode(), ("never closed", "line 22"), AGAIN),
    Nasty(
        "an open quotation mark far from the end",
        (FORMATTED + 'u2,"x\n' + ROW * 100_000).encode(),
        ("never closed", "line 22"),
        AGAIN,
    ),
    Nasty(
        "a last row with too few cells", (FORMATTED + "u2").encode(), ("cut short", "line 22", "1 instead of 2"), AGAIN
    ),
    Nasty(
        "a last row with too few cells, after a row of several lines",
        (FORMATTED + 'u2,"x\ny"\nu3\n').encode(),
        ("cut short", "line 24", "1 instead of 2"),
        AGAIN,
    ),
    Nasty(
        "a last row with too few cells in a file that writes out empty ones",
        f"user_id,email,email_1\nu1,{SECRET},\nu2,x".encode(),
        ("cut short", "line 3", "2 instead of 3"),
        AGAIN,
    ),
    Nasty(
        "JSON that is cut in the last row",
        (UNFORMATTED + 'k,"{""user_id"":[""u"').encode(),
        ("cut short", "line 3", "unreadable external_ids"),
        AGAIN,
    ),
    Nasty("a gzip stream that is cut", gzip.compress(FORMATTED.encode())[:-20], ("cut short", "compressed"), AGAIN),
    Nasty("a gzip stream that is damaged", gzip.compress(FORMATTED.encode())[:-8] + bytes(8), ("damaged",), AGAIN),
    Nasty(
        "many rows with too few cells",
        (FORMATTED + "u2\nu3\n" + ROW).encode(),
        ("2 of 23 rows cannot be read", "1 instead of 2 cells", "line 22, 23", "at most 0.1 %"),
        "max_malformed_percent",
    ),
    Nasty(
        "rows with too many cells",
        (FORMATTED + "u2,x,y\n" + ROW).encode(),
        ("1 of 22 rows", "3 instead of 2 cells", "line 22"),
        "max_malformed_percent",
    ),
    Nasty(
        "two stray quotation marks, and what lies between them",
        (FORMATTED + 'u2,"x\n' + ROW * 50 + 'u3,"x"\n' + ROW).encode(),
        ("52 of 73 rows", "stray quotation mark", "line 22"),
        "max_malformed_percent",
    ),
    Nasty(
        "unreadable JSON",
        (UNFORMATTED + "k,{{\nk,nope\n" + UNFORMATTED.partition("\n")[2]).encode(),
        ("2 of 4 rows", "unreadable external_ids", "line 3, 4"),
        "max_malformed_percent",
    ),
    Nasty(
        "unreadable JSON after cells of several lines and a blank line",
        ('key,external_ids\n"k\n\nk",{}\n\n' + 'k,nope\nk,"{""user_id"":[""u""]}"\n').encode(),
        ("1 of 3 rows", "unreadable external_ids", "line 6"),
        "max_malformed_percent",
    ),
)

OTHERS = (
    Nasty("an empty JSON lines file", b"", ("is empty",), AGAIN, "snapshot.jsonl"),
    Nasty("a JSON array", b'[\n{"user_id": "u1"}\n]', ("JSON array",), "one object a line", "snapshot.jsonl"),
    Nasty(
        "JSON lines that are cut",
        f'{{"user_id": "{SECRET}"}}\n{{"user_id": "u'.encode(),
        ("cut short", "line, 2", "not a JSON object"),
        AGAIN,
        "snapshot.jsonl",
    ),
    Nasty(
        "a JSON line that is broken",
        b'{"user_id": "u1"}\n\nnope\n{"user_id": "u2"}\n',
        ("1 of 3 rows", "not a JSON object", "line 3"),
        "max_malformed_percent",
        "snapshot.jsonl",
    ),
    Nasty(
        "an id that is an object",
        b'{"user_id": {"id": 1}}\n{"user_id": "u2"}\n',
        ("1 of 2 rows", "neither text nor a number", "line 1"),
        "max_malformed_percent",
        "snapshot.jsonl",
    ),
    Nasty(
        "a line of three megabytes", b'{"user_id": "' + b"u" * 3_000_000 + b'"}\n', ("2 MB",), AGAIN, "snapshot.jsonl"
    ),
    Nasty("no Parquet file", f"<html>{SECRET}".encode(), ("no Parquet file",), AGAIN, "snapshot.parquet"),
    Nasty(
        "a CSV file without the mapped column",
        FORMATTED.encode(),
        ("lacks customer", "line 1", "the columns user_id, email"),
        "columns",
        format="csv",
    ),
)
