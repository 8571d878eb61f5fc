"""Takes out of Windsor's words what they echo of a user, before they are stored or shown."""

import re
from collections.abc import Iterable

EMAIL = re.compile(r"[^\s@'\"<>(),;:]+@[^\s@'\"<>(),;:]+")
LONG_NUMBER = re.compile(r"\+?\d[\d ()./-]{5,}\d")
PLACEHOLDER = "…"


def redacted(text: str | None, private: Iterable[str | None]) -> str | None:
    """`text` without the given values, and without anything that looks like an e-mail address or a phone number."""
    if text is None:
        return None
    for value in sorted(filter(None, private), key=len, reverse=True):
        whole_word = rf"(?<!\w){re.escape(value)}(?!\w)" if len(value) < 4 else re.escape(value)
        text = re.sub(whole_word, PLACEHOLDER, text, flags=re.IGNORECASE)
    return LONG_NUMBER.sub(PLACEHOLDER, EMAIL.sub(PLACEHOLDER, text))
