"""`make env`: writes .env with fresh secrets for docker-compose.yml.

Standard library only: it may run before anything is installed.
"""

import base64
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

HEADER = """\
# Secrets of docker-compose.yml, made by `make env`. Readable by you alone; not for the repository.
# Beside them: WINDSOR_YAML=/path/to/windsor.yaml   what to sync, instead of the demo's shop
#              WINDSOR_URL=https://…                where to, instead of the stand-in
#              WINDSOR_API_KEY=…                    the key there; the stand-in has SANDBOX_KEY and never sees this one
"""


def fernet_key() -> str:
    """Encrypts connections in Airflow's database: 32 bytes, as URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def word() -> str:
    """A password that means nothing to a shell, a URL or YAML."""
    return secrets.token_hex(24)


def signing_key() -> str:
    """At least 64 bytes, below which Airflow's tokens come with a warning."""
    return secrets.token_hex(64)


def suppression_key() -> str:
    """Hashes who was forgotten; without it nothing is sent any more."""
    return secrets.token_hex(32)


SECRETS: dict[str, Callable[[], str]] = {
    "ADMIN_PASSWORD": word,
    "AIRFLOW_DB_PASSWORD": word,
    "API_SECRET_KEY": signing_key,
    "FERNET_KEY": fernet_key,
    "JWT_SECRET": signing_key,
    "POSTGRES_PASSWORD": word,
    "REDIS_PASSWORD": word,
    "SANDBOX_KEY": word,
    "STATE_DB_PASSWORD": word,
    "STORE_PASSWORD": word,
    "SUPPRESSION_KEY": suppression_key,
}


def main(target: Path) -> int:
    """Write the file, unless there is one: the volumes remember the secrets they were made with."""
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        print(f"{target} is there and was left as it is. To begin anew: docker compose down --volumes, then remove it.")
        return 0
    target.write_text(HEADER + "".join(f"{name}={make()}\n" for name, make in SECRETS.items()), encoding="utf-8")
    print(f"{target} has fresh secrets. Airflow's user is admin, its password ADMIN_PASSWORD in there.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
