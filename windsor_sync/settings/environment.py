"""`WINDSOR_SYNC_<SECTION>__<KEY>`: any value of the file except `alerts`, also of one audience or trait, from the environment."""

from collections.abc import Iterable, Mapping

from pydantic.fields import FieldInfo

from windsor_sync.settings.catalogue import VARIABLE_PREFIX, all_settings, is_nullable
from windsor_sync.settings.document import Document, Tree, Where
from windsor_sync.settings.mistakes import Mistake, SettingPlace, credential_problem, did_you_mean, found_but
from windsor_sync.settings.named_items import NAMED_LISTS, named_items, setting_meant

CONFIG_VARIABLE = "WINDSOR_SYNC_CONFIG"

_WORDS = (str, tuple[str, ...])
"""Settings that would take `null` for a word."""


def apply_variables(document: Document, env: Mapping[str, str]) -> None:
    """Put the environment's values into the document, over the file's; note variables that mean nothing.

    A variable that is empty counts as not set; `null` unsets a setting that may be null, and takes text, a list or a column out
    of the file. A list has commas.
    """
    settings = {variable: setting for setting in all_settings() if (variable := setting.variable)}
    items = {name: named_items(document.tree.get(name)) for name in NAMED_LISTS.values()}
    for variable in sorted(name for name in env if name.startswith(VARIABLE_PREFIX) and name != CONFIG_VARIABLE):
        value = env[variable].strip()
        if setting := settings.get(variable):
            _give(document, setting.where, setting.field, value, variable)
        elif variable.removeprefix(VARIABLE_PREFIX).partition("__")[0] not in NAMED_LISTS:
            document.mistakes.append(_unknown(variable, settings))
        elif isinstance(found := setting_meant(variable, items), str):
            document.mistakes.append(Mistake(SettingPlace(variable), "", found))
        else:
            _give(document, *found, value, variable)


def _give(document: Document, where: Where, field: FieldInfo | None, value: str, variable: str) -> None:
    if not value:
        return
    is_null = value in ("null", "~")
    if is_null and (field is None or (field.annotation in _WORDS and not field.is_required())):
        document.take_out(where)
        return
    # on_missing has no other value than null, and no null of its own
    may_unset = field is not None and (
        is_nullable(field) or field.validation_alias is not None or field.annotation in _WORDS
    )
    _put(document, where, None if is_null and may_unset else value, SettingPlace(variable))


def _put(document: Document, where: Where, value: str | None, place: SettingPlace) -> None:
    """Set one value; a section that the file lacks is made, one that the file got wrong stays wrong."""
    target: Tree = document.tree
    for depth, step in enumerate(where[:-1]):
        if isinstance(target, dict) and isinstance(step, str) and target.get(step) is None:
            target[step] = {}
            document.places[where[: depth + 1]] = place
        target = document.at(where[: depth + 1])
    if isinstance(target, dict):
        target[str(where[-1])] = value
        document.places[where] = place


def _unknown(variable: str, known: Iterable[str]) -> Mistake:
    credential = credential_problem(variable.removeprefix(VARIABLE_PREFIX).lower().split("__"))
    if credential:
        return Mistake(SettingPlace(variable), "", credential)
    near = did_you_mean(variable, known)
    expected = (
        f"{VARIABLE_PREFIX}<SECTION>__<KEY> for a key of the file{near}, or "
        f"{VARIABLE_PREFIX}AUDIENCES__<TRAIT KEY OR NAME>__<KEY> for an audience's"
    )
    return Mistake(SettingPlace(variable), "", found_but("a variable that sets nothing", expected))
