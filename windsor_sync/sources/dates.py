"""The date that a path carries, as strptime's directives describe it."""

import re
from datetime import UTC, datetime
from functools import cache

from windsor_sync.errors import ConfigError


def date_in(path: str, pattern: str) -> datetime | None:
    """Read the date that `pattern` describes from a path, the last one that fits; UTC unless the path says otherwise.

    A number that goes on before or after the date is not a date.
    """
    for match in reversed(list(_expression(pattern).finditer(path))):
        try:
            moment = datetime.strptime(match[0], pattern)  # noqa: DTZ007  # the zone is set below
        except ValueError:
            continue
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return None


_DIRECTIVES = {
    "Y": r"\d{4}",
    **dict.fromkeys("ymdHIMS", r"\d{2}"),
    "j": r"\d{3}",
    "f": r"\d{1,6}",
    "z": r"(?:Z|[+-]\d{2}:?\d{2})",
    "Z": r"[A-Z]{3,4}",
    **dict.fromkeys("aAbB", r"[^\W\d_]{1,30}"),
    "p": r"[AaPp][Mm]",
    "%": "%",
}


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"%.|[^%]+", pattern)
    unknown = [part for part in parts if part.startswith("%") and part[1:] not in _DIRECTIVES]
    if unknown:
        raise ConfigError(
            f"taken_at {pattern} uses {unknown[0]}, which is not understood in paths. Nothing was sent. "
            "Use %Y, %m, %d, %H, %M, %S, %f, %j, %b, %p or %z."
        )
    body = "".join(_DIRECTIVES[part[1:]] if part.startswith("%") else re.escape(part) for part in parts)
    return re.compile(rf"(?<!\d){body}(?!\d)")
