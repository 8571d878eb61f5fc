"""Pydantic's verdict on the file's tree, in our words: each error with its line, its key and what would be accepted."""

from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from windsor_sync.settings.catalogue import all_settings, keys_of, reading_of, section_at, section_text, shape_of
from windsor_sync.settings.document import Document, Where
from windsor_sync.settings.mistakes import credential_problem, did_you_mean, found_but
from windsor_sync.settings.model import WindsorYaml
from windsor_sync.settings.readings import UNEXPECTED, alternatives, kind_of


def validated(document: Document) -> WindsorYaml | None:
    """Build the models from the document's tree; None, with every mistake noted, when they cannot be built."""
    try:
        return WindsorYaml.model_validate(document.tree, by_alias=True, by_name=False)
    except ValidationError as problem:
        errors = problem.errors(include_url=False)
    for error in errors:
        if error["type"] != "default_factory_not_called":  # follows from another error in the same section
            _note(document, error)
    return None


def _note(document: Document, error: ErrorDetails) -> None:
    is_key = error["loc"][-1:] == ("[key]",)
    where: Where = error["loc"][:-1] if is_key else error["loc"]
    if error["type"] == "extra_forbidden":
        document.complain(where, unknown_key(where))
    elif document.is_wrong_already(where):
        return
    elif error["type"] == UNEXPECTED:
        found, expected = error["ctx"]["found"], error["ctx"]["expected"]
        near = "" if is_key else _near_choice(where, document.at(where))
        document.complain(where, found_but("the key " + found if is_key else found, expected + near))
    else:  # a section or list is missing, or something else stands there
        found = "nothing" if error["type"] == "missing" else kind_of(error["input"])
        document.complain(where, found_but(found, _shape_at(where)))


def unknown_key(where: Where) -> str:
    """Say that a section has no such key, and where it belongs or which one may be meant; never its value."""
    key = str(where[-1])
    credential = credential_problem(where)
    if credential:
        return credential
    known = list(keys_of(section_at(where[:-1]) or WindsorYaml))
    homes = [setting.name for setting in all_settings() if setting.where[-1] == key]
    if homes:
        return found_but("a key in the wrong section", f"it at {alternatives(homes)}")
    near = did_you_mean(key, known)
    return found_but("an unknown key", f"another{near}" if near else f"one of {', '.join(known)}")


def _near_choice(where: Where, value: Any) -> str:
    """Return the hint for the first wrong text of a choice, or of a list of choices."""
    field = _field_at(where)
    reading = reading_of(field) if field else None
    texts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    if reading is None:
        return ""
    wrong = [text for text in texts if isinstance(text, str) and text.strip() not in reading.choices]
    return next((hint for text in wrong if (hint := did_you_mean(text, reading.choices))), "")


def _field_at(where: Where) -> FieldInfo | None:
    section = section_at(where[:-1])
    return keys_of(section).get(str(where[-1])) if section else None


def _shape_at(where: Where) -> str:
    if isinstance(where[-1], int):
        section = section_at(where)
        return section_text(section) if section else "a section"
    field = _field_at(where)
    return shape_of(field) if field else "a section"
