"""Translates refusals of a database into our words: its own can quote a row, the query, or a password."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from windsor_sync.errors import ConfigError, SourceUnavailable, WindsorSyncError
from windsor_sync.sources.refusal import unusable


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of refusal."""

    finding: str
    """goes on after the connection's name"""
    remedy: str
    states: tuple[str, ...] = ()
    """beginnings of the SQLSTATEs that mean it"""
    words: str = ""
    """what drivers without SQLSTATEs say, as an expression"""
    in_settings: bool = True
    """whether a person has to change a setting, rather than wait or read again"""
    passes: bool = False
    """whether reading again in a while may do"""


_AGAIN = "If it happens again, ask whoever runs the warehouse."
_CREDENTIALS = Trouble(
    "refuses its user or password",
    "Correct the credentials in the connection.",
    states=("28",),
    words=r"password|authenticat|access denied|login failed|role .{0,300} does not exist",
)
_DATABASE = Trouble(
    "has no database of that name",
    "Correct the database in the connection.",
    ("3D",),
    r"database .{0,300} does not exist",
)
_PERMISSION = Trouble(
    "does not let this account read one of the tables",
    "Grant it SELECT on them, and USAGE on their schema.",
    states=("42501",),
    words=r"permission denied|not authorized|insufficient privilege|access control",
)
_TABLE = Trouble(
    "has no such table or view, or hides it from this account",
    "Check the schema and the tables that the snapshot names.",
    states=("42P01", "42S02", "3F"),
    words=r"no such table|unknown (?:table|database|schema)|(?:table|relation|view|object) .{0,300} (?:not exist|not found)",
)
_COLUMN = Trouble(
    "has no such column in those tables",
    "Check the columns that the snapshot names.",
    states=("42703", "42S22"),
    words=r"no such column|unknown column|invalid identifier|unrecognized name|column .{0,300} not exist",
)
_TIMEOUT = Trouble(
    "ended the query before its last row, by a time-out or by hand",
    "Raise the statement time-out for this account, or make the query cheaper (a table instead of a view).",
    states=("57014", "HYT"),
    words=r"time[d -]*out|cancel|interrupted",
    in_settings=False,
)
_SYNTAX = Trouble(
    "cannot make sense of the query",
    "Run the query in the warehouse by hand, correct it, then put it into windsor.yaml.",
    states=("42", "2200"),
    words=r"syntax|incomplete input|unrecognized token|parse error|you can only execute one statement",
)
_UNREACHABLE = Trouble(
    "cannot be reached",
    f"Check its host and port in the connection, and the network between. {_AGAIN}",
    in_settings=False,
    passes=True,
)
_LOST = Trouble(
    "was lost before the last row; what was read up to there is thrown away",
    f"Run again. {_AGAIN}",
    states=("08", "57P", "53"),
    words=r"server closed|connection (?:was |is )?(?:lost|closed|reset|already closed)|gone away|terminating connection",
    in_settings=False,
    passes=True,
)
_OTHER = Trouble(
    "stopped with an error of its own",
    f"Run the query in the warehouse by hand to see it. {_AGAIN}",
    in_settings=False,
)
_BY_STATE = (_CREDENTIALS, _DATABASE, _PERMISSION, _TABLE, _COLUMN, _TIMEOUT, _LOST, _SYNTAX)
_BY_WORDS = (_DATABASE, _CREDENTIALS, _PERMISSION, _TABLE, _COLUMN, _TIMEOUT, _LOST, _SYNTAX)


@contextmanager
def translated(place: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn whatever a driver raises into ConfigError or SnapshotError; only calls to the database belong inside."""
    try:
        yield
    except WindsorSyncError:
        raise
    except Exception as error:
        refusal = _refusal(error, place, connecting)
    else:
        return
    raise refusal from None


def _refusal(error: Exception, place: str, connecting: bool) -> WindsorSyncError:
    state = _state(error)
    trouble = _trouble(error, state, connecting)
    code = f" (SQLSTATE {state})" if state else ""
    finding = f"The warehouse of {place} {trouble.finding}{code}."
    if trouble.in_settings:
        return ConfigError(f"{finding} Nothing was sent; the last good snapshot stands. {trouble.remedy}")
    refusal = unusable(finding, trouble.remedy)
    return SourceUnavailable(str(refusal)) if trouble.passes else refusal


def _trouble(error: Exception, state: str, connecting: bool) -> Trouble:
    for trouble in _BY_STATE:
        if state and state.startswith(trouble.states or ("-",)):
            return trouble
    words = str(getattr(error, "orig", error))
    said = next((trouble for trouble in _BY_WORDS if not state and re.search(trouble.words, words, re.I)), None)
    if connecting:
        return said if said in (_CREDENTIALS, _DATABASE, _PERMISSION) and said else _UNREACHABLE
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return _LOST
    return said or _OTHER


def _state(error: Exception) -> str:
    """The SQLSTATE, five characters, under any of the names that drivers have for it."""
    driver = getattr(error, "orig", error)
    found = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    return found if isinstance(found, str) and re.fullmatch(r"[0-9A-Z]{5}", found) else ""
