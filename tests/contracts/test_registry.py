"""Which key an audience has: pinned at its first sync, moved by no rename, given to nobody else."""

import threading

import pytest
from sqlalchemy import select, update

from tests.contracts.stage import MOMENT, Stage, Wanted
from windsor_sync.errors import ConfigError
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.state.audiences import Registered, Registry
from windsor_sync.state.database import Database, open_database
from windsor_sync.state.tables import audiences


@pytest.fixture
def registry(stage: Stage) -> Registry:
    """The audiences of one destination."""
    return stage.registry


def retire(database: Database, key: str) -> None:
    """Retire an audience as its last run would."""
    with database.write() as connection:
        connection.execute(update(audiences).where(audiences.c.trait_key == key).values(retired_at=MOMENT))


def test_looking_an_audience_up_pins_nothing(registry: Registry) -> None:
    assert registry.find(Wanted("Big Spenders")) == Registered(Wanted("Big Spenders").key, 0, None)
    assert registry.known() == []


def test_the_first_sync_pins_the_key_and_later_ones_find_it(registry: Registry) -> None:
    pinned = registry.register(Wanted("Big Spenders"))
    assert (pinned.key, pinned.runs) == ("big_spenders", 0)
    assert pinned.audience_id is not None
    assert registry.register(Wanted("Big Spenders")) == registry.find(Wanted("Big Spenders")) == pinned
    assert registry.by_id(pinned.audience_id) == pinned


def test_the_number_of_its_newest_run_comes_with_an_audience(stage: Stage) -> None:
    audience_id = stage.audience()
    stage.open(audience_id, number=1)
    stage.open(audience_id, number=2)
    assert stage.registry.find(Wanted("VIP")).runs == 2


def test_a_rename_in_segment_keeps_the_key(registry: Registry) -> None:
    pinned = registry.register(Wanted("Big Spenders", id="aud_1"))
    assert registry.register(Wanted("Whales", id="aud_1")) == pinned
    assert registry.find(Wanted("Whales", id="aud_1")) == pinned
    assert [(row.name, row.trait_key) for row in registry.known()] == [("Whales", "big_spenders")]


def test_a_pinned_trait_is_not_moved_by_a_setting(registry: Registry) -> None:
    registry.register(Wanted("Big Spenders", id="aud_1"))
    with pytest.raises(ConfigError, match=r"synced under the trait big_spenders.*now says whales.*retire"):
        registry.register(Wanted("Big Spenders", id="aud_1", trait="whales"))
    assert registry.register(Wanted("Big Spenders", id="aud_1", trait="big_spenders")).key == "big_spenders"


def test_a_key_that_is_someone_elses_is_refused(registry: Registry) -> None:
    registry.register(Wanted("Big Spenders", id="aud_1"))
    for look in (registry.find, registry.register):
        with pytest.raises(ConfigError, match=r"belongs to Big Spenders \(aud_1\)"):
            look(Wanted("Big  spenders", id="aud_2"))


def test_an_audience_and_a_computed_trait_do_not_share_a_key(registry: Registry) -> None:
    registry.register(Wanted("Score"))
    with pytest.raises(ConfigError, match="it has been synced as"):
        registry.register(Wanted("Score", computation_class=ComputationClass.TRAIT))


def test_a_key_that_windsor_needs_for_itself_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="email"):
        registry.register(Wanted("Email"))
    assert registry.known() == []


def test_a_retired_key_is_not_used_again_unless_asked_for_and_its_runs_go_on_counting(stage: Stage) -> None:
    audience_id = stage.audience("VIP")
    stage.open(audience_id, number=1)
    retire(stage.database, "vip")
    with pytest.raises(ConfigError, match="reuse_key"):
        stage.registry.register(Wanted("VIP"))
    again = stage.registry.register(Wanted("VIP", reuse_key=True))
    assert (again.audience_id, again.runs) == (audience_id, 1)
    with stage.database.read() as connection:
        assert connection.execute(select(audiences.c.retired_at)).scalar_one() is None


def test_destinations_know_nothing_of_each_others_audiences(stage: Stage) -> None:
    other = Registry(stage.database, "another")
    stage.audience("VIP")
    assert other.find(Wanted("VIP")).audience_id is None
    assert other.register(Wanted("VIP", id="aud_9")).audience_id != stage.audience("VIP")
    assert len(other.known()) == len(stage.registry.known()) == 1


def test_first_syncs_at_the_same_moment_pin_one_audience(state_url: str) -> None:
    databases = [open_database(state_url) for _ in range(4)]
    for number in range(8):
        barrier = threading.Barrier(len(databases))
        found: list[Registered] = []

        def register(
            database: Database, name: str = f"Audience {number}", barrier: threading.Barrier = barrier
        ) -> None:
            barrier.wait()
            found.append(Registry(database, "windsor").register(Wanted(name)))  # noqa: B023

        threads = [threading.Thread(target=register, args=[database]) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(databases)
        assert len(set(found)) == 1
    for database in databases:
        database.close()
