"""Finds every id of a person, over the merges of all destinations of this state."""

from collections.abc import Iterable

from windsor_sync.persons.merges import Merges
from windsor_sync.state.audiences import Registry
from windsor_sync.state.database import Database
from windsor_sync.state.merges import merging_destinations
from windsor_sync.state.stored_files import StoredFiles
from windsor_sync.storage.file_store import FileStore


def with_kin(database: Database, files: FileStore, stored: StoredFiles, ids: Iterable[str]) -> set[str]:
    """Return the ids and every id that was merged with them, at one destination or through several.

    Raises StoredFileError where a file of merges is lost or damaged.
    """
    destinations = merging_destinations(database)
    everywhere = [Merges(database, files, stored, Registry(database, destination)) for destination in destinations]
    found, fresh = set(ids), set(ids)
    while fresh:
        fresh = {one.id for known in everywhere for one in known.kin(fresh)} - found
        found |= fresh
        if len(everywhere) == 1:  # one look finds all ids that one destination has merged
            return found
    return found
