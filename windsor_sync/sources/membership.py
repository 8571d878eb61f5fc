"""Finds the column that says whether a row's user is a member, and reads its cells: one rule for every source.

A row of an audience is a member unless a column of booleans says otherwise. The column is the one that `columns: {value: …}`
names, or one called as the trait key, `is_member`, `member` or `value`, if most of its cells are true or false.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from windsor_sync.errors import harmless
from windsor_sync.sources.columns import folded
from windsor_sync.sources.refusal import unusable

SAMPLE_ROWS = 10_000
DELETED = (
    "_fivetran_deleted",
    "_ab_cdc_deleted_at",
    "_sdc_deleted_at",
    "__deleted",
    "is_deleted",
    "deleted",
    "isdeleted",
    "deleted_at",
    "deletedat",
    "_change_type",
    "__op",
)
"""Columns in which Fivetran, Airbyte, Singer, Debezium, Rails and their like mark rows that are no longer there."""
NUMBERING = re.compile(r"|unnamed(: ?\d+)?|index|__index_level_\d+__|\.{3}\d+", re.IGNORECASE)
"""What pandas and R call the column with the numbers of the rows."""
UNSAID = "neither true nor false about the membership"
"""Why a row cannot be read that does not say whether its user is a member."""

MAP_IT = "Name it in the snapshot's columns setting (columns: {value: …}), or export it."
IDS_AND_MAILS = ("userid", "anonymousid", "email", "emails", "emailaddress", "mail", "profileid", "externalids", "key")
TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"
WORD = "coalesce(lower(trim(value, ' \"')), '')"
"""The cell of a flag, which may be JSON."""
COUNTS = f"""
    count(*), count(*) FILTER ({WORD} NOT IN ('', 'null', 'none', 'nan', '<na>', '\\n')),
    count(*) FILTER ({WORD} IN {TRUE}), count(*) FILTER ({WORD} IN {FALSE}),
    count(*) FILTER ({WORD} IN ('0', '1', '0.0', '1.0')), count(*) FILTER ({WORD} IN ('true', 'false', 'yes', 'no'))"""


@dataclass(frozen=True, slots=True)
class Flag:
    """A column that says, or may say, whether a user is a member."""

    column: str
    """as the source calls it"""
    is_mapped: bool = False
    """by the snapshot's columns setting"""
    is_alone: bool = False
    """it has another name, and stands alone beside the ids and e-mails"""

    @property
    def is_certain(self) -> bool:
        """Whether its name says so, even where all its cells are empty."""
        return self.is_mapped or not (self.is_alone or folded(self.column) in {"value", "member"})


def flag_of(names: Sequence[str], key: str | None, mapping: Mapping[str, str], source: str) -> Flag | None:
    """The column of an audience's source that says who is a member, or may say it; `key` is the audience's trait key.

    Raises SnapshotError if the column that `mapping` has for it is not there.
    """
    if "value" in mapping:
        found = _named(names, [mapping["value"]])
        if found is None:
            raise unusable(f"{source} has no column {mapping['value']}, which says who is a member.", MAP_IT)
        return Flag(found, is_mapped=True)
    found = _named(names, [key] if key else []) or _named(names, ["is_member", "isMember", "member", "value"])
    if found:
        return Flag(found)
    is_engages_own = {"key", "external_ids"} & set(names)  # then it is one of the traits that were downloaded
    marks = [name for name in names if name.lower() in DELETED and name not in mapping.values()]
    if marks and not is_engages_own:
        raise unusable(
            f"{source}: the column {harmless(marks[0])} marks rows that were deleted; the users of such rows are no members.",
            "Leave out these rows, and the column, when exporting.",
        )
    others = [name for name in names if not _is_known(name) and name not in mapping.values()]
    return Flag(others[0], is_alone=True) if len(others) == 1 and not is_engages_own else None


def define_rows(connection: duckdb.DuckDBPyConnection, select: str, flag: Flag | None, source: str) -> bool:
    """Define the view `rows` from a select in whose `value` the flag's cells stand as text, and return whether it is one.

    Then `value` is false for those who are not members, and empty for members. Raises SnapshotError for a column of booleans
    of which nobody can say what it means.
    """
    if flag is None:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {select}")
        return False
    connection.execute(f"CREATE OR REPLACE TEMP VIEW unsettled AS {select}")
    if is_flag := _says_membership(connection, flag, source):
        value = f"CASE WHEN {WORD} IN {FALSE} THEN 'false' END"
        unsaid = f"CASE WHEN {WORD} NOT IN {TRUE} AND {WORD} NOT IN {FALSE} THEN '{UNSAID}' END"
    else:
        value, unsaid = "NULL::VARCHAR", "NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW rows AS "
        f"SELECT * REPLACE ({value} AS value, coalesce(malformed, {unsaid}) AS malformed) FROM unsettled"
    )
    return is_flag


def _says_membership(connection: duckdb.DuckDBPyConnection, flag: Flag, source: str) -> bool:
    rows = f"(SELECT value FROM unsettled WHERE malformed IS NULL {f'LIMIT {SAMPLE_ROWS}' if flag.is_alone else ''})"
    [(read, filled, yes, no, digits, words)] = connection.execute(f"SELECT {COUNTS} FROM {rows}").fetchall()
    if not flag.is_alone:
        return bool((yes + no) * 2 > filled or not read or (flag.is_certain and not filled)) or flag.is_mapped
    if filled and yes + no == filled and not digits and (words or (yes and no)):  # letters alone may be initials
        name = harmless(flag.column)
        raise unusable(
            f"{source}: the column {name} says true or false of each user, and not whether that means membership.",
            f"If it does, say so in the snapshot's settings (columns: {{value: {name}}}; of a .csv file also format: csv), or "
            "call it is_member; if not, leave it out of the export.",
        )
    return False


def _named(names: Sequence[str], wanted: Iterable[str]) -> str | None:
    """The first wanted name that there is, in any case where it is not there as written."""
    for name in wanted:
        if name in names:
            return name
        if found := next((each for each in names if each.lower() == name.lower()), None):
            return found
    return None


def _is_known(name: str) -> bool:
    """Whether a column holds ids or e-mails, numbered ones too, or the numbers of the rows."""
    return NUMBERING.fullmatch(name.strip()) is not None or folded(name).rstrip("0123456789") in IDS_AND_MAILS
