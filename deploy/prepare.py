"""`python -m deploy.prepare`: the password Airflow asks for and the bucket of the object store, as the environment has them."""

import json
import os
from pathlib import Path

import fsspec

BUCKET = "windsor"


def write_password(path: Path, password: str) -> None:
    """Let `admin` in with this password, and nobody else; the file is for this user's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"admin": password}), encoding="utf-8")


def make_bucket() -> None:
    """Make the bucket unless it is there."""
    store = fsspec.filesystem("s3")
    if not store.exists(BUCKET):
        store.mkdir(BUCKET)


if __name__ == "__main__":
    write_password(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), os.environ["ADMIN_PASSWORD"])
    make_bucket()
