"""`approve`, where there is nothing to approve, and what it tells programs."""

from tests.cli.test_command_line import Cli, cli
from tests.support.world import KEY, World

__all__ = ["cli"]

CROWD = [f"user-{number}" for number in range(150)]


def trip(world: World) -> list[str]:
    """140 of 150 members left, two runs long; returns the runs, newest last."""
    world.snapshot(CROWD)
    world.sync()
    world.snapshot(CROWD[:10])
    return [world.sync().run_id for _ in range(2)]


def test_an_approval_of_a_run_that_never_was_says_where_the_runs_are(cli: Cli, world: World) -> None:
    ran = cli("approve", "no-such-run", "--max-exited", "5")
    assert (ran.status, ran.out) == (2, "")
    assert "There is no run no-such-run. Nothing was approved. `windsor-sync runs` lists the newest." in ran.err


def test_an_approval_without_a_number_is_a_usage_error(cli: Cli, world: World) -> None:
    newest = trip(world)[-1]
    ran = cli("approve", newest)
    assert (ran.status, "Say how many: --max-exited N, --max-entered N, or both." in ran.err) == (2, True)
    assert world.sync().books.withheld == 140


def test_an_approval_of_an_older_run_names_the_newest_and_approves_nothing(cli: Cli, world: World) -> None:
    older, newest = trip(world)
    ran = cli("approve", older, "--max-exited", "140")
    assert ran.status == 2
    assert f"Run {older} is not the newest of {KEY}: {newest} is. Nothing was approved." in ran.err
    assert world.sync().books.withheld == 140


def test_an_approval_tells_programs_what_was_allowed_and_who_by(cli: Cli, world: World) -> None:
    newest = trip(world)[-1]
    ran = cli("approve", newest, "--max-exited", "140", "--json")
    assert ran.status == 0
    assert ran.json.pop("by")
    assert {name: ran.json[name] for name in ("audience", "run", "max_exited", "max_entered")} == {
        "audience": KEY,
        "run": newest,
        "max_exited": 140,
        "max_entered": None,
    }
    assert world.sync().books.delivered == 140
