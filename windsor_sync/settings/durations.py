"""Durations as people write them: `2h30m`, `15m`, `90s`, `1d`, or ISO 8601's `PT2H30M`."""

import re
from datetime import timedelta

_COMPACT = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII | re.IGNORECASE)
_ISO = re.compile(r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?", re.ASCII | re.IGNORECASE)


def parse_duration(text: str) -> timedelta:
    """Read days, hours, minutes and seconds, in that order, each at most once and whole; ValueError otherwise."""
    found = _COMPACT.fullmatch(text) or _ISO.fullmatch(text)
    if found is None or not any(found.groups()) or text[-1] in "Tt":
        raise ValueError("not a duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Write a duration of whole seconds so that `parse_duration` reads the same one: `2h30m`."""
    minutes, seconds = divmod(duration.days * 86_400 + duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) or "0s"
