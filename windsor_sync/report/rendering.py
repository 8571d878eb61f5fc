"""View models → HTML. Everything is escaped; nothing that is rendered holds a script, a style or an event handler."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from windsor_sync.domain import labels as words
from windsor_sync.errors import harmless
from windsor_sync.report.charts import deliveries, entered_and_exited, size_over_time

TEMPLATES = Path(__file__).parent / "templates"
STYLES = (Path(__file__).parents[1] / "look.css", TEMPLATES / "style.css")


@dataclass(frozen=True, slots=True)
class Links:
    """The addresses of things, below the path that the pages are served from."""

    root: str
    airflow: str = ""
    """the path that Airflow itself is served from"""
    shows_users: bool = False
    """whether the reader may see users"""

    def audiences(self) -> str:
        """Return the list of audiences as HTML."""
        return f"{self.root}/"

    def find(self, query: Mapping[str, Any]) -> str:
        """Return the list of audiences as a person searches and sorts it."""
        return f"{self.root}/" + _query(**query)

    def audience(self, key: str, before: int | None = None) -> str:
        """Return one audience as HTML."""
        return f"{self.root}/audiences/{quote(key, safe='')}" + _query(before=before)

    def run(self, run_id: str, after: int | None = None) -> str:
        """Return one run as HTML."""
        return f"{self.root}/runs/{quote(run_id, safe='')}" + _query(after=after)

    def user(self, run_id: str, seq: int, after: int = -1) -> str:
        """Return where the user of a rejected row is asked for, on the page of rows behind `after`."""
        return f"{self.root}/users" + _query(run=run_id, row=seq, after=after if after >= 0 else None)

    def events(self, before: int | None = None) -> str:
        """Return the event forwarding as HTML."""
        return f"{self.root}/events" + _query(before=before)

    def backfill(self, key: str) -> str:
        """The form of a backfill, with the audience filled in."""
        return f"{self.root}/backfill" + _query(audience=key)

    def dag(self, dag_id: str) -> str:
        """A DAG in Airflow."""
        return f"{self.airflow}/dags/{quote(dag_id, safe='')}"


@dataclass(frozen=True, slots=True)
class InOneFile:
    """Links in a file that has all pages below each other: only audiences have a place to go to."""

    def audience(self, key: str) -> str:
        """The audience's section."""
        return f"#audience-{quote(key, safe='')}"


UNSAID: Mapping[str, Any] = {
    **dict.fromkeys(("may_start", "may_sync", "may_answer", "may_see_users", "is_paged"), False),
    **dict.fromkeys(("banner", "problem", "shown"), None),
    "given": {},
    "dag_id": "",
}
"""Values of a page where nobody says otherwise: a reader without further rights."""


def render(template: str, **values: Any) -> str:
    """Return a page as HTML."""
    return _environment().get_template(template).render(values)


def style() -> str:
    """The style sheet of every page and of the file."""
    return "".join(sheet.read_text(encoding="utf-8") for sheet in STYLES)


def unit_of(unit: str, number: int | None) -> str:
    """The unit as it stands after the number: 1 change, 2 changes."""
    first, *rest = unit.split(",")
    return ",".join([first.removesuffix("s") if number == 1 else first, *rest])


def _shown(value: Any) -> Any:
    """A text of somebody else's without what a browser obeys, such as marks of direction."""
    return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": words.ago,
        "code_words": words.code_words,
        "count": words.count,
        "in_path": lambda text: quote(text, safe="", errors="replace"),
        "counted": words.counted,
        "for_browser": words.for_browser,
        "lasting": words.lasting,
        "left_out_words": words.left_out_words,
        "moved_words": words.MOVED_WORDS.__getitem__,
        "moment": words.moment,
        "old": words.old,
        "state_words": words.state_words,
        "unit_of": unit_of,
    }
    environment.globals |= {
        **UNSAID,
        "STEPS": words.STEPS,
        "deliveries": deliveries,
        "entered_and_exited": entered_and_exited,
        "size_over_time": size_over_time,
    }
    return environment


def _query(**values: Any) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
