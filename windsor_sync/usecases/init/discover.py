"""The whole look around of `init`: what was found, a line each, and what is left for a person, a line each."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from windsor_sync.domain.labels import counted
from windsor_sync.settings.choices import SnapshotFormat
from windsor_sync.usecases.init.environment import Environment, look_at
from windsor_sync.usecases.init.grouping import is_plain, names_a_person, without_format
from windsor_sync.usecases.init.listing import MOST_ENTRIES, MOST_IN_FOLDER, Listing, list_around
from windsor_sync.usecases.init.snapshots import FoundSnapshot, FoundSnapshots, snapshots_in
from windsor_sync.usecases.workspace import API_KEY_VARIABLE

MOST_WITHOUT_FORMAT = 10
"""Folders without a known format that are listed; a screen holds no more."""
FORMATS = {
    SnapshotFormat.ENGAGE_CSV: "Engage CSV",
    SnapshotFormat.CSV: "CSV",
    SnapshotFormat.JSONL: "JSON lines",
    SnapshotFormat.PARQUET: "Parquet",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to say."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """The snapshots, the archive and the environment that were found."""

    snapshots: tuple[FoundSnapshot, ...]
    archive: PurePosixPath | None
    found: tuple[Notice, ...]
    left: tuple[Notice, ...]
    """for a person to fill in, with how"""


def look_around(folder: Path, env: Mapping[str, str], home: Path) -> Discovery:
    """Look at the files in and below `folder` and at the environment; asks nobody, connects to nothing."""
    listing = list_around(folder)
    snapshots = snapshots_in(folder, listing)
    archives = sorted(path for path in listing.archives if is_plain(path) and not names_a_person(path))
    environment = look_at(env, home)
    return Discovery(
        snapshots.usable,
        archives[0] if archives else None,
        (*_snapshots(snapshots), *_archives(archives), *_environment(environment)),
        (*_files_left(listing, snapshots, archives), *_environment_left(environment)),
    )


def _snapshots(found: FoundSnapshots) -> Iterator[Notice]:
    for one in found.usable:
        files = "1 file" if one.files == 1 else f"{one.files:,} files, the newest"
        what = "computed trait" if one.is_trait else "audience"
        text = f"{one.pattern} ({FORMATS[one.format]}; {files} of {one.taken_at:%Y-%m-%d %H:%M} UTC)"
        yield Notice(f"{what} {one.key}", text)


def _archives(archives: list[PurePosixPath]) -> Iterator[Notice]:
    for archive in archives[:1]:
        yield Notice("events", f"{archive}/ is an archive of Segment's events: they are forwarded")


def _environment(environment: Environment) -> Iterator[Notice]:
    if environment.key:
        yield Notice("Windsor's key", f"is in {environment.key}")
    if environment.has_token:
        yield Notice("Segment", "a token for its Public API is in SEGMENT_PUBLIC_API_TOKEN; it was not used")
    for variable in environment.settings:
        yield Notice("setting", f"{variable} is set and counts before the file")
    if environment.airflow:
        dags = f"; its DAG files belong into {environment.airflow.dags}" if environment.airflow.dags else ""
        yield Notice("Airflow", f"by {environment.airflow.by}{dags}")
    yield Notice(
        "time zone", f"{environment.zone} here; every moment is printed in UTC, and a date in a path is read as UTC"
    )


def _files_left(listing: Listing, snapshots: FoundSnapshots, archives: list[PurePosixPath]) -> Iterator[Notice]:
    if not snapshots.usable:
        yield Notice("audiences", "no snapshot was found here: the file has an example, put your own in its place")
    else:
        yield Notice("names", "of audiences and computed traits are those of the files: compare them with Segment's")
    for problem in snapshots.problems:
        yield Notice("not used", problem)
    if snapshots.unopened:
        yield Notice("not opened", f"{snapshots.unopened:,} more kinds of files: add what you need of them by hand")
    nameless = without_format(listing)
    for folder, count in nameless[:MOST_WITHOUT_FORMAT]:
        text = "the names do not say the format: add the path by hand, with format: csv, jsonl or parquet"
        yield Notice("no format", f"{folder}/* ({counted(count, 'file')}): {text}")
    if (more := len(nameless) - MOST_WITHOUT_FORMAT) > 0:
        yield Notice("no format", f"{counted(more, 'more folder')} with such files: add what you need of them by hand")
    for folder in sorted(listing.closed):
        yield Notice("not read", f"{_shown(folder)}: this user may not read all that is in it")
    for folder in sorted(listing.large):
        text = f"{_shown(folder)}: more than {MOST_IN_FOLDER:,} files lie in it; add what you need by hand"
        yield Notice("not looked at", text)
    if listing.is_cut:
        yield Notice("not looked at", f"what is beyond the first {MOST_ENTRIES:,} files: add what you need by hand")
    if archives:
        yield Notice("events.since", "the first day to forward; without it every day of the archive is")
    for archive in archives[1:]:
        yield Notice("events", f"{archive}/ is another archive of events; one windsor.yaml forwards one")
    for archive in sorted(listing.archives.difference(archives)):
        yield Notice("events", f"{_shown(archive)} is an archive of events that windsor.yaml cannot name: rename it")


def _shown(folder: PurePosixPath) -> str:
    """A name that nobody vouches for, without what a terminal would obey and without anybody's address."""
    return "a folder with an e-mail address in its name" if names_a_person(folder) else f"{str(folder)!a}"


def _environment_left(environment: Environment) -> Iterator[Notice]:
    if not environment.has_url:
        yield Notice(
            "destination.url", "your Windsor's address; until then it is the stand-in of `windsor-sync sandbox`"
        )
    if environment.key is None:
        yield Notice("Windsor's key", f"set {API_KEY_VARIABLE}; in Airflow, put it into the connection windsor_default")
    if environment.has_token:
        yield Notice("space", "your Engage space's id; then `windsor-sync audiences --from-segment` lists what it has")
    for variable in environment.warehouses:
        name = variable.removeprefix("WINDSOR_CONNECTION_").lower()
        yield Notice("warehouse", f"{variable} is set: give an audience `connection: {name}` and a query or schema")
    if environment.airflow:
        dags = shlex.quote(str(environment.airflow.dags)) if environment.airflow.dags else "FOLDER"
        yield Notice("Airflow", f"run `windsor-sync airflow-setup --dags {dags}`, then `windsor-sync airflow-setup`")
