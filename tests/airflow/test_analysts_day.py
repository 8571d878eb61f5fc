"""A day of somebody who has a browser and nothing else: find, ask why, refuse, approve, try with fifty, download."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.airflow.serving import Site
from tests.airflow.test_page import look, make_known, picture, signed_in
from tests.support.world import World
from windsor_sync.demo.shop import purchases
from windsor_sync.usecases import backfill as backfills

__all__ = ["signed_in"]

NAME, KEY = "Newsletter Readers", "newsletter_readers"
BEFORE, AFTER = 2_000, 900


@pytest.fixture
def customers() -> list[str]:
    """The customers of the demo's shop."""
    return sorted(purchases()["customer_id"].unique())


@pytest.fixture
def shop(site: Site, tmp_path: Path, customers: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A shop whose audience lost more than half of its members since Windsor was told."""
    config, kept = site.world.config, site.world.config.read_text(encoding="utf-8")
    world = World(tmp_path, site.world.windsor)
    entry = {"name": NAME, "snapshot": {"path": f"{tmp_path}/snapshots/newsletter/*.csv"}}
    places = {"state": f"sqlite:///{tmp_path}/state.db", "files": str(tmp_path / "files")}
    world.document |= {**places, "audiences": [entry], "computed_traits": []}
    for members in (BEFORE, AFTER):
        world.snapshot(customers[:members], folder="newsletter")
        world.sync(KEY)
    config.write_text(world.config.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("WINDSOR_SYNC_CONFIG", str(config))
    make_known("engage_audience_backfill.py")
    yield world
    config.write_text(kept, encoding="utf-8")
    world.reopen()


class Reader:
    """A person who uses the page in a browser."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self._browser, self._pictures = browser, 0
        # a page that is replaced by the next one meanwhile is looked at again
        self._wait = WebDriverWait(browser, 20, ignored_exceptions=[StaleElementReferenceException])
        self.downloads = folder
        behaviour = {"behavior": "allow", "downloadPath": str(folder)}
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        look(browser, 1280, "light")

    def press(self, text: str) -> None:
        """Follow the link or press the button that has this text."""
        path = f"//a[normalize-space()='{text}'] | //button[normalize-space()='{text}']"
        self._wait.until(lambda driver: driver.find_elements(By.XPATH, path))[0].click()

    def fill(self, **fields: Any) -> None:
        for name, value in fields.items():
            field = self._wait.until(lambda driver, name=name: driver.find_elements(By.NAME, name))[0]
            field.clear()
            field.send_keys(str(value))

    def reads(self, *texts: str) -> None:
        """Wait for these words, and keep a picture of where they are."""
        for text in texts:
            self._wait.until(lambda _, text=text: text in self._shown(), text)
        self._pictures += 1
        picture(self._browser, f"day-{self._pictures}")

    def _shown(self) -> str:
        return " ".join(self._browser.find_element(By.TAG_NAME, "main").text.split())

    def downloaded(self, ending: str) -> list[str]:
        found = self._wait.until(lambda _: list(self.downloads.glob(f"*{ending}")))
        return str(found[0].read_text(encoding="utf-8")).splitlines()


def test_an_analysts_day_passes_in_the_browser(
    signed_in: webdriver.Chrome, site: Site, shop: World, customers: list[str], tmp_path: Path
) -> None:
    reader = Reader(signed_in, tmp_path)
    signed_in.get(f"{site.url}/windsor/")
    reader.fill(q="newsl")
    reader.press("Find")
    reader.reads("1 of 1 audience", NAME, "waits for approval", "1,100 withheld")
    left = customers[BEFORE - 1]
    reader.press("Users")
    reader.fill(user=left + Keys.ENTER)
    reader.reads("The user is not in the newest snapshot; Windsor was told true.", "withheld")
    reader.press(NAME)
    reader.reads("Members 900 users, snapshot", "Exited 1,100 users since", "Waits 1,100 1,100 withheld")

    reader.press("Decide about run 2")
    reader.fill(note="ask the shop first")
    reader.press("Refuse")
    reader.reads("refused by ana in Airflow", "“ask the shop first”")
    assert left in shop.members_shown(KEY)
    shop.sync(KEY)
    reader.press(NAME)
    reader.press("Decide about run 3")
    reader.fill(note="the list was cleaned")
    reader.press("Approve")
    reader.reads("waits for the next run", "at most 1,100 exits. “the list was cleaned”")
    shop.sync(KEY)
    assert shop.members_shown(KEY) == set(customers[:AFTER])
    reader.press(NAME)
    reader.reads(
        "In Windsor 900 true, 1,100 false",
        "Waits 0 changes",
        "sent in run 4",
        "refused by ana in Airflow, replaced by run 3",
    )

    reader.press("Backfill…")
    signed_in.find_element(By.CSS_SELECTOR, "option[value=resync]").click()
    reader.fill(limit=50, reason="try it with fifty")
    reader.press("Start")
    reader.reads("Started. See the run in Airflow")
    run = unquote((signed_in.find_element(By.CSS_SELECTOR, "#answer a").get_attribute("href") or "").rpartition("/")[2])
    send(shop, run)
    with site.client("ana") as client:
        address = f"/api/v2/dags/engage_audience_backfill/dagRuns/{quote(run, safe='')}"
        client.patch(address, json={"state": "success"}).raise_for_status()
    reader.reads("sent: 50 of 50 changes went out")
    reader.press("50 of 50 changes went out")
    reader.reads("1,950")

    reader.press(NAME)
    reader.press("Members (CSV)")
    assert len(reader.downloaded("members.csv")) == AFTER + 1


def send(shop: World, dag_run: str) -> None:
    """Do what the DAG's tasks do after the approval of the plan, because no scheduler runs here."""
    computation, trigger = shop.computation(KEY), f"airflow engage_audience_backfill {dag_run}"
    request = backfills.Wish(is_resync=True, limit=50, reason="try it with fifty").request(computation, trigger)
    plans = [backfills.plan(shop.workspace, computation, request)]
    backfills.permit(shop.workspace.database, trigger, plans, who="ana in Airflow", why=None)
    backfills.run_backfill(shop.workspace, computation, request, shop.stop)
