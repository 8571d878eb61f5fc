"""The settings as a list: their names, types, defaults and meanings, taken from the models."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from windsor_sync.settings.durations import format_duration
from windsor_sync.settings.model import SNAPSHOT_DEFAULTS, Handling, Section, WindsorYaml
from windsor_sync.settings.readings import Reading

VARIABLE_PREFIX = "WINDSOR_SYNC_"
_ITEM = "[]"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the file."""

    where: tuple[str, ...]  # ("audiences", "[]", "name")
    field: FieldInfo

    @property
    def name(self) -> str:
        """The key with its sections: `audiences[].snapshot.path`."""
        return ".".join(self.where).replace(f".{_ITEM}", _ITEM)

    @property
    def variable(self) -> str | None:
        """The environment variable that overrules the file; None for a section and for what stands in a list."""
        if _ITEM in self.where or reading_of(self.field) is None:
            return None
        return VARIABLE_PREFIX + "__".join(self.where).upper()

    def described(self) -> dict[str, Any]:
        """Return the setting's row of the reference, ready for JSON."""
        inherits = _ITEM in self.where and self.where[-1] in {*Handling.model_fields, *SNAPSHOT_DEFAULTS}
        return {
            "name": self.name,
            "type": shape_of(self.field),
            "required": self.field.is_required(),
            "default": None if inherits else _written_default(self.field),
            "meaning": f"{self.field.description}{' By default as `defaults` says.' if inherits else ''}",
            "variable": self.variable,
        }


def all_settings(section: type[Section] = WindsorYaml, within: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting in the file's order, a section before its keys."""
    for key, field in keys_of(section).items():
        yield Setting((*within, key), field)
        inner = inner_section(field)
        if inner is not None:
            yield from all_settings(inner, (*within, key, _ITEM) if is_list(field) else (*within, key))


def describe() -> list[dict[str, Any]]:
    """Return one row a setting: name, type, required, default, meaning, variable."""
    return [setting.described() for setting in all_settings()]


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """Return a section's fields by the key that stands in the file, the required ones first."""
    fields = sorted(section.model_fields.items(), key=lambda item: not item[1].is_required())
    return {str(field.validation_alias or name): field for name, field in fields}


def inner_section(field: FieldInfo) -> type[Section] | None:
    """Return the section that a key opens, alone or as a list's items; None for a value."""
    types = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in types if isinstance(kind, type) and issubclass(kind, Section)), None)


def section_at(where: tuple[str | int, ...]) -> type[Section] | None:
    """Return the section that stands at a place of the file's tree, if one can."""
    section: type[Section] | None = WindsorYaml
    for step in where:
        if section is None or isinstance(step, int):
            continue
        field = keys_of(section).get(step)
        section = inner_section(field) if field else None
    return section


def is_list(field: FieldInfo) -> bool:
    """Tell whether a key holds a list of sections."""
    return get_origin(field.annotation) is tuple and inner_section(field) is not None


def is_nullable(field: FieldInfo) -> bool:
    """Tell whether `null` is a value of the setting."""
    return type(None) in get_args(field.annotation)


def reading_of(field: FieldInfo) -> Reading[Any] | None:
    """Return how a value is read; None for sections and lists of sections."""
    return next((found for found in _metadata(field) if isinstance(found, Reading)), None)


def _metadata(field: FieldInfo) -> Iterator[object]:
    """Yield the annotations of a field, also those inside `… | None`."""
    yield from field.metadata
    if is_nullable(field):
        for alternative in get_args(field.annotation):
            yield from getattr(alternative, "__metadata__", ())


def shape_of(field: FieldInfo) -> str:
    """Say in words what a setting accepts."""
    reading = reading_of(field)
    if reading is not None:
        return str(reading.expected)
    if is_list(field):
        return "a list of sections"
    section = inner_section(field)
    if section is not None:
        return section_text(section)
    key_type, _ = get_args(field.annotation)  # columns, the one setting whose keys are data
    return f"a section with a name for {key_type.__metadata__[0].expected}"


def section_text(section: type[Section]) -> str:
    """Say in words what a section needs, or else may have."""
    keys = keys_of(section)
    required = [key for key, field in keys.items() if field.is_required()]
    return f"a section with {' and '.join(required) if required else ', '.join(keys)}"


def _written_default(field: FieldInfo) -> Any:
    """Return a default as JSON has it; None where there is none, or where leaving the key out is its only spelling."""
    default = field.default
    if field.is_required() or field.validation_alias or field.default_factory or isinstance(default, Section):
        return None
    if isinstance(default, timedelta):
        return format_duration(default)
    if isinstance(default, float) and default.is_integer():
        return int(default)
    if isinstance(default, tuple):
        return [str(item) for item in default]
    return str(default) if isinstance(default, StrEnum) else default
