"""Ids that a program changed on their way: they name nobody, or somebody else."""

from collections.abc import Sequence
from dataclasses import dataclass

from windsor_sync.domain.labels import counted
from windsor_sync.errors import SnapshotError
from windsor_sync.sources.refusal import unusable

LEAST = 2
"""One id that looks so may be an id like any other."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A way in which a program damages ids."""

    condition: str
    """whether `user_id` looks so, as SQL; cheap for ids that do not"""
    looks: str
    remedy: str


DAMAGES: Sequence[Damage] = (
    Damage(
        r"ends_with(user_id, '.0') AND regexp_full_match(user_id, '-?[0-9]+\.0')",
        "end in .0: a program such as pandas read them as numbers with fractions",
        "Read and write the column as text (pandas: dtype=str, or astype('Int64') for whole numbers), and export it again.",
    ),
    Damage(
        r"user_id[2] IN ('e', 'E', '.', ',') AND regexp_full_match(user_id, '(?i)[0-9]([.,][0-9]+)?E\+?[0-9]+')",
        "are written like 1.2E+11: a program such as Excel or R rounded them",
        "Format the column as text before the ids are put in, or do not open the file there, and export it again.",
    ),
    Damage(
        """starts_with(user_id, '="')""",
        """stand in a formula (="…"), which is made for Excel""",
        "Export the ids as they are.",
    ),
    Damage(
        "contains(user_id, ',') AND regexp_full_match(user_id, '[0-9]{1,3}(,[0-9]{3})+')",
        "have commas between their thousands, as reports show numbers",
        "Export the values without formatting.",
    ),
    Damage(
        "starts_with(user_id, 'ObjectId(')",
        "stand in ObjectId(…), as mongoexport writes them to CSV",
        "Export the ids as text ($toString).",
    ),
    Damage(
        "starts_with(user_id, chr(39))",
        "begin with an apostrophe, which programs put before what a spreadsheet would calculate",
        "Export the ids as they are.",
    ),
    Damage(
        "ends_with(user_id, '  ') AND trim(user_id) <> ''",
        "are padded with blanks, as columns of the type CHAR and sqlcmd are",
        "Trim the column when exporting (SQL: rtrim; sqlcmd: -W).",
    ),
)
ROUNDED = DAMAGES[1]
WHOLE = "count(*) FILTER (regexp_full_match(user_id, '-?[0-9]+'))"
"""Among whole numbers alone also one that is written so is no id: R writes 100000 as 1e+05 or 1e5."""
COUNTS = ", ".join(["count(user_id)", *(f"count(*) FILTER ({damage.condition})" for damage in DAMAGES)])

SEEMS_CHANGED = r"""regexp_matches(user_id,
    '(?s)^(-?[0-9]+\.0|[0-9]([.,][0-9]+)?[eE]\+?[0-9]+|="|[0-9]{1,3}(,[0-9]{3})+$|ObjectId\(|\x27)|[^ ].*  $')"""
"""Whether an id may be damaged in any of these ways, as SQL with one regular expression."""
IS_WHOLE_OR_ROUNDED = r"regexp_full_match(user_id, '-?[0-9]+|[0-9]([.,][0-9]+)?[eE]\+?[0-9]+')"


def damage_of(source: str, ids: int, counts: Sequence[int]) -> SnapshotError | None:
    """The refusal of a source most of whose ids were changed; `ids` and `counts` are what COUNTS found."""
    for damage, count in zip(DAMAGES, counts, strict=True):
        if count >= LEAST and count * 2 > ids:
            return unusable(f"{source}: {count:,} of {counted(ids, 'user id')} {damage.looks}.", damage.remedy)
    return None


def has_rounded(counts: Sequence[int]) -> bool:
    """Whether some id is written as programs write rounded numbers; then WHOLE decides."""
    return counts[DAMAGES.index(ROUNDED)] > 0


def rounded(source: str, ids: int, counts: Sequence[int], whole: int) -> SnapshotError | None:
    """The refusal of a source all of whose ids are numbers, `whole` of them written as whole ones, the others rounded."""
    count = counts[DAMAGES.index(ROUNDED)]
    if not whole or whole + count != ids:
        return None
    return unusable(f"{source}: {count:,} of {counted(ids, 'user id')} {ROUNDED.looks}.", ROUNDED.remedy)
