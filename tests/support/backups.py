"""Backups of a state as people make them, of a SQLite file and of a PostgreSQL database, and the loss of it."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.support.postgres import END_OTHERS, installed_programs


def save(url: str, backup: Path) -> Path:
    """Copy a state while it may be in use; returns the path of the backup."""
    if file := sqlite_file(url):
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
    else:
        _run("pg_dump", "--format=custom", f"--file={backup}", f"--dbname={_of_libpq(url)}")
    return backup


def restore(backup: Path, url: str) -> None:
    """Put a backup in the place of a state that nobody uses."""
    if file := sqlite_file(url):
        lose(url)
        shutil.copy(backup, file)
    else:
        lose(url)
        _run("pg_restore", "--single-transaction", f"--dbname={_of_libpq(url)}", str(backup))


def lose(url: str) -> None:
    """Leave nothing of a state: no file, or an empty database."""
    if file := sqlite_file(url):
        for each in file.parent.glob(f"{file.name}*"):
            each.unlink()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(END_OTHERS)
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _of_libpq(url: str) -> str:
    return url.replace("+psycopg", "", 1)


def _run(program: str, *arguments: str) -> None:
    command = [str(installed_programs() / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
