"""Reads what a class is called with: its path, and arguments whose names are data."""

import re
from typing import Any

from windsor_sync.settings.mistakes import is_credential
from windsor_sync.settings.readings import Mismatch, Reading, line_of

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_TEMPLATE = "{{"


def _class_path(value: object) -> str:
    path = line_of(value)
    if not _PATH.fullmatch(path):
        raise Mismatch
    return path


CLASS_PATH = Reading("the path of a class, such as package.module.Class", _class_path)


def _arguments(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(_NAME.fullmatch(str(name)) for name in value):
        raise Mismatch
    return {str(name): _argument(str(name), each) for name, each in value.items()}


def _argument(name: str, value: object) -> Any:
    """Return what YAML means by a value; a secret comes from Airflow, by a template or by the name of a connection."""
    if isinstance(value, dict):
        return {str(key): _argument(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_argument(name, each) for each in value]
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, str) and is_credential(name) and _TEMPLATE not in value:
        raise Mismatch("a credential (not shown); name an Airflow connection, or write {{ conn.NAME.password }}")
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


ARGUMENTS = Reading("a section with the names of the class's arguments", _arguments)
