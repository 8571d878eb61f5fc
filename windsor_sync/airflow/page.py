"""The page "Audiences" inside Airflow: views of our own state for people who may read the DAGs, and for nobody else.

Each request is checked by Airflow's auth manager. Reading asks for the right to read the runs of the DAG that does the
work; a user's id is shown, and the backfill form offered, only to who may start `engage_audience_backfill`.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from windsor_sync.errors import WindsorSyncError
from windsor_sync.report.rendering import TEMPLATES, Links, render, style
from windsor_sync.report.users import Shown, show_user
from windsor_sync.report.views import (
    FORWARDING_DAG,
    SYNC_DAG,
    RunView,
    list_audiences,
    view_audience,
    view_events,
    view_run,
)
from windsor_sync.settings import load
from windsor_sync.usecases.workspace import Workspace, open_workspace

BACKFILL_DAG = "engage_audience_backfill"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Cursor = Annotated[int | None, Query(ge=0, lt=2**31)]
"""An audience's number or a run's, as the state's columns hold them."""

RowCursor = Annotated[int | None, Query(ge=0, lt=2**63)]

may_read_audiences = requires_access_dag("GET", DagAccessEntity.RUN, SYNC_DAG)
may_read_events = requires_access_dag("GET", DagAccessEntity.RUN, FORWARDING_DAG)
may_start_backfill = requires_access_dag("POST", DagAccessEntity.RUN, BACKFILL_DAG)

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(may_read_audiences)])


@app.get("/")
def audiences_page(request: Request, after: Cursor = None) -> Response:
    """Return the page with the list of audiences."""
    with _workspace() as workspace:
        page = list_audiences(workspace, after=after or 0)
    return _html(request, "audiences.html", page=page)


@app.get("/audiences/{key:path}")
def audience(request: Request, user: GetUserDep, key: str, before: Cursor = None) -> Response:
    """Return the page of one audience."""
    with _workspace() as workspace:
        view = view_audience(workspace, key, before=before)
    if view is None:
        return _missing(request, "No audience of this key was ever synced.")
    is_allowed = _is_allowed(may_start_backfill, request, user)
    return _html(request, "audience.html", view=view, is_paged=before is not None, may_start=is_allowed)


@app.get("/runs/{run_id:path}")
def run(request: Request, user: GetUserDep, run_id: str, after: RowCursor = None) -> Response:
    """One run; of forwarded events for who may read that DAG's runs."""
    with _workspace() as workspace:
        view = view_run(workspace, run_id, after=-1 if after is None else after)
    return _run_page(request, user, view, None)


@app.post("/users", dependencies=[Depends(may_start_backfill)])
def user_of_row(
    request: Request,
    user: GetUserDep,
    run_id: Annotated[str, Query(alias="run")],
    row: Annotated[int, Query(ge=0, lt=2**63)],
) -> Response:
    """A run's page with the user of one rejected row; that it was asked for is recorded first."""
    if not _is_of_the_page(request):
        raise HTTPException(403, "Ask from the page itself.")
    with _workspace() as workspace:
        view = view_run(workspace, run_id, after=row - 1)
        if view is None or not any(each.seq == row for each in view.rows):
            return _missing(request, "There is no such rejected row.")
        if view.steps is not None:
            may_read_events(request, user)
        shown = show_user(workspace, view.run, row, who=f"{user.get_name()} in Airflow")
    return _run_page(request, user, view, shown)


@app.get("/events", dependencies=[Depends(may_read_events)])
def events(request: Request, before: Cursor = None) -> Response:
    """Return the page of the event forwarding."""
    with _workspace() as workspace:
        view = view_events(workspace, before=before)
    return _html(request, "events.html", view=view, is_paged=before is not None)


@app.get("/backfill", dependencies=[Depends(may_start_backfill)])
def backfill_page(request: Request, audience: str) -> Response:
    """The form of a backfill, with the audience filled in: Airflow's own takes no values from an address."""
    with _workspace() as workspace:
        view = view_audience(workspace, audience)
    if view is None:
        return _missing(request, "No audience of this key was ever synced.")
    return _html(request, "backfill.html", line=view.line, dag_id=BACKFILL_DAG)


@app.get("/style.css")
def style_sheet() -> Response:
    """The style sheet."""
    return Response(style(), media_type="text/css")


@app.get("/page.js")
def script() -> Response:
    """The only script: theme, links out of the frame, the backfill form."""
    return Response((TEMPLATES / "page.js").read_bytes(), media_type="text/javascript")


@app.get("/icon.svg")
def icon() -> Response:
    """The icon in the navigation."""
    return Response((TEMPLATES / "icon.svg").read_bytes(), media_type="image/svg+xml")


@app.middleware("http")
async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Every answer forbids scripts, frames and copies that are not Airflow's own."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


@app.exception_handler(HTTPException)
async def refused(request: Request, error: HTTPException) -> Response:
    """A browser that is not signed in goes to Airflow's login and comes back; anybody else gets the status only."""
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), status_code=303)
    return PlainTextResponse(str(error.detail), error.status_code)


@app.exception_handler(RequestValidationError)
async def misspelt(request: Request, error: RequestValidationError) -> Response:  # noqa: ARG001
    """An address that was put together wrongly; what stands in it is not repeated."""
    return _html(request, "message.html", 422, title="Not found", text="There is nothing at this address.")


@app.exception_handler(WindsorSyncError)
async def unusable_page(request: Request, error: WindsorSyncError) -> Response:
    """The settings or the state cannot be used: their own sentence says what to do."""
    return _html(request, "message.html", 503, title="There is nothing to show", text=str(error))


@contextmanager
def _workspace() -> Iterator[Workspace]:
    with open_workspace(load()) as workspace:
        yield workspace


def _is_of_the_page(request: Request) -> bool:
    """Whether a browser says so: in Sec-Fetch-Site, an older one in Origin; a program with a token says neither."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None or origin is None:
        return site in (None, "same-origin")
    own = {request.headers.get("host"), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
    return urlsplit(origin).netloc in own - {None, ""}


def _run_page(request: Request, user: BaseUser, view: RunView | None, shown: Shown | None) -> Response:
    if view is None:
        return _missing(request, "There is no such run.")
    if view.steps is not None:
        may_read_events(request, user)
    is_allowed = _is_allowed(may_start_backfill, request, user)
    return _html(request, "run.html", view=view, shown=shown, may_start=is_allowed)


def _is_allowed(check: Callable[[Request, BaseUser], None], request: Request, user: BaseUser) -> bool:
    try:
        check(request, user)
    except HTTPException:
        return False
    return True


def _missing(request: Request, text: str) -> Response:
    return _html(request, "message.html", 404, title="Not found", text=text)


def _html(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    root = str(request.scope.get("root_path", ""))
    links = Links(root, airflow=root.removesuffix("/windsor"))
    return HTMLResponse(render(template, links=links, **values).encode(errors="replace"), status_code=status)
