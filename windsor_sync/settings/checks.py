"""Checks across settings: mistakes between two of them, and values that are allowed but hardly meant.

Mistakes are looked for in the file's tree and not in the models, so that they are found in one go with the others.
"""

from collections.abc import Iterator
from datetime import timedelta

from windsor_sync.domain.alert import AlertEvent
from windsor_sync.segment.trait_keys import TraitKey, collisions, key_problem, trait_key
from windsor_sync.settings.addresses import has_password
from windsor_sync.settings.choices import SnapshotFormat, format_of
from windsor_sync.settings.document import Document, Tree, Where
from windsor_sync.settings.durations import format_duration
from windsor_sync.settings.mistakes import Mistake, found_but
from windsor_sync.settings.model import WindsorYaml
from windsor_sync.settings.timing import interval_of

_LISTS = {"audiences": "aud_", "computed_traits": "tra_"}  # with how Segment's ids begin
_TABLES = ("query", "profiles_sync", "engage")  # what a connection is asked for
_EITHER = "either path, or connection and query, profiles_sync or engage"
_LATEST, _EARLIEST = timedelta(hours=3), timedelta(hours=2)


def check_together(document: Document) -> None:
    """Note every mistake that lies between settings: snapshots without a source, names and keys given twice."""
    named: list[tuple[Where, str]] = []
    for where, item in _computations(document):
        _check_snapshot(document, (*where, "snapshot"), item.get("snapshot"))
        name = item.get("name")
        if isinstance(name, str) and name.strip():
            named.append((where, name))
    _check_names(document, named)
    _check_keys(document, named)
    _check_alerts(document)
    destination = document.tree.get("destination")
    if isinstance(destination, dict) and destination.get("client_key") and not destination.get("client_certificate"):
        found = found_but("a key without a certificate", "`client_certificate` beside it")
        document.complain(("destination", "client_key"), found)
    if isinstance(document.tree.get("segment"), dict) and document.tree.get("space") is None:
        document.complain(
            ("segment",), found_but("a segment section without a space", "`space`, whose audiences it asks for")
        )


def _check_alerts(document: Document) -> None:
    """Note a receiver that is no receiver, or two, or that stands in two places for the same event."""
    items = document.tree.get("alerts")
    before: dict[str, set[str]] = {}
    for position, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict):
            continue
        given = {key for key, value in item.items() if value is not None}
        is_webhook, is_notifier = bool(given & {"webhook", "connection"}), "notifier" in given
        if is_webhook == is_notifier:
            found = "both a webhook and a notifier" if is_notifier else "neither webhook nor notifier"
            document.complain(("alerts", position), found_but(found, "a webhook or connection, or else a notifier"))
        elif "arguments" in given and not is_notifier:
            found = found_but("arguments without a notifier", "them only beside notifier")
            document.complain(("alerts", position, "arguments"), found)
        else:
            receiver = str(sorted((key, str(item[key])) for key in given - {"events"}))
            asked = item.get("events")
            events = set(map(str, asked)) if isinstance(asked, list) else set(AlertEvent)
            if (events - {AlertEvent.RECOVERED}) & before.get(receiver, set()):
                found = found_but(
                    "a receiver that stands above for the same event", "each receiver once for each event"
                )
                document.complain(("alerts", position), found)
            before.setdefault(receiver, set()).update(events)


def _computations(document: Document) -> Iterator[tuple[Where, dict[str, Tree]]]:
    for key in _LISTS:
        items = document.tree.get(key)
        for position, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                yield (key, position), item


def _check_snapshot(document: Document, where: Where, snapshot: Tree) -> None:
    """Note what is wrong with a snapshot's source; a snapshot that is no section is a mistake already."""
    if not isinstance(snapshot, dict):
        return
    given = {key for key, value in snapshot.items() if value is not None}
    sources = [key for key in ("path", *_TABLES) if key in given]
    if len(sources) != 1:
        found = f"both {' and '.join(sources)}" if sources else "neither path nor query"
        document.complain(where, found_but(found, _EITHER))
    elif sources != ["path"]:
        _check_warehouse(document, where, snapshot, sources[0], given)
    else:
        _check_path(document, where, snapshot, given)


def _check_warehouse(document: Document, where: Where, snapshot: dict[str, Tree], source: str, given: set[str]) -> None:
    named = "a query" if source == "query" else source
    if "connection" not in given:
        document.complain(where, found_but(f"{named} without a connection", _EITHER))
    for key in sorted(given & {"format", "taken_at", "consists_of"}):
        document.complain((*where, key), found_but(f"{key} beside {named}", f"{key} only beside path"))
    columns = snapshot.get("columns")
    if source != "query" and isinstance(columns, dict) and set(columns) - {"value"}:
        expected = "none but value, the column of the audience or computed trait: the others have Segment's names"
        document.complain((*where, "columns"), found_but(f"columns beside {source}", expected))


def _check_path(document: Document, where: Where, snapshot: dict[str, Tree], given: set[str]) -> None:
    path = snapshot["path"]
    known = format_of(path) if isinstance(path, str) else None
    for key, found in (("connection", "a connection"), ("query_timeout", "query_timeout")):
        if key in given:
            expected = "it only beside query, profiles_sync or engage"
            document.complain((*where, key), found_but(f"{found} beside path", expected))
    if "format" not in given and known is None and isinstance(path, str) and path.strip():
        formats = ", ".join(SnapshotFormat)
        expected = f"an ending .csv, .parquet, .jsonl or .ndjson, or format: one of {formats}"
        document.complain((*where, "path"), found_but("a path whose end names no format", expected))
    if "columns" in given and snapshot.get("format", known) == SnapshotFormat.ENGAGE_CSV:
        expected = "`format: csv` for a CSV of your own; Engage's downloads have Segment's column names"
        document.complain((*where, "columns"), found_but("columns for an engage_csv", expected))


def _check_names(document: Document, named: list[tuple[Where, str]]) -> None:
    """Note a name that a computation above has already, in any case: a name on the command line must mean one."""
    first: dict[str, Where] = {}
    for where, name in named:
        earlier = first.setdefault(name.strip().casefold(), where)
        if earlier != where:
            place = document.place((*earlier, "name"))
            by = f"line {place.line}" if place.line else str(place)
            document.complain((*where, "name"), found_but(f"a name that is taken ({by})", "each name once"))


def _check_keys(document: Document, named: list[tuple[Where, str]]) -> None:
    """Note keys that no computation may have, and keys that two of them claim."""
    claims: dict[TraitKey, Where] = {}
    pairs = []
    for where, name in named:
        pinned = document.at((*where, "trait"))
        key = TraitKey(pinned) if isinstance(pinned, str) else trait_key(name)
        source = (*where, "trait" if isinstance(pinned, str) else "name")
        problem = key_problem(key)
        if problem:
            document.complain(source, problem)
        else:
            claims[key] = source  # the last claim's place stays: it is the newer one in most files
            pairs.append((name, key))
    for collision in collisions(pairs):
        if len({name.strip().casefold() for name in collision.names}) > 1:  # else the name is the mistake, noted above
            document.complain(claims[collision.key], str(collision))


def warnings_about(found: WindsorYaml, document: Document) -> Iterator[Mistake]:
    """Yield one for each thing that is allowed and probably not meant."""
    interval = interval_of(found.schedule.audiences)
    if not _EARLIEST <= interval <= _LATEST:
        why = "nothing new to send" if interval < _EARLIEST else "members in Windsor older than Segment's own"
        text = f"found {format_duration(interval)}; Engage syncs every 2h to 3h, another interval means {why}"
        yield _at(document, ("schedule", "audiences"), text)
    if document.place(("state",)).line and has_password(found.state) and "state" in document.tree:
        yield _at(document, ("state",), "found a password in the file; the variable WINDSOR_SYNC_STATE keeps it out")
    for where, item in _computations(document):
        prefix, given = _LISTS[str(where[0])], item.get("id")
        if isinstance(given, str) and not given.startswith(prefix):
            yield _at(document, (*where, "id"), f"found an id that does not begin with {prefix} as Segment's do")
    for position, alert in enumerate(found.alerts):
        if alert.notifier and "windsor" not in str(alert.arguments):
            text = "found no {{ windsor.text }} in it: this notifier's messages do not say what happened"
            yield _at(document, ("alerts", position, "arguments"), text)
    if not (found.audiences or found.computed_traits or found.events):
        yield _at(document, (), "found no audiences, no computed_traits and no events: there is nothing to sync")


def _at(document: Document, where: Where, text: str) -> Mistake:
    return Mistake(document.place(where), document.name(where), text)
