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
    """What a program does to ids."""

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
        r"contains(upper(user_id), 'E+') AND regexp_full_match(user_id, '(?i)[0-9]([.,][0-9]+)?E\+[0-9]+')",
        "are written like 1.2E+11: a spreadsheet such as Excel rounded them",
        "Format the column as text before the ids are put in, or do not open the file there, and export it again.",
    ),
    Damage(
        """starts_with(user_id, '="')""",
        """stand in a formula (="…"), which is made for Excel""",
        "Export the ids as they are.",
    ),
)
COUNTS = ", ".join(["count(user_id)", *(f"count(*) FILTER ({damage.condition})" for damage in DAMAGES)])


def disfigured(source: str, ids: int, counts: Sequence[int]) -> SnapshotError | None:
    """The refusal of a source most of whose ids were changed; `ids` and `counts` are what COUNTS found."""
    for damage, count in zip(DAMAGES, counts, strict=True):
        if count >= LEAST and count * 2 > ids:
            return unusable(f"{source}: {count:,} of {counted(ids, 'user id')} {damage.looks}.", damage.remedy)
    return None
