"""Keys and tokens as they come from files, secrets and clipboards: with a line break at the end, or a byte order mark."""

import re

from windsor_sync.errors import ConfigError

_INVISIBLE = r"[\s\ufeff\u200b-\u200d\u2060]"
_AROUND = re.compile(rf"\A{_INVISIBLE}+|{_INVISIBLE}+\Z")
_WITHIN = re.compile(_INVISIBLE)


def clean_key(text: str, what: str, place: str) -> str:
    """Return a key without the white space around it; empty where nothing else is there.

    Raises ConfigError for one with white space or control characters within it, which nobody could see in a refusal.
    """
    key = _AROUND.sub("", text)
    if _WITHIN.search(key) or not key.isprintable():
        raise ConfigError(
            f"{what} in {place} has white space or a control character within it (it is not shown). Nothing was sent. Copy "
            "it again, as one line."
        )
    return key
