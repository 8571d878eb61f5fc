"""May these changes go out? A side that moves too many users at once is withheld until a person approves.

Facts: a truncated download looks exactly like users leaving. So exits are limited by default, entries only where
configured; the other side is never held up, and withheld changes are not yet in Windsor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from windsor_sync.domain.change import KINDS

MOST_DECIMALS = 12
"""One user of a hundred million is a millionth of a per cent."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The changes of one run that an audience may have without an approval."""

    max_exited_percent: float | None
    max_entered_percent: float | None
    floor: int
    """with fewer members than this before, nothing is withheld"""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The number of changes of each kind that a person approved; None approves none of that kind."""

    max_exited: int | None = None
    max_entered: int | None = None


def too_low(ceiling: Ceiling, held: Sequence[str], *, exited: int, entered: int) -> str | None:
    """Return why an approval would send nothing of what is `held`; None where it would send something."""
    if ceiling == Ceiling():
        return "No number was approved."
    sides = (("exited", ceiling.max_exited, exited, "exits"), ("entered", ceiling.max_entered, entered, "entries"))
    for side, top, waiting, many in sides:
        if side in held and top is not None and top < waiting:
            return f"{waiting:,} {many} wait, and at most {top:,} were approved: none would be sent."
    if not any(top is not None for side, top, _, _ in sides if side in held):
        return "The approval names no side that waits: nothing would be sent."
    return None


@dataclass(frozen=True, slots=True)
class Ruling:
    """The changes that the guard withholds, and the reasons in words."""

    held: tuple[str, ...]
    """kinds of change (`entered`, `updated`, `exited`)"""
    reasons: tuple[str, ...]
    uses_approval: bool = False
    """whether a side goes out only because a person approved it"""
    remedy: str = ""
    """what may be done about it beside an approval"""

    @property
    def trips(self) -> bool:
        """Whether anything is withheld."""
        return bool(self.held)


def withhold_unknown(ruling: Ruling, *, exits: int, because: str, ceiling: Ceiling | None = None) -> Ruling:
    """Withhold exits because the snapshot has rows that may be anybody's; of how many members it does not matter.

    `because` says which rows, as the beginning of a sentence.
    """
    approved = ceiling.max_exited if ceiling else None
    if not exits or "exited" in ruling.held:
        return ruling
    if approved is not None and exits <= approved:
        return replace(ruling, uses_approval=True)
    seem = "1 seems" if exits == 1 else f"{exits:,} seem"
    text = f"{because}, and such a row may be a member's: {seem} to have exited"
    if approved is not None:
        text += f" ({approved:,} were approved)"
    return replace(ruling, held=(*KINDS["exited"], *ruling.held), reasons=(text, *ruling.reasons))


def judge(
    *, before: int, after: int, entered: int, exited: int, limit: Limit, ceiling: Ceiling | None = None
) -> Ruling:
    """Compare a run's entries and exits with what the audience allows and what a person approved.

    `before` is how many members Windsor had been told of, `after` how many the snapshot has. An initial sync (nobody
    before) is never withheld; when nobody is left, the floor protects no audience.
    """
    if before < max(limit.floor if after else 0, 1):
        return Ruling((), ())
    approved = ceiling or Ceiling()
    sides = (
        ("exited", exited, limit.max_exited_percent, approved.max_exited),
        ("entered", entered, limit.max_entered_percent, approved.max_entered),
    )
    held: list[str] = []
    reasons: list[str] = []
    uses_approval = False
    for side, count, percent, ceiling_count in sides:
        if percent is None or count * 100 <= percent * before:
            continue
        if ceiling_count is not None and count <= ceiling_count:
            uses_approval = True
            continue
        held.append(side)
        reasons.append(_reason(side, count, before, percent, ceiling_count))
    return Ruling(tuple(held), tuple(reasons), uses_approval)


def _reason(side: str, count: int, before: int, percent: float, ceiling: int | None) -> str:
    text = f"{count:,} of {before:,} members {side} ({_share(count, before, percent)} %; {percent:g} % are allowed"
    return text + (f", {ceiling:,} were approved)" if ceiling is not None else ")")


def _share(count: int, before: int, percent: float) -> str:
    """Return the share in per cent, with so many decimals that it is more than `percent`: 30 % is not above 30 %."""
    share = count * 100 / before
    rounded = (f"{share:.{decimals}f}" for decimals in range(MOST_DECIMALS))
    return next((text for text in rounded if float(text) > percent), f"{share}")
