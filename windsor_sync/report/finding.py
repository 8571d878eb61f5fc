"""Finds audiences in a long list: who needs a person first, search, sorting, a filter by state, pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from windsor_sync.report.views import AudienceLine, AudienceList, list_audiences
from windsor_sync.usecases.workspace import Workspace

LINES_A_PAGE = 50
MOST_AUDIENCES = 5_000

FILTERS: Mapping[str, tuple[str, Callable[[AudienceLine], bool]]] = {
    "": ("all", lambda line: True),  # noqa: ARG005
    "person": ("needs a person", lambda line: line.needs_person),
    "waits": ("something waits", lambda line: line.waiting > 0),
    "well": ("all is well", lambda line: line.is_synced and not line.needs_person),
    "off": ("not synced any more", lambda line: not line.is_synced),
}
"""State in the address → its words, and which audiences it has."""

SORTS: Mapping[str, tuple[str, Callable[[AudienceLine], Any]]] = {
    "name": ("Audience", lambda line: line.name.casefold()),
    "members": ("Members", lambda line: line.last.books.members if line.last else -1),
    "entered": ("Entered", lambda line: line.last.books.since_last.entered if line.last else -1),
    "exited": ("Exited", lambda line: line.last.books.since_last.exited if line.last else -1),
    "updated": ("Updated", lambda line: line.last.books.since_last.updated if line.last else -1),
    "waits": ("Waits", lambda line: line.waiting),
    "last": ("Last run", lambda line: line.last.started_at.timestamp() if line.last else 0.0),
}
"""Column in the address → its title, and what it is sorted by."""


@dataclass(frozen=True, slots=True)
class AudienceSearch:
    """A person's search in the list of audiences."""

    text: str = ""
    state: str = ""
    sort: str = ""
    """a column; empty: who needs a person first, then by name"""
    is_descending: bool = False
    page: int = 1

    def address(self, **changes: Any) -> dict[str, Any]:
        """Return the query of the list's address with some of it changed, without what goes without saying."""
        told = replace(self, **changes)
        order = "down" if told.is_descending else ""
        page = told.page if told.page > 1 else ""
        values = {"q": told.text, "state": told.state, "sort": told.sort, "order": order, "page": page}
        return {name: value for name, value in values.items() if value}

    def by(self, column: str) -> dict[str, Any]:
        """Return the query for a click on a column's title: numbers begin with the largest, the next click turns round."""
        is_again = self.sort == column
        return self.address(sort=column, is_descending=not self.is_descending if is_again else column != "name", page=1)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of the audiences that a person looks for."""

    listed: AudienceList
    lines: tuple[AudienceLine, ...]
    search: AudienceSearch
    matching: int
    total: int
    need_person: int
    """of all, not only of those found"""

    @property
    def pages(self) -> int:
        """Return how many pages there are, at least one."""
        return max(-(-self.matching // LINES_A_PAGE), 1)


def find_audiences(workspace: Workspace, search: AudienceSearch) -> Found:
    """Return one page of the audiences that match."""
    listed = list_audiences(workspace, limit=MOST_AUDIENCES)
    wanted = search.text.casefold().strip()
    _, is_in = FILTERS.get(search.state, FILTERS[""])
    matching = [line for line in listed.lines if is_in(line) and wanted in f"{line.name}\n{line.key}".casefold()]
    matching.sort(key=SORTS["name"][1])
    if search.sort in SORTS:
        matching.sort(key=SORTS[search.sort][1], reverse=search.is_descending)
    else:
        matching.sort(key=lambda line: (not line.needs_person, not line.is_synced))
    pages = max(-(-len(matching) // LINES_A_PAGE), 1)
    page = min(max(search.page, 1), pages)
    return Found(
        listed=listed,
        lines=tuple(matching[(page - 1) * LINES_A_PAGE : page * LINES_A_PAGE]),
        search=replace(search, page=page),
        matching=len(matching),
        total=len(listed.lines),
        need_person=sum(line.needs_person for line in listed.lines),
    )
