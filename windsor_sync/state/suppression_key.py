"""Finds the key of the suppressions: in a variable, where Airflow keeps its secrets, or in a file outside the database."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from windsor_sync.domain.suppression import keyed
from windsor_sync.errors import ConfigError
from windsor_sync.private import make_folder, open_new, sync_to_disk
from windsor_sync.settings.keys import clean_key
from windsor_sync.state.connections import file_of, parsed_url

VARIABLE = "WINDSOR_SUPPRESSION_KEY"

MIN_CHARACTERS, MAX_CHARACTERS = 32, 64
"""Of a key that a person gives; one that is made here has 64 hex digits."""

_CHECKED = "windsor_sync"


def given_by_environment() -> str | None:
    """Return the key that the variable holds."""
    return os.environ.get(VARIABLE)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """The places in which an installation looks for its key; what is given wins over the file."""

    file: Path | None
    """None where the database alone does not say which folder is the installation's"""
    given: Callable[[], str | None] = given_by_environment

    def find(self) -> bytes | None:
        """Return the key; None where there is none. Raises ConfigError for what cannot be a key, or cannot be read."""
        if text := clean_key(self.given() or "", "The key of the suppressions", VARIABLE):
            return _checked(text, VARIABLE)
        return self._in_file()

    def make(self) -> bytes:
        """Make a key in the file, for this user alone; raises ConfigError where no file can be made."""
        if self.file is None:
            raise _not_made("there is no folder for it")
        try:
            make_folder(self.file.parent)
            self._write(secrets.token_hex(MAX_CHARACTERS // 2))
        except OSError as error:
            raise _not_made(f"{self.file} cannot be written: {error.strerror}") from None
        key = self._in_file()
        assert key is not None
        return key

    def take(self, key: bytes) -> None:
        """Put the key of a state that moves here into the file; raises ConfigError where another one is there."""
        if self.find() is None and self.file is not None:
            make_folder(self.file.parent)
            self._write(key.decode())
        if self.find() != key:
            raise ConfigError(
                f"{self} does not have the key of the suppressions of the state that is copied. Nothing was copied. Put that key "
                "there, in the place of another one, and run the command again."
            )

    def __str__(self) -> str:
        """Name the place, for a sentence."""
        return VARIABLE if self.given() or self.file is None else str(self.file)

    def _write(self, text: str) -> None:
        """Make the file, whole and known to the disk before the state relies on it; one that exists stays."""
        assert self.file is not None
        draft = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        try:
            with open_new(draft) as file:
                file.write(f"{text}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster
                os.link(draft, self.file)
            sync_to_disk(self.file.parent)
        finally:
            draft.unlink(missing_ok=True)

    def _in_file(self) -> bytes | None:
        if self.file is None:
            return None
        try:
            return _checked(
                clean_key(self.file.read_text(), "The key of the suppressions", str(self.file)), str(self.file)
            )
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(
                f"The key of the suppressions cannot be read: {self.file}. Nothing was sent. Let this user read that file, or "
                f"give the key in {VARIABLE}."
            ) from None


def key_place(
    state_url: str, folder: Path | None = None, given: Callable[[], str | None] = given_by_environment
) -> KeyPlace:
    """Return where the key is: beside a SQLite file; of another database, in `.windsor` in the folder of windsor.yaml."""
    database = file_of(parsed_url(state_url))
    if database is not None:
        return KeyPlace(database.with_name(f"suppressions-{database.name}.key"), given)
    return KeyPlace(folder / ".windsor" / "suppressions.key" if folder else None, given)


def check_value(key: bytes) -> str:
    """Return what the database keeps of a key: it tells the key from another one, and nothing of it."""
    return keyed(key, _CHECKED)[:32]


def _checked(text: str, place: str) -> bytes:
    if not MIN_CHARACTERS <= len(text.encode()) <= MAX_CHARACTERS:
        raise ConfigError(
            f"{place} holds no key of the suppressions: that has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters (it is not "
            "shown). Nothing was sent. Put back the key as it was; where there never was one, make it with: "
            "python3 -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return text.encode()


def _not_made(why: str) -> ConfigError:
    return ConfigError(
        f"The suppressions need a key, and {why}. Nothing was sent. Give one, on every machine that uses this state: "
        f"export {VARIABLE}=$(python3 -c 'import secrets; print(secrets.token_hex(32))')"
    )
