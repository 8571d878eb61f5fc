"""A long list: who needs a person comes first, and search, sorting, filters and pages lead to anybody."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select, update

from tests.support.history import USERS
from tests.support.world import KEY, World
from windsor_sync.domain.run import RunState
from windsor_sync.report.finding import LINES_A_PAGE, AudienceSearch, find_audiences
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.views import list_audiences, view_banner, view_run
from windsor_sync.sandbox import Faults
from windsor_sync.state.tables import audiences, runs, snapshots
from windsor_sync.usecases.request import Request

MANY = 600
WITHHELD, REJECTED = 411, 555


def fill(world: World) -> None:
    """Six hundred audiences that windsor.yaml syncs, each with one run; two of them need a person."""
    database = world.workspace.database
    moment = datetime.now(UTC)
    world.document["computed_traits"] = []
    world.document["audiences"] = [world.entry(f"Audience {i:03}", "vip", trait=f"key_{i:03}") for i in range(MANY)]
    world.reopen()
    name = world.workspace.settings.destination.name
    common = {
        "kind": "sync",
        "trigger": "a test",
        "held": [],
        "options": {},
        "started_at": moment,
        "finished_at": moment,
    }
    snapshot = {"checksum": "", "recipe": "", "taken_at": moment, "sealed_at": moment, "size_bytes": 0, "left_out": {}}
    with database.write() as connection:
        for i in range(MANY):
            state = {WITHHELD: "withheld", REJECTED: "rejected"}.get(i, "done")
            row = {"id": i + 1, "destination": name, "trait_key": f"key_{i:03}", "name": f"Audience {i:03}", "runs": 1}
            connection.execute(insert(audiences).values(**row, computation_class="audience", created_at=moment))
            connection.execute(
                insert(snapshots).values(id=i + 1, audience_id=i + 1, path=str(i), members=i, **snapshot)
            )
            run = {"id": f"run-{i}", "audience_id": i + 1, "number": 1, "state": state, "snapshot_id": i + 1, **common}
            connection.execute(insert(runs).values(**run, rejected=3 if i == REJECTED else 0))


def test_six_hundred_audiences_are_found(company: World) -> None:
    fill(company)

    def keys(**wanted: object) -> list[str]:
        return [line.key for line in find_audiences(company.workspace, AudienceSearch(**wanted)).lines]  # type: ignore[arg-type]

    first = find_audiences(company.workspace, AudienceSearch())
    assert [line.key for line in first.lines[:3]] == ["key_411", "key_555", "key_000"]
    assert (len(first.lines), first.pages, first.total, first.need_person) == (LINES_A_PAGE, 12, MANY, 2)
    assert keys(page=12)[-1] == keys(page=10_000)[-1] == "key_599"
    assert keys(state="person") == ["key_411", "key_555"]
    assert keys(state="waits") == ["key_555"]
    assert keys(text=" audience 07") == [f"key_07{i}" for i in range(10)]
    assert keys(text="KEY_123") == ["key_123"]
    assert keys(sort="members", is_descending=True)[:2] == ["key_599", "key_598"]
    assert keys(sort="waits", is_descending=True)[0] == "key_555"
    assert keys(text="nobody") == []
    assert keys(state="no such", sort="no such")[0] == "key_411"
    assert first.search.by("members") == {"sort": "members", "order": "down"}
    assert AudienceSearch(sort="members", is_descending=True).by("members") == {"sort": "members"}


def test_the_next_run_is_that_of_whichever_dag_syncs_the_audience(company: World) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    company.snapshot(USERS)
    company.sync(request=Request(trigger=f"airflow our_own_dag scheduled__{moment.isoformat()}"))
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at == moment + timedelta(hours=2, minutes=30)


def test_the_next_run_of_an_audience_follows_its_own_schedule(company: World) -> None:
    company.document["audiences"][0]["schedule"] = "15 7 * * mon Europe/Berlin"
    company.snapshot(USERS)
    last = datetime(2026, 10, 19, 5, 15, tzinfo=UTC)  # the Monday before the clocks are put back
    company.sync(request=Request(trigger=f"airflow engage_audience_sync_{KEY} scheduled__{last.isoformat()}"))
    (line,) = list_audiences(company.workspace).lines
    assert line.next_at == datetime(2026, 10, 26, 6, 15, tzinfo=UTC)


def test_a_banner_stands_while_the_key_is_refused_and_goes_with_the_first_run_that_is_answered(company: World) -> None:
    company.snapshot(USERS)
    company.windsor.set_faults(Faults(revoked_after=0))
    assert company.sync().state is RunState.REFUSED
    banner = view_banner(company.workspace)
    assert banner is not None
    assert banner.startswith("Windsor refuses the key since ")
    assert "windsor_default" in banner
    company.windsor.set_faults(Faults())
    company.sync()
    assert view_banner(company.workspace) is None


def test_a_run_on_its_way_shows_rate_and_time_left_and_a_dead_one_that_the_next_goes_on(company: World) -> None:
    company.snapshot(USERS)
    run = company.sync()
    began = datetime.now(UTC) - timedelta(seconds=50)
    with company.workspace.database.write() as connection:
        values = {"state": "open", "finished_at": None, "started_at": began, "delivered": 0}
        connection.execute(update(runs).where(runs.c.id == run.run_id).values(**values))
        options = connection.execute(select(runs.c.options).where(runs.c.id == run.run_id)).scalar_one()
        connection.execute(update(runs).where(runs.c.id == run.run_id).values(options={**options, "to_send": 400}))
    with company.workspace.hold(company.computation(KEY).key, "a test"):
        view = view_run(company.workspace, run.run_id)
    assert view is not None
    assert view.progress is not None
    assert (view.progress.done, view.progress.total, view.progress.is_running) == (200, 400, True)
    assert 3 < view.progress.a_second < 4.1
    assert view.progress.left is not None
    assert timedelta(seconds=45) < view.progress.left < timedelta(seconds=70)
    page = render("run.html", links=Links(""), view=view)
    assert "200 of 400 changes delivered" in page
    assert "data-refresh" in page
    dead = view_run(company.workspace, run.run_id)
    assert dead is not None
    assert "Nobody is delivering it" in render("run.html", links=Links(""), view=dead)
