"""The page "Audiences" in a real Airflow: who may see it, what it shows, and how it looks in a real Chromium."""

import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from sqlalchemy import delete, select, update

from tests.airflow.contrast import too_faint
from tests.airflow.serving import Site
from tests.support.history import HOSTILE, HOSTILE_KEY, REJECTED, USERS
from tests.support.showcase import RUNS, SHOP, show
from tests.support.world import AUDIENCE, KEY
from windsor_sync.airflow import approval
from windsor_sync.airflow.backfill import NOTE
from windsor_sync.airflow.links.windsor import AudienceLink
from windsor_sync.airflow.plan_text import as_markdown
from windsor_sync.report.document import report
from windsor_sync.report.views import view_events
from windsor_sync.state.database import open_database
from windsor_sync.state.runs import history
from windsor_sync.usecases.backfill import Wish, plan

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / ".artefacts" / "page"
"""Kept, and ignored by git: what the page looked like when the tests last ran."""

WIDE, NARROW = 1400, 400
WIDTHS = (360, NARROW, 640, 833, 900, 1024, 1280, WIDE, 1920)


def paths(site: Site) -> list[str]:
    """Every page and file that is served."""
    run, events = site.run_id(), view_events(site.world.workspace).runs[0].run_id
    return [
        "/windsor/", f"/windsor/audiences/{KEY}", f"/windsor/runs/{run}", f"/windsor/runs/{events}", "/windsor/events",
        f"/windsor/backfill?audience={KEY}", "/windsor/look", "/windsor/style.css", "/windsor/page.js", "/windsor/icon.svg",
        f"/windsor/backfill/sent?audience={KEY}",
    ]  # fmt: skip


def test_who_is_not_signed_in_gets_nothing(site: Site) -> None:
    with site.client() as client:
        for path in paths(site):
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (401, "Not authenticated"), path
            answer = client.get(path, headers={"Accept": "text/html"})
            assert (answer.status_code, answer.text) == (303, ""), path
            assert urlsplit(answer.headers["location"]).path.startswith("/auth/login"), path
        assert client.post(f"/windsor/users?run={site.run_id()}&row=0").status_code == 401
        assert client.get("/windsor/openapi.json").status_code == 404
    assert site.asked() == []


def test_who_may_not_read_the_dags_gets_nothing(site: Site) -> None:
    with site.client("nobody") as client:
        for path in paths(site):
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (403, "Forbidden"), path
        assert client.post(f"/windsor/users?run={site.run_id()}&row=0").status_code == 403


def test_an_unreadable_token_gets_nothing(site: Site) -> None:
    with site.client() as client:
        client.headers["Authorization"] = "Bearer made.up.token"
        assert {client.get(path).status_code for path in paths(site)} == {403}


FROM_ELSEWHERE = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
)


def test_airflow_that_make_up_starts_answers_to_the_names_of_this_machine_only(site: Site) -> None:
    with site.client("ana") as analyst:
        for path in ("/", "/windsor/", "/auth/token", "/api/v2/dags"):
            for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", ""):
                assert analyst.get(path, headers={"Host": host}).status_code == 400, (path, host)
            assert analyst.get(path, headers={"Host": "localhost:8080"}).status_code != 400, path


def test_no_page_holds_a_user_until_somebody_who_may_start_backfills_asks(site: Site) -> None:
    with site.client("vic") as viewer, site.client("ana") as analyst:
        for path in paths(site)[:5]:
            for client in (viewer, analyst):
                text = client.get(path).text
                assert not [user for user in USERS if f">{user}<" in text or (user == REJECTED and user in text)]
        view_of_row = f"/windsor/users?run={site.run_id()}&row="
        row = int(analyst.get(f"/windsor/runs/{site.run_id()}").text.split('id="row-')[1].split('"')[0])
        assert viewer.post(f"{view_of_row}{row}").status_code == 403
        assert viewer.get(f"/windsor/backfill?audience={KEY}").status_code == 403
        for elsewhere in FROM_ELSEWHERE:
            assert (analyst.post(f"{view_of_row}{row}", headers=elsewhere).status_code, site.asked()) == (403, [])
        assert analyst.post(f"{view_of_row}{row + 1}").status_code == 404
        assert REJECTED in analyst.post(f"{view_of_row}{row}", headers={"Origin": site.url}).text
    assert site.asked() == ["ana in Airflow"]


def test_who_may_see_users_looks_one_up_and_downloads_lists_and_each_is_written_down(site: Site) -> None:
    run = site.run_id()
    asked = [
        ("/windsor/look", {"user": USERS[20]}, "look up user", "newest snapshot"),
        ("/windsor/download", {"what": "members", "audience": KEY}, "download members", f"{USERS[3]},"),
        ("/windsor/download", {"what": "changes", "run": run}, "download changes", f"{USERS[30]},,entered,,delivered"),
        (
            "/windsor/download",
            {"what": "rejected", "run": run},
            "download rejected",
            f"{REJECTED},,entered,,rejected,400",
        ),
    ]
    with site.client("vic") as viewer, site.client("ana") as analyst:
        assert "/windsor/look" not in viewer.get("/windsor/").text
        assert "/windsor/look" in analyst.get("/windsor/").text
        for path, said, what, found in asked:
            before = site.trail(what)
            assert viewer.post(path, data=said).status_code == 403
            assert analyst.post(path, data=said, headers=FROM_ELSEWHERE[0]).status_code == 403
            assert site.trail(what) == before
            answer = analyst.post(path, data=said)
            assert (answer.status_code, found in answer.text) == (200, True), (path, answer.text[:500])
            assert [one.who for one in site.trail(what)[len(before) :]] == ["ana in Airflow"]
            assert not any(user in str(one) for one in site.trail(what) for user in USERS)
        assert analyst.post("/windsor/download", data={"what": "rejected", "run": run}).text.count("\n") == 2
        assert (
            analyst.post("/windsor/look", data={"user": "nobody"}).text.count("No audience has or had this user") == 1
        )


def test_every_answer_forbids_what_is_not_the_pages_own(site: Site) -> None:
    with site.client("vic") as client:
        for path in [*paths(site), "/windsor/audiences/never", "/windsor/runs/never"]:
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert client.get("/windsor/audiences/never").status_code == 404
        assert client.get("/windsor/runs/never").status_code == 404


BEYOND = 10**30
"""More than any database counts to."""

NOWHERE = (
    "/windsor/audiences/%00", "/windsor/audiences/%ff", "/windsor/runs/%00", "/windsor/backfill?audience=%00",
    f"/windsor/audiences/{'x' * 5_000}", "/windsor/audiences/..%2f..%2fwindsor.yaml", "/windsor/nothing",
)  # fmt: skip
OFF_THE_END = (
    f"/windsor/?after={BEYOND}", f"/windsor/audiences/{KEY}?before={BEYOND}", f"/windsor/events?before={BEYOND}",
    "/windsor/?after=-1", "/windsor/?after=x", "/windsor/backfill",
)  # fmt: skip


def test_an_address_that_makes_no_sense_is_answered_in_words_and_to_nobody_who_is_not_signed_in(site: Site) -> None:
    run = f"/windsor/runs/{site.run_id()}?after={BEYOND}"
    with site.client() as nobody, site.client("ana") as analyst:
        for path in NOWHERE:
            assert analyst.get(path).status_code == 404, path
            assert nobody.get(path).status_code in (401, 404), path
        for path in (*OFF_THE_END, run):
            assert analyst.get(path).status_code in (200, 422), path
            assert nobody.get(path).status_code == 401, path
        for row in (-1, BEYOND):
            asked = analyst.post(f"/windsor/users?run={site.run_id()}&row={row}")
            assert asked.status_code in (404, 422), row
    assert "Internal Server Error" not in asked.text


def test_a_name_is_text_whatever_it_looks_like(site: Site) -> None:
    with site.client("vic") as client:
        for path in ("/windsor/", f"/windsor/audiences/{HOSTILE_KEY}", f"/windsor/runs/{site.run_id()}"):
            text = client.get(path).text
            assert "<script>document" not in text
            assert "&lt;script&gt;document" in text


def test_settings_that_cannot_be_used_are_said_in_their_own_words(site: Site) -> None:
    config, kept = site.world.config, site.world.config.read_text(encoding="utf-8")
    config.write_text("destination: {}\n", encoding="utf-8")
    try:
        with site.client("vic") as client:
            answer = client.get("/windsor/")
    finally:
        config.write_text(kept, encoding="utf-8")
    assert answer.status_code == 503
    assert "destination.url" in answer.text


@pytest.fixture
def signed_in(browser: webdriver.Chrome, site: Site) -> Iterator[webdriver.Chrome]:
    """Somebody who signed in by hand; signed out again afterwards."""
    browser.get(f"{site.url}/auth/login")
    wait = WebDriverWait(browser, 60)
    wait.until(lambda driver: driver.find_elements(By.NAME, "username"))
    browser.find_element(By.NAME, "username").send_keys("ana")
    browser.find_element(By.NAME, "password").send_keys("ana-pw")
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    wait.until(lambda driver: "/auth/login" not in driver.current_url)
    yield browser
    browser.delete_all_cookies()


def look(browser: webdriver.Chrome, width: int, scheme: str, *, height: int = 900) -> None:
    """Make the window so wide, and the person prefer light or dark."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def picture(browser: webdriver.Chrome, name: str) -> Path:
    """Keep what is seen, the whole page of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    height = int(browser.execute_script("return document.documentElement.scrollHeight"))
    width = int(browser.execute_script("return window.innerWidth"))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip}
    )
    path = PICTURES / f"{name}.png"
    path.write_bytes(b64decode(shot["data"]))
    return path


def test_a_browser_that_is_not_signed_in_ends_at_the_login(browser: webdriver.Chrome, site: Site) -> None:
    browser.get(f"{site.url}/windsor/audiences/{KEY}")
    WebDriverWait(browser, 60).until(lambda driver: driver.find_elements(By.NAME, "username"))
    assert "/auth/login" in browser.current_url
    assert AUDIENCE not in browser.page_source


def test_every_page_fits_wide_and_narrow_in_light_and_dark(signed_in: webdriver.Chrome, site: Site) -> None:
    names = ("audiences", "audience", "run", "events-run", "events", "backfill", "look")
    signed_in.get_log("browser")
    for name, path in zip(names, paths(site), strict=False):
        for scheme in ("light", "dark"):
            look(signed_in, WIDE, scheme)
            signed_in.get(site.url + path)
            colour = signed_in.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert colour == {"light": "rgb(246, 245, 241)", "dark": "rgb(20, 22, 26)"}[scheme]
            assert too_faint(signed_in) == [], (name, scheme)
            for width in WIDTHS if scheme == "light" else (NARROW, WIDE):
                look(signed_in, width, scheme)
                wanted = signed_in.execute_script("return document.documentElement.scrollWidth")
                assert wanted <= width, (name, width)
                if width in (NARROW, WIDE):
                    picture(signed_in, f"{name}-{width}-{scheme}")
    assert signed_in.title != "taken"
    said = [entry["message"] for entry in signed_in.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in said if "/windsor/" in message]


REACHABLE = """
    const reachable = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, svg[tabindex]")]
      .filter((one) => one.checkVisibility() && one.type !== "hidden");
"""
FOCUS = f"""{REACHABLE}
    const style = getComputedStyle(document.activeElement);
    return [reachable.indexOf(document.activeElement), style.outlineStyle, style.outlineWidth];
"""


PARTS_OF_A_MOMENT = 6
"""Tab stops within a field for a day and a time."""


def test_the_keyboard_reaches_everything_in_the_order_of_the_page_and_shows_where_it_is(
    signed_in: webdriver.Chrome, site: Site
) -> None:
    look(signed_in, WIDE, "light")
    for path in (f"audiences/{KEY}", f"backfill?audience={KEY}", f"runs/{site.run_id()}"):
        signed_in.get(f"{site.url}/windsor/{path}")
        number = signed_in.execute_script(f"{REACHABLE} return reachable.length")
        seen = []
        for _ in range(number + PARTS_OF_A_MOMENT):
            signed_in.switch_to.active_element.send_keys(Keys.TAB)
            seen.append(signed_in.execute_script(FOCUS))
        assert [place for place, _ in groupby(place for place, *_ in seen)][:number] == list(range(number)), path
        assert {(style, width) for place, style, width in seen if place >= 0} == {("solid", "2px")}, path


def test_on_paper_a_page_is_its_numbers_only_and_nothing_moves(signed_in: webdriver.Chrome, site: Site) -> None:
    signed_in.get(f"{site.url}/windsor/audiences/{KEY}")
    assert signed_in.execute_script("return document.getAnimations().length") == 0
    names = ["header", ".actions", ".window", ".chart", "table"]
    seen = f"return {names}.filter((one) => document.querySelector(one).checkVisibility())"
    assert len(signed_in.execute_script(seen)) == 5
    signed_in.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        assert signed_in.execute_script(seen) == [".chart", "table"]
        assert too_faint(signed_in) == []
    finally:
        signed_in.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_a_person_finds_the_page_in_airflows_navigation_and_its_theme_holds(
    signed_in: webdriver.Chrome, site: Site
) -> None:
    look(signed_in, WIDE, "light")
    wait = WebDriverWait(signed_in, 60)
    signed_in.get(f"{site.url}/")
    wait.until(lambda driver: driver.find_elements(By.PARTIAL_LINK_TEXT, "Audiences"))[0].click()
    frame = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "iframe"))[0]
    signed_in.execute_script("document.documentElement.className = 'dark'")
    signed_in.switch_to.frame(frame)
    wait.until(lambda driver: driver.find_elements(By.LINK_TEXT, HOSTILE))
    colour = "return getComputedStyle(document.body).backgroundColor"
    wait.until(lambda driver: driver.execute_script(colour) == "rgb(20, 22, 26)")
    signed_in.switch_to.default_content()
    picture(signed_in, "in-airflow-dark")
    signed_in.execute_script("document.documentElement.className = 'light'")
    signed_in.switch_to.frame(frame)
    wait.until(lambda driver: driver.execute_script(colour) == "rgb(246, 245, 241)")
    signed_in.find_element(By.LINK_TEXT, AUDIENCE).click()
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "svg .size-line"))
    signed_in.switch_to.default_content()
    picture(signed_in, "in-airflow-light")


def test_a_tasks_link_leads_to_its_audience_inside_airflows_frame(signed_in: webdriver.Chrome, site: Site) -> None:
    wait = WebDriverWait(signed_in, 60)
    link = AudienceLink().get_link(SimpleNamespace(audience=KEY), ti_key=SimpleNamespace())  # type: ignore[arg-type]
    signed_in.get(site.url + link)
    signed_in.switch_to.frame(wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "iframe"))[0])
    wait.until(lambda driver: [one.text for one in driver.find_elements(By.TAG_NAME, "h1")] == [AUDIENCE])
    assert signed_in.execute_script("return parent.location.hash") == ""
    signed_in.find_element(By.LINK_TEXT, "Audiences").click()
    wait.until(lambda driver: [one.text for one in driver.find_elements(By.TAG_NAME, "h1")] == ["Audiences"])
    signed_in.switch_to.default_content()


def make_known(name: str) -> None:
    """Let Airflow know a DAG file, as this site's configuration makes it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(str(ROOT / "dags" / name))
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)


@pytest.fixture
def backfill_dag(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real DAG, as this site's configuration makes it, known to Airflow."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    monkeypatch.setenv("WINDSOR_SYNC_CONFIG", str(site.world.config))
    make_known("engage_audience_backfill.py")
    of_backfills = update(DagRun).where(DagRun.dag_id == "engage_audience_backfill")
    with create_session() as session:  # other tests leave some queued, and the page refuses a second one
        session.execute(of_backfills.values(state="success"))


@pytest.fixture
def sync_dag(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real DAG of the audiences, known to Airflow."""
    monkeypatch.setenv("WINDSOR_SYNC_CONFIG", str(site.world.config))
    make_known("engage_audience_sync.py")
    make_known("engage_sync_now.py")


def ask(site: Site, dag_id: str, task_id: str, subject: str, body: str, params: Any, key: str | None = None) -> str:
    """Start a DAG, let Airflow ask as its task does, and return where; no scheduler is here, so its rows are written by hand."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    conf = {"audiences": [KEY]}
    with site.client("ana") as client:
        started = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf}).json()
    with create_session() as session:
        here = (TaskInstance.run_id == started["dag_run_id"], TaskInstance.task_id == task_id)
        task = session.scalars(select(TaskInstance).where(*here, TaskInstance.map_index == (0 if key else -1))).one()
        task.state = getattr(TaskInstanceState, "AWAITING_INPUT", TaskInstanceState.DEFERRED)
        task._rendered_map_index = key
        session.add(
            HITLDetail(
                ti_id=task.id,
                options=[approval.APPROVE, approval.REFUSE],
                subject=subject,
                body=body,
                defaults=[approval.REFUSE],
                multiple=False,
                params=HITLOperator(task_id="as", subject="it", options=["does"], params=params).serialized_params,
                assignees=[],
            )
        )
    return f"{site.url}/dags/{dag_id}/runs/{quote(started['dag_run_id'])}/tasks/{task_id}/required_actions"


def forget_questions() -> None:
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session

    with create_session() as session:
        session.execute(delete(HITLDetail))


@pytest.fixture
def question(site: Site, sync_dag: None) -> Iterator[None]:
    """Airflow asks about what is withheld."""
    from airflow.sdk.definitions.param import ParamsDict

    run = history(site.world.workspace.database, 2, limit=1)[0]
    assert run.audience == KEY
    asked = ParamsDict({name: param for name, param in approval.FORM.items() if name != "max_entered"})
    asked["max_exited"] = run.books.exited
    subject = f"{run.name}: {run.books.withheld} changes are withheld"
    ask(site, "engage_audience_sync", "sync_audience.approve", subject, approval._body(run), asked, KEY)
    yield
    forget_questions()


@pytest.fixture
def planned(site: Site, backfill_dag: None) -> Iterator[str]:
    """Airflow shows the plan of a limited backfill and asks about it; where."""
    from airflow.sdk.definitions.param import ParamsDict

    (computation,) = site.world.workspace.settings.find([KEY])
    wish = Wish(is_resync=True, limit=5, reason="try it with five")
    plans = [plan(site.world.workspace, computation, wish.request(computation, "a test"))]
    form = ParamsDict(NOTE), as_markdown(plans, wish.reason)
    yield ask(site, "engage_audience_backfill", "approve", f"Backfill of {KEY}", form[1], form[0])
    forget_questions()


VISIBLE = """
    const text = arguments[0], seen = [...document.querySelectorAll("button")].find((one) => one.textContent.trim() === text);
    if (!seen) return null;
    const place = seen.getBoundingClientRect();
    return place.top >= 0 && place.bottom <= window.innerHeight;
"""


@pytest.mark.usefixtures("question")
def test_one_click_leads_from_the_list_to_airflows_open_question_which_explains_itself(
    signed_in: webdriver.Chrome, site: Site
) -> None:
    wait = WebDriverWait(signed_in, 60)
    look(signed_in, WIDE, "light", height=1000)
    signed_in.get(f"{site.url}/windsor/?q=order")
    link = (By.CSS_SELECTOR, "a[data-question]")
    wait.until(lambda driver: "required_actions" in (driver.find_element(*link).get_attribute("href") or ""))
    address = signed_in.find_element(*link).get_attribute("href") or ""
    for width, height in ((1400, 1000), (1280, 720)):
        look(signed_in, width, "light", height=height)
        signed_in.get(address)
        wait.until(
            lambda driver: (
                "all of them go out, or none if there are more" in driver.find_element(By.TAG_NAME, "body").text
            )
        )
        picture(signed_in, f"question-{width}")
        assert [signed_in.execute_script(VISIBLE, name) for name in ("Approve", "Refuse")] == [True, True], (
            width,
            height,
        )


def test_a_backfills_plan_in_airflows_form_has_its_numbers_and_both_buttons_in_view(
    signed_in: webdriver.Chrome, planned: str
) -> None:
    wait = WebDriverWait(signed_in, 60)
    for width, height in ((1400, 1000), (1280, 720)):
        look(signed_in, width, "light", height=height)
        signed_in.get(planned)
        wait.until(lambda driver: "left for the next sync" in driver.find_element(By.TAG_NAME, "body").text)
        picture(signed_in, f"plan-{width}")
        seen = [signed_in.execute_script(VISIBLE, name) for name in ("Approve", "Refuse")]
        assert seen == [True, True], (width, height)
        assert signed_in.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.usefixtures("sync_dag")
def test_sync_now_on_an_audiences_page_syncs_it_alone(signed_in: webdriver.Chrome, site: Site) -> None:
    wait = WebDriverWait(signed_in, 60)
    confs = []
    with site.client("ana") as client:
        for path, button, dag_id in (
            (f"audiences/{KEY}", "Sync now", "engage_sync_now"),
            ("", "Sync all now", "engage_audience_sync"),
        ):
            signed_in.get(f"{site.url}/windsor/{path}")
            signed_in.find_element(By.XPATH, f"//button[text()='{button}']").click()
            link = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "form.inline output a"))[0]
            run = (link.get_attribute("href") or "").rpartition("/")[2]
            confs.append(client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run}").json()["conf"])
    assert confs == [{"audiences": [KEY]}, {}]


def test_a_user_who_is_shown_leads_to_the_same_user_in_the_sandbox(signed_in: webdriver.Chrome, site: Site) -> None:
    user = USERS[20]
    signed_in.get(f"{site.url}/windsor/look")
    signed_in.find_element(By.NAME, "user").send_keys(user, Keys.ENTER)
    links = (By.LINK_TEXT, "in the sandbox")
    href = WebDriverWait(signed_in, 60).until(lambda driver: driver.find_elements(*links))[0].get_attribute("href")
    assert href == f"{site.world.windsor.url}users/{quote(user, safe='')}"
    assert user in httpx.get(href).text
    signed_in.get(f"{site.url}/windsor/runs/{site.run_id()}")
    signed_in.find_element(By.XPATH, "//button[text()='Show']").click()
    WebDriverWait(signed_in, 60).until(lambda driver: driver.find_elements(*links))


@pytest.mark.usefixtures("backfill_dag")
def test_the_backfill_form_starts_the_dag_with_the_audience_filled_in(signed_in: webdriver.Chrome, site: Site) -> None:
    wait = WebDriverWait(signed_in, 60)
    look(signed_in, WIDE, "light")
    signed_in.get(f"{site.url}/windsor/audiences/{KEY}")
    signed_in.find_element(By.LINK_TEXT, "Backfill…").click()
    assert signed_in.find_element(By.NAME, "audiences").get_attribute("value") == KEY
    limit, start = signed_in.find_element(By.NAME, "limit"), signed_in.find_element(By.CSS_SELECTOR, "form button")
    signed_in.execute_script("arguments[0].form.noValidate = true", limit)
    limit.send_keys("0")
    start.click()
    said = (By.ID, "answer")
    wait.until(lambda driver: "0 is less than the minimum of 1" in driver.find_element(*said).text)
    limit.clear()
    limit.send_keys("5")
    moment = signed_in.find_element(By.NAME, "as_of")
    signed_in.execute_script("arguments[0].value = '1990-01-02T03:04'", moment)
    start.click()
    wait.until(
        lambda driver: "Not started: " in driver.find_element(*said).text and "1990" in driver.find_element(*said).text
    )
    signed_in.execute_script("arguments[0].value = '2026-01-02T03:04'", moment)
    signed_in.find_element(By.NAME, "reason").send_keys("a test")
    start.click()
    link = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#answer a"))[0].get_attribute("href")
    assert link is not None
    with site.client("ana") as client:
        run = client.get(f"/api/v2/dags/engage_audience_backfill/dagRuns/{link.rpartition('/')[2]}").json()
    filled = {"audiences": [KEY], "mode": "changes", "dry_run": False, "limit": 5, "as_of": "2026-01-02T03:04:00.000Z"}
    assert run["conf"] == {**filled, "reason": "a test"}
    assert run["triggering_user_name"] == "ana"
    newest = (By.CSS_SELECTOR, "#backfills tbody tr")  # another test's may stand there until the list is read again
    wait.until(lambda driver: "changes, at most 5, a test" in driver.find_element(*newest).text)
    start.click()
    wait.until(lambda driver: "a backfill of this audience has not ended" in driver.find_element(*said).text)
    signed_in.find_element(By.XPATH, "//button[text()='Cancel']").click()
    wait.until(lambda driver: "nothing was sent" in driver.find_element(By.CSS_SELECTOR, "#backfills tbody tr").text)
    picture(signed_in, "backfills")


def test_a_click_shows_one_user_and_is_written_down(signed_in: webdriver.Chrome, site: Site) -> None:
    before = len(site.asked())
    signed_in.get(f"{site.url}/windsor/runs/{site.run_id()}")
    assert REJECTED not in signed_in.page_source
    rows = len(signed_in.find_elements(By.CSS_SELECTOR, "tr[id^=row-]"))
    signed_in.find_element(By.XPATH, "//button[text()='Show']").click()
    WebDriverWait(signed_in, 60).until(lambda driver: REJECTED in driver.page_source)
    assert len(site.asked()) == before + 1
    assert len(signed_in.find_elements(By.CSS_SELECTOR, "tr[id^=row-]")) == rows
    assert urlsplit(signed_in.current_url).path == f"/windsor/runs/{site.run_id()}"


def test_from_the_list_to_an_answer_that_is_refused_while_it_is_too_low(
    signed_in: webdriver.Chrome, site: Site
) -> None:
    wait = WebDriverWait(signed_in, 60)
    look(signed_in, WIDE, "light")
    signed_in.get(f"{site.url}/windsor/?state=person&q=order")
    assert [row.text for row in signed_in.find_elements(By.CSS_SELECTOR, ".who .name")] == [AUDIENCE]
    signed_in.find_element(By.LINK_TEXT, "waits for approval").click()
    field = wait.until(lambda driver: driver.find_elements(By.NAME, "max_exited"))[0]
    waiting = int(field.get_attribute("value") or 0)
    picture(signed_in, "decide")
    approve = (By.CSS_SELECTOR, "button[value=approve]")
    field.clear()
    field.send_keys(str(waiting - 1))
    signed_in.find_element(*approve).click()
    assert not signed_in.find_elements(By.CSS_SELECTOR, ".problem")
    assert signed_in.execute_script("return document.querySelector('[name=max_exited]').validity.rangeUnderflow")
    signed_in.execute_script("arguments[0].form.noValidate = true", field)
    signed_in.find_element(*approve).click()
    problem = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".problem"))[0]
    assert (
        problem.text
        == f"{waiting} exits wait, and at most {waiting - 1} were approved: none would be sent. Nothing was recorded."
    )
    field = signed_in.find_element(By.NAME, "max_exited")
    field.clear()
    field.send_keys(str(waiting))
    signed_in.find_element(By.NAME, "note").send_keys("the sale is over")
    signed_in.find_element(*approve).click()
    said = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".decisions li"))[0].text
    assert said.startswith(f"Approved by ana in Airflow: at most {waiting} exits. “the sale is over”")
    picture(signed_in, "decided")


@contextmanager
def looking_at(site: Site, folder: Path, shop: Sequence[tuple[str, str, str, int]], last_run: int) -> Iterator[None]:
    """The same Airflow, looking at another company."""
    config, kept = site.world.config, site.world.config.read_text(encoding="utf-8")
    state = f"sqlite:///{folder}/state.db"
    audiences = [{"name": name, "trait": key, "snapshot": {"path": f"snapshots/{key}/*.csv"}} for name, key, *_ in shop]
    document = {"state": state, "files": str(folder / "files"), "destination": site.world.destination}
    config.write_text(yaml.safe_dump({**document, "audiences": audiences}), encoding="utf-8")
    database = open_database(state)
    show(database, "windsor", shop, last_run)
    database.close()
    try:
        yield
    finally:
        config.write_text(kept, encoding="utf-8")


@pytest.fixture
def shop(site: Site, tmp_path: Path) -> Iterator[None]:
    """A shop's month."""
    with looking_at(site, tmp_path, SHOP, RUNS):
        yield


SIXTY = [
    (
        f"{'Supercalifragilistic' * (number % 4)} Audience {number}",
        f"{'long_' * (number % 20)}key_{number}",
        "audience",
        10 ** (number % 10),
    )
    for number in range(60)
]


@pytest.mark.thorough
def test_sixty_audiences_fit_every_width_and_break_no_number(
    signed_in: webdriver.Chrome, site: Site, tmp_path: Path
) -> None:
    with looking_at(site, tmp_path, SIXTY, 2):
        for width in WIDTHS:
            look(signed_in, width, "light")
            signed_in.get(f"{site.url}/windsor/")
            assert len(signed_in.find_elements(By.CSS_SELECTOR, ".audiences tbody tr")) == 50
            assert signed_in.execute_script("return document.documentElement.scrollWidth") <= width, width
            assert signed_in.execute_script(BROKEN) == [], width
            if width in (360, 1280):
                picture(signed_in, f"sixty-{width}")


BROKEN = r"""
    const lines = (text) => {
      const range = document.createRange();
      range.selectNodeContents(text);
      return range.getClientRects().length;
    };
    return [...document.querySelectorAll("td.number")].flatMap((cell) => [...cell.childNodes])
      .filter((node) => node.nodeType === 3 && /^\s*[\d,.]+\s*$/.test(node.data) && lines(node) > 1)
      .map((node) => node.data.trim());
"""


@pytest.mark.usefixtures("shop")
def test_the_pictures_in_the_documents_are_of_the_page_as_it_is(signed_in: webdriver.Chrome, site: Site) -> None:
    look(signed_in, WIDE, "light", height=860)
    wait = WebDriverWait(signed_in, 60)
    signed_in.get(f"{site.url}/plugin/windsor")
    frame = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "iframe"))[0]
    signed_in.execute_script("document.documentElement.className = 'light'")
    signed_in.switch_to.frame(frame)
    line = wait.until(lambda driver: driver.find_elements(By.LINK_TEXT, "VIP Customers"))[0]
    signed_in.switch_to.default_content()
    assert picture(signed_in, "docs-audiences").stat().st_size > 20_000
    signed_in.switch_to.frame(frame)
    line.click()
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "svg .size-line"))
    chart = signed_in.find_element(By.CSS_SELECTOR, "figure.chart svg[tabindex]")
    chart.send_keys(Keys.ARROW_LEFT)
    assert "members" in signed_in.find_element(By.CSS_SELECTOR, "figure.chart .tip").text
    signed_in.execute_script("arguments[0].blur()", chart)
    signed_in.switch_to.default_content()
    assert picture(signed_in, "docs-audience").stat().st_size > 20_000


def test_the_report_fits_wide_and_narrow_and_asks_nobody_for_anything(
    browser: webdriver.Chrome, site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(site.world.workspace), encoding="utf-8")
    for width in (WIDE, NARROW):
        for scheme in ("light", "dark"):
            look(browser, width, scheme)
            browser.get(file.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert too_faint(browser) == [], scheme
            picture(browser, f"report-{width}-{scheme}")
    rows = "return [...document.querySelectorAll('.audiences tbody tr')].filter((row) => row.checkVisibility()).length"
    everybody = browser.execute_script(rows)
    shown = {}
    for label in browser.find_elements(By.CSS_SELECTOR, ".choose label"):
        label.click()
        shown[label.text] = (browser.execute_script(rows), int(label.find_element(By.CLASS_NAME, "count").text))
    assert all(rows_shown == told for rows_shown, told in shown.values()), shown
    assert max(told for _, told in shown.values()) == everybody > 0
    browser.find_element(By.CSS_SELECTOR, "input[name=show][value=all]").click()
    targets = [link.get_attribute("hash") for link in browser.find_elements(By.CSS_SELECTOR, ".contents a")]
    assert len(targets) == everybody + 3
    assert (
        browser.execute_script("return arguments[0].filter((one) => !document.getElementById(one.slice(1)))", targets)
        == []
    )
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert (browser.title, loaded) == ("Report · Windsor", [])


def test_only_the_api_server_loads_the_page() -> None:
    """Scheduler, triggerer and tasks import every plugin."""
    program = (
        "import sys; from windsor_sync.airflow.plugin import WindsorPlugin; "
        "print([name for name in sys.modules if name.startswith(('windsor_sync.airflow.page', 'duckdb', 'fastapi'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
