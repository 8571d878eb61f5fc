"""`audiences --from-segment`: what the space has in Segment, and which of it windsor.yaml lacks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from windsor_sync.cli.output import echo, print_json
from windsor_sync.errors import ConfigError
from windsor_sync.report.terminal import print_table

if TYPE_CHECKING:
    from windsor_sync.settings import Settings
    from windsor_sync.settings.insertion import Entry
    from windsor_sync.sources.segment_api import Described

COLUMNS = ("name", "trait", "id", "users", "status", "cadence", "configured")


def show(settings: "Settings", *, writes: bool, is_json: bool) -> None:
    """List the space's audiences and computed traits, and print or write the entries that are missing."""
    from windsor_sync.settings.insertion import add, as_yaml

    found = in_space(settings)
    entries, problems = missing(settings, found)
    if writes and entries:
        add(settings, entries)
    rows = [_row(settings, one, problems.get(one.id)) for one in found]
    if is_json:
        print_json({"audiences": rows, "added" if writes else "missing": [asdict(entry) for entry in entries]})
        return
    print_table(
        COLUMNS,
        [[_cell(row[column]) for column in COLUMNS] for row in rows],
        numbers=frozenset({"users"}),
    )
    for one in found:
        if one.id in problems:
            echo(f"{one.name!r} ({one.id}) cannot be added: {problems[one.id]}")
    if writes:
        echo(_written(settings, len(entries)))
    elif entries:
        echo(f"Not in {settings.path.name} yet; --write adds them:\n\n{as_yaml(entries)}", nl=False)


def _cell(value: Any) -> Any:
    return "–" if value is None else value


def in_space(settings: "Settings") -> "list[Described]":
    """Everything the space has; asks Segment also where windsor.yaml has no `segment:` section yet."""
    from windsor_sync.cli.opening import segment_token
    from windsor_sync.settings import Segment
    from windsor_sync.usecases.workspace import public_api

    if settings.space is None:
        raise ConfigError(
            f"{settings.path.name} names no space. Nothing was asked. Set `space:` to the id of your Engage space; it is in the "
            "address of its pages in Segment."
        )
    segment = settings.segment or Segment()
    with public_api(segment, lambda: segment_token(segment.connection)) as api:
        return list(api.computations(settings.space))


def missing(settings: "Settings", found: "Sequence[Described]") -> "tuple[list[Entry], dict[str, str]]":
    """Return the entries that windsor.yaml lacks and, by id, why an entry cannot be added."""
    from windsor_sync.segment.identify import ComputationClass
    from windsor_sync.segment.trait_keys import trait_key
    from windsor_sync.settings.insertion import Entry
    from windsor_sync.state.stored_files import storage_name

    entries: list[Entry] = []
    problems: dict[str, str] = {}
    names = {one.name.strip().casefold() for one in settings.computations}
    keys = {str(one.key) for one in settings.computations}
    for one in found:
        if _configured(settings, one):
            continue
        if problem := _problem(one, names, keys):
            problems[one.id] = problem
            continue
        assert one.key is not None
        names.add(one.name.strip().casefold())
        keys.add(one.key)
        section = "audiences" if one.computation_class is ComputationClass.AUDIENCE else "computed_traits"
        trait = one.key if trait_key(one.name) != one.key else None
        entries.append(Entry(section, one.name, one.id, trait, f"snapshots/{storage_name(one.key)}/*.csv"))
    return entries, problems


def _problem(one: "Described", names: set[str], keys: set[str]) -> str | None:
    """Return why an entry for it would not be valid, or would never be synced."""
    from windsor_sync.segment.trait_keys import key_problem

    if one.audience_type == "LINKED":
        return "Segment sends linked audiences to no destination of Windsor's kind"
    if one.key is None:
        return "Segment names no key for it"
    if problem := key_problem(one.key):
        return problem
    if not (one.name + one.key).isprintable():
        return "its name or key has a line break or another control character"
    if one.name.strip().casefold() in names:
        return "its name is taken; add it by hand under a name of its own"
    return f"its trait key {one.key!r} is taken" if one.key in keys else None


def _configured(settings: "Settings", one: "Described") -> str | None:
    """The trait key under which windsor.yaml has it: the entry with its id, else one without an id under its key."""
    same = [each for each in settings.computations if each.computation_class is one.computation_class]
    by_id = next((each for each in same if each.id == one.id), None)
    found = by_id or next((each for each in same if each.id is None and each.key == one.key), None)
    return str(found.key) if found else None


def _row(settings: "Settings", one: "Described", problem: str | None) -> dict[str, Any]:
    configured = _configured(settings, one)
    return {
        "class": one.computation_class.value,
        "name": one.name,
        "trait": one.key,
        "id": one.id,
        "users": one.users,
        "status": one.status,
        "cadence": one.cadence.lower() if one.cadence else None,
        "audience_type": one.audience_type,
        "configured": "yes" if configured else "no",
        "problem": problem,
    }


def _written(settings: "Settings", count: int) -> str:
    if not count:
        return f"{settings.path.name} has everything already; it was not changed."
    return (
        f"Added {count} to {settings.path.name}, not enabled yet. Say where their snapshots are, take out `enabled: false`, then "
        "run: windsor-sync check"
    )
