"""A snapshot that is too old, or from the future, is never taken for today's in silence."""

import json
import logging
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_remedies import run
from tests.support.world import KEY, TRAIT_KEY, World
from windsor_sync.domain.labels import moment
from windsor_sync.domain.run import RunState
from windsor_sync.errors import SnapshotError
from windsor_sync.report.document import report
from windsor_sync.report.finding import FILTERS, SORTS, AudienceSearch, find_audiences
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.views import list_audiences, view_audience
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.check import Level, examine
from windsor_sync.usecases.request import Request

STALE = r"is stale: it was taken at .*, 3 days ago, and max_age is 1d12h"


def old(world: World, days: float = 3, **settings: Any) -> Path:
    """A snapshot of two members that was written so many days ago."""
    world.document["defaults"] = settings
    world.reopen()
    path = world.snapshot({"ana", "ben"})
    moment = (datetime.now(UTC) - timedelta(days=days, hours=1)).timestamp()
    os.utime(path, (moment, moment))
    return path


def test_a_stale_snapshot_is_synced_and_every_run_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    old(world)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert world.sync().state is RunState.DONE
        assert len([record for record in caplog.records if "is stale" in record.getMessage()]) == 1
    assert world.shown() == {"ana": True, "ben": True}


def test_a_stale_snapshot_sends_nothing_where_it_must_not(world: World) -> None:
    path = old(world, max_age_action="fail")
    with pytest.raises(SnapshotError, match=rf"{STALE}.*Nothing was sent; the last good snapshot stands"):
        world.sync()
    with pytest.raises(SnapshotError, match=STALE):
        world.plan()
    assert world.shown() == {}
    assert world.sync(request=Request(kind="backfill", snapshot_path=str(path))).state is RunState.DONE


@pytest.mark.parametrize(("settings", "days"), [({"max_age": None}, 3), ({}, 1), ({"max_age": "4d"}, 3)])
def test_a_snapshot_that_may_be_as_old_as_it_is_is_not_stale(
    world: World, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], days: float
) -> None:
    old(world, days, **settings)
    with caplog.at_level(logging.WARNING):
        world.sync()
    assert "stale" not in caplog.text


def test_a_snapshot_may_have_an_age_of_its_own(world: World) -> None:
    world.document["audiences"][0]["snapshot"]["max_age"] = None
    old(world, max_age_action="fail")
    assert world.sync().state is RunState.DONE


@pytest.mark.parametrize(("action", "level"), [("warn", Level.WARNING), ("fail", Level.ERROR)])
def test_check_names_a_stale_snapshot(world: World, action: str, level: Level) -> None:
    old(world, max_age_action=action)
    (found,) = [finding for finding in examine(world.workspace) if "is stale" in finding.text]
    assert found.level is level


def test_audit_audiences_and_the_page_name_a_stale_snapshot(world: World) -> None:
    old(world)
    world.sync()
    (found,) = audit(world.workspace, repair=False)
    assert (found.audience, found.is_warning) == (KEY, True)
    assert "is stale" in found.text
    status, text = run(world, "audit")
    assert (status, "warning: " in text, "as it should be" in text) == (0, True, False)
    listed = {one["trait"]: one for one in json.loads(run(world, "audiences", "--json")[1])["audiences"]}
    assert "is stale" in listed[KEY]["warning"]
    assert listed[TRAIT_KEY]["warning"] is None
    assert "is stale" in run(world, "audiences")[1]
    for page in (list_audiences(world.workspace).lines[0], view_audience(world.workspace, KEY).line):  # type: ignore[union-attr]
        assert "is stale" in page.warnings[0]
    assert "is stale" in report(world.workspace)


def test_the_age_of_a_snapshot_stands_where_its_members_do(world: World) -> None:
    old(world, max_age=None)
    taken_at = world.sync().taken_at
    assert re.search(rf"{KEY} +3 days old +2 ", run(world, "plan", KEY)[1])
    assert re.search(rf"{KEY} +audience +3 days ", run(world, "audiences")[1])
    links, found = Links(""), find_audiences(world.workspace, AudienceSearch())
    assert ">3 days old</time>" in render("audiences.html", found=found, links=links, filters=FILTERS, sorts=SORTS)
    view = view_audience(world.workspace, KEY)
    assert ">3 days old</time>" in render("audience.html", view=view, links=links, is_paged=False, may_start=False)
    assert f">{moment(taken_at)}</time>" in report(world.workspace)


def test_a_snapshot_from_the_future_is_refused_until_it_is_gone(world: World) -> None:
    world.document["audiences"][0]["snapshot"]["taken_at"] = "%Y-%m-%d"
    world.reopen()
    folder = world.folder / "snapshots/audience"
    folder.mkdir(parents=True)
    (folder / "vip_2062-01-31.csv").write_text("user_id\nana\n")
    (folder / "vip_2026-01-31.csv").write_text("user_id\nben\n")
    with pytest.raises(
        SnapshotError, match=r"vip_2062-01-31\.csv is from the future: the date in its path is 2062-01-31"
    ):
        world.sync()
    (folder / "vip_2062-01-31.csv").unlink()
    world.sync()
    assert world.shown() == {"ben": True}


@pytest.mark.parametrize(("minutes", "is_refused"), [(4, False), (7, True)])
def test_clocks_may_differ_by_minutes(world: World, minutes: int, *, is_refused: bool) -> None:
    path = old(world)
    ahead = (datetime.now(UTC) + timedelta(minutes=minutes)).timestamp()
    os.utime(path, (ahead, ahead))
    if is_refused:
        with pytest.raises(SnapshotError, match=r"its modification time is .* touch the file"):
            world.sync()
    else:
        assert world.sync().state is RunState.DONE
