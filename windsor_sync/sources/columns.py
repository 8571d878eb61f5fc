"""The columns that a source has, under whatever spelling: `E-mail`, `USER_ID`, `userId`."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from windsor_sync.errors import harmless
from windsor_sync.sources.refusal import unusable

OURS = ("user_id", "anonymous_id", "email", "profile_id", "value")
"""The columns of a source."""

SPELLINGS = {
    "userid": "user_id",
    "anonymousid": "anonymous_id",
    "email": "email",
    "emailaddress": "email",
    "emailaddr": "email",
    "mail": "email",
}
"""Folded names that can mean one of our columns only."""
MAYBE_USER_IDS = ("customerid", "clientid", "memberid", "contactid", "accountid", "personid", "externalid", "uid", "id")
"""Folded names that often are the user id, and need not be."""

ENVELOPES = (
    (
        ("_airbyte_data",),
        "in envelopes of Airbyte (_airbyte_data)",
        "Sync to the final tables, or with root level flattening.",
    ),
    (("type", "record"), "in messages of Singer (RECORD)", "Export the `record` of each line of the type RECORD."),
    (("type", "stream"), "in messages of Singer (RECORD)", "Export the `record` of each line of the type RECORD."),
    (("Item",), "in DynamoDB's JSON (Item)", "Export each item as plain JSON, without its types."),
    (
        ("before", "after"),
        "in messages of Debezium (before, after)",
        "Set ExtractNewRecordState, or export `after`.",
    ),
    (
        ("payload", "schema"),
        "in messages of Kafka Connect (payload)",
        "Set schemas.enable=false, or export each `payload`.",
    ),
)
"""Keys of an envelope around each row, what it is, and how the rows are had without it."""

_NUMBERED = re.compile(r"(userid|anonymousid|email)(\d+)")


def folded(name: str) -> str:
    """A name without capitals and without what stands between its words."""
    return re.sub(r"[\W_]+", "", name).lower()


def recognized(
    names: Sequence[str], place: str, mapping: Mapping[str, str] | None = None, wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """The names, known columns in our spelling; `mapping` and `wanted` are names that mean something else already.

    Raises SnapshotError where two columns may be the same one of ours and neither is written as ours is.
    """
    _refuse_envelopes(names, place, mapping or {})
    taken = set((mapping or {}).values()) | set(wanted)
    ours = [None if name in taken else _ours(name) for name in names]
    for meaning in {each for each in ours if each is not None}:
        places = [place for place, each in enumerate(ours) if each == meaning]
        is_there = meaning in names or meaning in (mapping or {})
        if not is_there and len(places) > 1:
            both = " and ".join(harmless(names[place]) for place in places)
            raise unusable(
                f"{place} has several columns that may be {meaning}: {both}.",
                f"Say which one in the snapshot's columns setting (columns: {{{meaning}: {harmless(names[places[0]])}}}; of a "
                ".csv file also format: csv), or leave the other out.",
            )
        if is_there:
            ours = [None if each == meaning else each for each in ours]
    return tuple(found or name for found, name in zip(ours, names, strict=True))


class Columns(NamedTuple):
    """The name that each of our columns has in a source."""

    theirs: dict[str, str]
    """every column of ours, there or not"""
    found: dict[str, str]
    missing: tuple[str, ...]
    """names that the source has to have and lacks"""


def columns_among(
    names: Collection[str], mapping: Mapping[str, str], value_of: str | None, needed: Collection[str]
) -> Columns:
    """Return which of the recognized names each of our columns is.

    `needed` are ours that the settings name: these have to be there, the value where one is wanted, and the user id where there
    is no anonymous one.
    """
    theirs = {ours: mapping.get(ours, ours) for ours in OURS}
    if value_of and "value" not in mapping and "value" not in names:
        theirs["value"] = value_of
    found = {ours: name for ours, name in theirs.items() if name in names}
    wanted = {*needed, *(["value"] if value_of else []), *([] if "anonymous_id" in found else ["user_id"])}
    return Columns(theirs, found, tuple(theirs[ours] for ours in sorted(wanted - found.keys())))


def _refuse_envelopes(names: Sequence[str], place: str, mapping: Mapping[str, str]) -> None:
    """Raise SnapshotError where the users stand a level deeper, in what another program has put around each row."""
    has_ids = any(_ours(name) in ("user_id", "anonymous_id") or name == "external_ids" for name in names)
    if has_ids or any(name in names for name in mapping.values()):
        return
    for keys, what, remedy in ENVELOPES:
        if set(keys) <= set(names):
            raise unusable(f"{place}: the rows stand {what}.", remedy)


def hint(names: Sequence[str]) -> str:
    """Return a hint about a column that may be the missing user id, if there is one."""
    likely = [name for name in names if folded(name) in MAYBE_USER_IDS]
    if len(likely) != 1:
        return ""
    return f" If {harmless(likely[0])} is the user id, say columns: {{user_id: {harmless(likely[0])}}}."


def _ours(name: str) -> str | None:
    text = folded(name)
    if match := _NUMBERED.fullmatch(text):
        return f"{SPELLINGS[match[1]]}_{match[2]}"
    return SPELLINGS.get(text)
