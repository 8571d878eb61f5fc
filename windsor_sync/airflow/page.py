"""The page "Audiences" inside Airflow: views of our own state for people who may read the DAGs, and for nobody else.

Each request is checked by Airflow's auth manager. Reading asks for the right to read the runs of the DAG that does the
work, answering for the right to answer Airflow's own question. Users are shown to who may start `engage_audience_backfill` and
has the right to read `Windsor users`; a page for people says what it has, the audit trail says who asked.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from windsor_sync.airflow.answers import PageAnswer, answer_question, read_answer
from windsor_sync.airflow.forms import BACKFILL, MODES, SIDES
from windsor_sync.domain.labels import for_browser
from windsor_sync.errors import ConfigError, WindsorSyncError
from windsor_sync.report.finding import FILTERS, SORTS, AudienceSearch, find_audiences
from windsor_sync.report.people import changes_csv, look_up, members_csv
from windsor_sync.report.rendering import TEMPLATES, Links, render, style
from windsor_sync.report.users import Shown, sandbox_users, show_user
from windsor_sync.report.views import (
    FORWARDING_DAG,
    SYNC_DAG,
    RunView,
    backfills_of,
    view_audience,
    view_banner,
    view_events,
    view_run,
)
from windsor_sync.settings import load
from windsor_sync.usecases.backfill import moment_meant
from windsor_sync.usecases.seal import path_as_of
from windsor_sync.usecases.workspace import Workspace, open_workspace

BACKFILL_DAG = "engage_audience_backfill"
SYNC_NOW_DAG = "engage_sync_now"

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
may_sync_one = requires_access_dag("POST", DagAccessEntity.RUN, SYNC_NOW_DAG)
may_start_sync = requires_access_dag("POST", DagAccessEntity.RUN, SYNC_DAG)
may_answer = requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL, SYNC_DAG)

USERS_RIGHT = "Windsor users"
"""The view of Airflow's auth manager whose readers may see users."""


def may_see_users(request: Request, user: GetUserDep) -> None:
    """Refuse who may not start backfills, or not read `Windsor users`."""
    may_start_backfill(request, user)
    if not get_auth_manager().is_authorized_custom_view(method="GET", resource_name=USERS_RIGHT, user=user):
        raise HTTPException(403, "Forbidden")


def note_rights(request: Request, user: GetUserDep) -> None:
    """Let every page know whether its reader may see users."""
    request.state.may_see_users = _is_allowed(may_see_users, request, user)


async def said(request: Request) -> dict[str, str]:
    """The fields of a form of the page itself."""
    if not _is_of_the_page(request):
        raise HTTPException(403, "The request did not come from the page. Nothing was done. Use the form on the page.")
    body = (await request.body()).decode(errors="replace")
    return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=50))


Said = Annotated[dict[str, str], Depends(said)]


app = FastAPI(
    docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(may_read_audiences), Depends(note_rights)]
)


@app.get("/")
def audiences_page(
    request: Request,
    user: GetUserDep,
    q: Annotated[str, Query(max_length=200)] = "",
    state: str = "",
    sort: str = "",
    order: str = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """Return the page with the list of audiences."""
    search = AudienceSearch(q, state, sort, order == "down", page)
    with _workspace() as workspace:
        found, banner = find_audiences(workspace, search), view_banner(workspace)
    may_sync = _is_allowed(may_start_sync, request, user)
    return _html(
        request,
        "audiences.html",
        found=found,
        banner=banner,
        filters=FILTERS,
        sorts=SORTS,
        may_sync=may_sync,
        dag_id=SYNC_DAG,
    )


@app.get("/audiences/{key:path}")
def audience(
    request: Request,
    user: GetUserDep,
    key: str,
    before: Cursor = None,
    days: Annotated[int, Query(ge=1, le=365)] = 30,
) -> Response:
    """Return the page of one audience."""
    with _workspace() as workspace:
        view, banner = view_audience(workspace, key, before=before, days=days), view_banner(workspace)
    if view is None:
        return _missing(request, "No audience of this key was ever synced.")
    rights = _rights(request, user)
    return _html(
        request, "audience.html", view=view, is_paged=before is not None, banner=banner, dag_id=SYNC_NOW_DAG, **rights
    )


@app.get("/runs/{run_id:path}")
def run(request: Request, user: GetUserDep, run_id: str, after: RowCursor = None) -> Response:
    """One run; of forwarded events for who may read that DAG's runs."""
    with _workspace() as workspace:
        view = view_run(workspace, run_id, after=-1 if after is None else after)
    return _run_page(request, user, view, None)


@app.post("/users", dependencies=[Depends(may_see_users)])
def user_of_row(
    request: Request,
    user: GetUserDep,
    said: Said,  # noqa: ARG001  by it the request is known to be the page's own
    run_id: Annotated[str, Query(alias="run")],
    row: Annotated[int, Query(ge=0, lt=2**63)],
    after: RowCursor = None,
) -> Response:
    """A run's page with the user of one rejected row; that it was asked for is recorded first."""
    with _workspace() as workspace:
        view = view_run(workspace, run_id, after=row - 1 if after is None else after)
        if view is None or not any(each.seq == row for each in view.rows):
            return _missing(request, "There is no such rejected row.")
        if view.steps is not None:
            may_read_events(request, user)
        shown = show_user(workspace, view.run, row, who=_name(user))
    return _run_page(request, user, view, shown)


@app.get("/look", dependencies=[Depends(may_see_users)])
def look_page(request: Request) -> Response:
    """Return the form that looks up a user."""
    with _workspace() as workspace:
        by_email = workspace.settings.page.look_up_by_email
    return _html(request, "look.html", found=None, said="", by_email=by_email, sandbox=None)


@app.post("/look", dependencies=[Depends(may_see_users)])
def looked_up(request: Request, user: GetUserDep, said: Said) -> Response:
    """Return what `why` says of a user; that it was asked for is recorded first."""
    asked = said.get("user", "").strip()
    with _workspace() as workspace:
        found = look_up(workspace, asked, who=_name(user)) if asked else None
        by_email, sandbox = workspace.settings.page.look_up_by_email, sandbox_users(workspace.settings)
    return _html(request, "look.html", found=found, said=asked, by_email=by_email, sandbox=sandbox)


@app.post("/download", dependencies=[Depends(may_see_users)])
def download(request: Request, user: GetUserDep, said: Said) -> Response:
    """Return a list of users as CSV: changes of a run, those that Windsor rejected, or an audience's members."""
    what = said.get("what", "")
    if what == "members":
        return _members(request, said.get("audience", ""), _name(user))
    with _workspace() as workspace:
        view = view_run(workspace, said.get("run", ""))
    if view is None or view.steps is not None or what not in ("changes", "rejected"):
        return _missing(request, "There is no such list.")
    run = view.run
    only = "rejected" if what == "rejected" else None
    return _csv(
        f"{run.audience}-run-{run.number}-{what}.csv", lambda open_: changes_csv(open_, run, who=_name(user), only=only)
    )


def _members(request: Request, key: str, who: str) -> Response:
    with _workspace() as workspace:
        view = view_audience(workspace, key)
    if view is None:
        return _missing(request, "No audience of this key was ever synced.")
    audience_id = view.line.audience_id
    return _csv(f"{key}-members.csv", lambda workspace: members_csv(workspace, audience_id, key, who=who))


def _csv(name: str, rows: Callable[[Workspace], Iterator[str]]) -> Response:
    """Send a file piece by piece; what keeps it from being read is told before the first."""

    def pieces() -> Iterator[bytes]:
        with _workspace() as workspace:
            for piece in rows(workspace):
                yield piece.encode(errors="replace")

    found = pieces()
    first = next(found, b"")
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in name)
    headers = {"Content-Disposition": f'attachment; filename="{plain}"'}
    return StreamingResponse(chain([first], found), media_type="text/csv; charset=utf-8", headers=headers)


@app.post("/answer", dependencies=[Depends(may_answer)])
def answer(request: Request, user: GetUserDep, said: Said) -> Response:
    """Record a person's approval or refusal of what a run withheld."""
    with _workspace() as workspace:
        view = view_run(workspace, said.get("run", ""))
        if view is None:
            return _missing(request, "There is no such run.")
        try:
            answer_question(workspace, view.run, read_answer(said), user_id=str(user.get_id()), who=_name(user))
            problem = None
        except ConfigError as error:
            problem = str(error)
        view = view_run(workspace, view.run.run_id)
    return _run_page(
        request, user, view, None, problem=problem, given=PageAnswer.fields(said), status=422 if problem else 200
    )


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
    texts: dict[str, Any] = {"fields": BACKFILL, "modes": MODES, "sides": SIDES}
    return _html(request, "backfill.html", line=view.line, dag_id=BACKFILL_DAG, now=view.now, **texts)


@app.post("/backfill/check", dependencies=[Depends(may_start_backfill)])
def backfill_check(said: Said) -> Response:
    """Answer in words why a backfill cannot be had; nothing when it can."""
    with _workspace() as workspace:
        try:
            (computation,) = workspace.settings.find([said.get("audience", "")])
            if text := said.get("as_of", ""):
                path_as_of(computation, moment_meant(text))
        except WindsorSyncError as error:
            return PlainTextResponse(for_browser(str(error)), 422)
    return PlainTextResponse("")


@app.get("/backfill/sent", dependencies=[Depends(may_start_backfill)])
def backfills_sent(request: Request, audience: str) -> Response:
    """Return what went out in each backfill of an audience, by the id of its run in Airflow."""
    with _workspace() as workspace:
        found = backfills_of(workspace, audience, BACKFILL_DAG)
    links = _links(request)
    return JSONResponse({name: {"text": one.text, "href": links.run(one.run_id)} for name, one in found.items()})


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


def _run_page(
    request: Request,
    user: BaseUser,
    view: RunView | None,
    shown: Shown | None,
    *,
    problem: str | None = None,
    given: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    if view is None:
        return _missing(request, "There is no such run.")
    if view.steps is not None:
        may_read_events(request, user)
    rights = _rights(request, user)
    sandbox = sandbox_users(load()) if shown else None
    texts: dict[str, Any] = {"problem": problem, "given": given or {}, "dag_id": SYNC_NOW_DAG, "sandbox": sandbox}
    return _html(request, "run.html", status, view=view, shown=shown, **texts, **rights)


def _rights(request: Request, user: BaseUser) -> dict[str, bool]:
    checks = {
        "may_start": may_start_backfill,
        "may_sync": may_sync_one,
        "may_answer": may_answer,
        "may_see_users": may_see_users,
    }
    return {name: _is_allowed(check, request, user) for name, check in checks.items()}


def _name(user: BaseUser) -> str:
    return f"{user.get_name()} in Airflow"


def _is_allowed(check: Callable[[Request, BaseUser], None], request: Request, user: BaseUser) -> bool:
    try:
        check(request, user)
    except HTTPException:
        return False
    return True


def _missing(request: Request, text: str) -> Response:
    return _html(request, "message.html", 404, title="Not found", text=text)


def _html(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    page = render(template, links=_links(request), **values)
    return HTMLResponse(page.encode(errors="replace"), status_code=status)


def _links(request: Request) -> Links:
    root = str(request.scope.get("root_path", ""))
    shows_users = getattr(request.state, "may_see_users", False)
    return Links(root, airflow=root.removesuffix("/windsor"), shows_users=shows_users)
