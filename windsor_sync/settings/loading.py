"""From `windsor.yaml` and the environment to complete settings, or to every mistake in them at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from windsor_sync.errors import ConfigError
from windsor_sync.settings.addresses import absolute, absolute_state
from windsor_sync.settings.checks import check_together, warnings_about
from windsor_sync.settings.document import Document, read_document
from windsor_sync.settings.environment import CONFIG_VARIABLE, apply_variables
from windsor_sync.settings.mistakes import InvalidSettings, Mistake, SettingPlace
from windsor_sync.settings.model import (
    SNAPSHOT_DEFAULTS,
    Computation,
    Defaults,
    Destination,
    Handling,
    Settings,
    WindsorYaml,
)
from windsor_sync.settings.patterns import below
from windsor_sync.settings.validation import validated

DEFAULT_FILE = "windsor.yaml"
MAX_BYTES = 1_000_000

C = TypeVar("C", bound=Computation)


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the settings from `path`, else the file that WINDSOR_SYNC_CONFIG names, else ./windsor.yaml.

    Values come from the environment, else the file, else the defaults; relative paths count from the file's
    folder, also those from the environment. Raises ConfigError: there is no such file, or, as InvalidSettings,
    everything that is wrong with it.
    """
    document = read_with_variables(path, env)
    found = validated(document)
    if found is None or document.mistakes:
        raise InvalidSettings(document.file, document.mistakes)
    return completed(found, document)


def read_with_variables(path: Path | None, env: Mapping[str, str]) -> Document:
    """Return the file with the environment's values in it, and every mistake that lies between two settings noted.

    Raises ConfigError for a file that cannot be read as settings at all.
    """
    file = Path(os.path.abspath(path or env.get(CONFIG_VARIABLE) or DEFAULT_FILE))  # noqa: PTH100  # .. without links
    _require_text(file)
    document = read_document(file, _text_of(file))
    _drop_empty(document)
    apply_variables(document, env)
    document.tree.setdefault("destination", {})  # so that what is missing is its url
    check_together(document)
    return document


def _require_text(file: Path) -> None:
    """Raise ConfigError for a folder whose name is not text here: nothing that is stored or shown could name it."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        shown = str(file).encode(errors="replace").decode()
        raise ConfigError(
            f"The name of {shown} cannot be read as UTF-8 (? stands for what cannot). Nothing was done. Rename the folder; if "
            "its name is right, set PYTHONUTF8=1 or LC_ALL=C.UTF-8."
        ) from None


def _text_of(file: Path) -> str:
    """Return the file's text. Raises ConfigError when there is none."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        problem = "there is no such file; `windsor-sync init` writes one"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror}); make it a file that this user may read"
    else:
        if len(content) <= MAX_BYTES:
            return _decoded(file, content)
        problem = "it is larger than 1 MB, which no settings are; see whether it is another file"
    raise ConfigError(
        f"No settings from {file}: {problem}, or name another with --config or {CONFIG_VARIABLE}. Nothing was done."
    )


def _decoded(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise InvalidSettings(
        file, [Mistake(SettingPlace(file.name, line), "", "found bytes that are not UTF-8; expected UTF-8")]
    )


def _drop_empty(document: Document) -> None:
    """Treat a key without a value at the top, such as `audiences:` with every item commented out, as left out."""
    document.tree = {key: value for key, value in document.tree.items() if value is not None}


def completed(found: WindsorYaml, document: Document) -> Settings:
    """Fill in what one setting takes from another."""
    folder = document.file.parent
    values = {name: getattr(found, name) for name in WindsorYaml.model_fields}
    values["state"] = absolute_state(found.state, folder)
    values["files"] = absolute(found.files, folder)
    values["destination"] = _with_files_of(found.destination, folder)
    values["audiences"] = tuple(_complete(each, found.defaults, folder) for each in found.audiences)
    values["computed_traits"] = tuple(_complete(each, found.defaults, folder) for each in found.computed_traits)
    if found.events:
        values["events"] = found.events.model_copy(update={"archive": absolute(found.events.archive, folder)})
    # Not validated again: a setting has no line break in it, and a folder may.
    return Settings.model_construct(**values, path=document.file, warnings=tuple(warnings_about(found, document)))


def _with_files_of(destination: Destination, folder: Path) -> Destination:
    """Give a destination the absolute paths of its certificate and key."""
    given = {name: getattr(destination, name) for name in ("client_certificate", "client_key")}
    return destination.model_copy(update={name: absolute(path, folder) for name, path in given.items() if path})


def _complete(computation: C, defaults: Defaults, folder: Path) -> C:
    """Give a computation the defaults for what it does not say itself, and its snapshot an absolute path."""
    handling = {name: getattr(defaults, name) for name in Handling.model_fields}
    said = {name: getattr(computation, name) for name in Handling.model_fields if name in computation.model_fields_set}
    snapshot = computation.snapshot
    general = {name: getattr(defaults, name) for name in SNAPSHOT_DEFAULTS if name not in snapshot.model_fields_set}
    path = {} if snapshot.path is None else {"path": below(folder, snapshot.path)}
    snapshot = snapshot.model_copy(update={**general, **path})
    return computation.model_copy(update={**handling, **said, "snapshot": snapshot})
