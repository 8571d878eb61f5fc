"""Finds every id of a person, over the merges of all destinations of this state."""

from collections.abc import Iterable

from sqlalchemy import select

from windsor_sync.merges import Merges
from windsor_sync.registry import Registry
from windsor_sync.state.tables import merges
from windsor_sync.workspace import Workspace


def with_kin(workspace: Workspace, ids: Iterable[str]) -> set[str]:
    """Return the ids and every id that was merged with them, at one destination or through several.

    Raises StoredFileError where a file of merges is lost or damaged.
    """
    with workspace.database.read() as connection:
        destinations = list(connection.execute(select(merges.c.destination)).scalars())
    everywhere = [
        Merges(workspace.database, workspace.files, workspace.stored, Registry(workspace.database, destination))
        for destination in destinations
    ]
    found, fresh = set(ids), set(ids)
    while fresh:
        fresh = {one.id for known in everywhere for one in known.kin(fresh)} - found
        found |= fresh
        if len(everywhere) == 1:  # one look finds all ids that one destination has merged
            return found
    return found
