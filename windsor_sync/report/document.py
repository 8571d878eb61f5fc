"""The report: the pages' tables and charts as one HTML file that opens offline, without any user in it."""

from datetime import UTC, datetime

from windsor_sync import __version__
from windsor_sync.report.finding import FILTERS
from windsor_sync.report.rendering import InOneFile, render, style
from windsor_sync.report.views import (
    AudienceLine,
    AudienceList,
    AudienceView,
    how_all_stand,
    list_audiences,
    view_audience,
    view_events,
)
from windsor_sync.usecases.workspace import Workspace

MOST_AUDIENCES = 500
"""After so many the file ends and says so: it grows by 30 kB an audience."""


def report(workspace: Workspace) -> str:
    """The whole file as text; its size grows with the number of audiences, not with that of runs."""
    pages = _pages(workspace)
    lines = [line for page in pages for line in page.lines]
    groups = {name: (text, sum(map(is_in, lines))) for name, (text, is_in) in FILTERS.items()}
    return render(
        "document.html",
        style=style(),
        links=InOneFile(),
        page=pages[0],
        lines=lines,
        groups=groups,
        groups_of=groups_of,
        needing=[line for line in lines if line.needs_person],
        never_synced=pages[-1].never_synced,
        audiences=_audiences(workspace, [line.key for line in lines]),
        events=view_events(workspace),
        made_at=datetime.now(UTC),
        version=__version__,
        is_cut=pages[-1].after is not None,
    )


def _pages(workspace: Workspace) -> list[AudienceList]:
    pages = [list_audiences(workspace)]
    while (after := pages[-1].after) is not None and sum(len(page.lines) for page in pages) < MOST_AUDIENCES:
        pages.append(list_audiences(workspace, after=after))
    return pages


def _audiences(workspace: Workspace, keys: list[str]) -> list[AudienceView]:
    standing = how_all_stand(workspace)
    return [found for key in keys if (found := view_audience(workspace, key, standing=standing)) is not None]


def groups_of(line: AudienceLine) -> str:
    """Return the states of the list's filter that apply to an audience, separated by blanks, for the style sheet."""
    return " ".join(name for name, (_, is_in) in FILTERS.items() if name and is_in(line))
