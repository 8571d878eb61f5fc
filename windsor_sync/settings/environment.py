"""`WINDSOR_SYNC_<SECTION>__<KEY>`: any value of the file, lists of sections excepted, from the environment."""

from collections.abc import Iterable, Mapping

from windsor_sync.settings.catalogue import VARIABLE_PREFIX, all_settings, is_nullable
from windsor_sync.settings.document import Document
from windsor_sync.settings.mistakes import Mistake, SettingPlace, credential_problem, did_you_mean, found_but

CONFIG_VARIABLE = "WINDSOR_SYNC_CONFIG"


def apply_variables(document: Document, env: Mapping[str, str]) -> None:
    """Put the environment's values into the document, over the file's; note variables that mean nothing.

    A variable that is empty counts as not set; `null` unsets a setting that may be null. A list has commas.
    """
    settings = {variable: setting for setting in all_settings() if (variable := setting.variable)}
    for variable in sorted(name for name in env if name.startswith(VARIABLE_PREFIX) and name != CONFIG_VARIABLE):
        value = env[variable].strip()
        setting = settings.get(variable)
        if setting is None:
            document.mistakes.append(_unknown(variable, settings))
        elif value:
            unset = value in ("null", "~") and is_nullable(setting.field)
            _put(document, setting.where, None if unset else value, SettingPlace(variable))


def _put(document: Document, where: tuple[str, ...], value: str | None, place: SettingPlace) -> None:
    """Set one value; a section that the file lacks is made, one that the file got wrong stays wrong."""
    *sections, key = where
    target = document.tree
    for depth, name in enumerate(sections):
        if target.get(name) is None:
            target[name] = {}
            document.places[tuple(sections[: depth + 1])] = place
        inner = target[name]
        if not isinstance(inner, dict):
            return
        target = inner
    target[key] = value
    document.places[where] = place


def _unknown(variable: str, known: Iterable[str]) -> Mistake:
    credential = credential_problem(variable.removeprefix(VARIABLE_PREFIX).lower().split("__"))
    if credential:
        return Mistake(SettingPlace(variable), "", credential)
    near = did_you_mean(variable, known)
    expected = f"{VARIABLE_PREFIX}<SECTION>__<KEY> for a key of the file{near}; lists are set in the file"
    return Mistake(SettingPlace(variable), "", found_but("a variable that sets nothing", expected))
