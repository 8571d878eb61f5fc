"""`python -m deploy.health URL [PART]`: ends with 0 when the URL answers, and its JSON calls the part healthy.

Airflow's own `jobs check` says the same of a part, for five seconds of a processor each time.
"""

import json
import sys
import urllib.request

TIMEOUT_S = 5.0


def is_healthy(url: str, part: str | None = None) -> bool:
    """Ask; False for whatever is not a good answer."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return part is None or json.load(answer)[part]["status"] == "healthy"
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy(*sys.argv[1:3]) else 1)
