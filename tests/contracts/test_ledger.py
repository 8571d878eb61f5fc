"""The ledger: what Windsor acknowledged moves only forward, whole commits at a time, under the lease."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from tests.contracts.stage import MOMENT, Stage, seqs, stretches, verdict
from windsor_sync.domain.progress import ShardProgress, Stretch
from windsor_sync.domain.run import RunState
from windsor_sync.errors import LeaseLost
from windsor_sync.state.leases import acquire
from windsor_sync.state.ledger import Head, Verdict
from windsor_sync.state.runs import run_of
from windsor_sync.state.tables import audiences


def run_row(stage: Stage, audience_id: int, run_id: str) -> dict[str, object]:
    """A second run as a row of the runs table, for tests that open it themselves."""
    return stage.row(audience_id, run_id, number=2)


def head_of(stage: Stage, audience_id: int) -> Head:
    """The ledger's head, which has to be there."""
    head = stage.ledger.head(audience_id)
    assert head is not None
    return head


def test_an_audience_that_was_never_synced_has_no_head(stage: Stage) -> None:
    assert stage.ledger.head(stage.audience()) is None


def test_opening_a_run_makes_it_the_head_with_every_change_owed(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=10, number=1, shards=2, held=["exited"])
    head = head_of(stage, audience_id)
    assert (head.run_id, head.number, head.members, head.taken_at) == (run_id, 1, 3, MOMENT)
    assert head.snapshot is not None
    assert head.snapshot.endswith(f"snapshots/{audience_id}.parquet")
    assert head.outbox is not None
    assert head.outbox.endswith(f"outboxes/{run_id}.parquet")
    assert (head.held, head.is_settled) == (("exited",), False)
    assert head.shards == tuple(stretches(10, 2))
    assert head.verdicts == ()
    assert stage.registry.by_id(audience_id).runs == 1


def test_the_head_names_the_snapshot_it_was_made_of(stage: Stage) -> None:
    audience_id = stage.audience()
    snapshot_id = stage.snapshot(audience_id, checksum="d" * 64)
    stage.snapshot(audience_id, checksum="e" * 64)
    stage.open(audience_id, snapshot_id=snapshot_id)
    head = head_of(stage, audience_id)
    assert (head.snapshot_id, head.checksum) == (snapshot_id, "d" * 64)


def test_a_run_without_a_snapshot_and_without_changes_has_no_files_and_the_time_of_its_start(stage: Stage) -> None:
    audience_id = stage.audience()
    stage.open(audience_id, rows=0, number=2, snapshot_id=None, outbox=None)
    head = head_of(stage, audience_id)
    assert (head.snapshot_id, head.snapshot, head.checksum, head.outbox) == (None, None, None, None)
    assert (head.members, head.taken_at) == (0, MOMENT + timedelta(hours=2))


def test_each_audience_has_a_head_of_its_own(stage: Stage) -> None:
    vip, dormant = stage.audience("VIP"), stage.audience("Dormant")
    runs = [stage.open(vip, number=1), stage.open(dormant, number=1), stage.open(vip, number=2)]
    assert [head_of(stage, audience).run_id for audience in (dormant, vip)] == runs[1:]


def test_a_run_whose_changes_are_all_delivered_is_settled(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=4)
    found = run_of(stage.database, run_id)
    assert found is not None
    for delivered, is_settled in ((3, False), (4, True)):
        books = replace(found.books, delivered=delivered, owed=4 - delivered)
        stage.finish(run_id, RunState.DONE, books, MOMENT, "done")
        assert head_of(stage, audience_id).is_settled is is_settled


@pytest.mark.parametrize(("owed", "rejected", "withheld"), [(2, 0, 0), (0, 2, 0), (0, 0, 2), (0, 1, 1), (1, 1, 0)])
def test_a_run_is_not_settled_while_a_change_is_owed_rejected_or_withheld(
    stage: Stage, owed: int, rejected: int, withheld: int
) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=4)
    found = run_of(stage.database, run_id)
    assert found is not None
    books = replace(found.books, delivered=2, owed=owed, rejected=rejected, withheld=withheld)
    stage.finish(run_id, RunState.DONE, books, MOMENT, "done")
    assert not head_of(stage, audience_id).is_settled


def test_a_run_is_opened_whole_or_not_at_all(stage: Stage) -> None:
    audience_id = stage.audience()
    before = stage.open(audience_id, number=1)
    row = run_row(stage, audience_id, "torn")
    two_of_one_number = [*stretches(4, 1), *stretches(4, 1)]
    with stage.lease(audience_id) as lease, pytest.raises(IntegrityError):
        stage.ledger.open_run(lease, row, two_of_one_number)
    assert head_of(stage, audience_id).run_id == before
    assert run_of(stage.database, "torn") is None
    assert stage.registry.by_id(audience_id).runs == 1


def test_a_number_is_given_to_one_run_only(stage: Stage) -> None:
    audience_id = stage.audience()
    stage.open(audience_id, number=1)
    with pytest.raises(IntegrityError):
        stage.open(audience_id, number=1, id="another")
    assert run_of(stage.database, "another") is None


def test_what_else_belongs_to_opening_a_run_is_committed_with_it_or_not_at_all(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    retire = update(audiences).values(retired_at=MOMENT)
    row = run_row(stage, audience_id, "closing")

    def fail(connection: object) -> None:
        raise ZeroDivisionError

    def retired_at() -> object:
        with stage.database.read() as connection:
            return connection.execute(select(audiences.c.retired_at)).scalar_one()

    with stage.lease(audience_id) as lease:
        with pytest.raises(ZeroDivisionError):
            stage.ledger.open_run(lease, row, [], [lambda c: c.execute(retire) and None, fail])
        assert (head_of(stage, audience_id).run_id, retired_at()) == (run_id, None)
        stage.ledger.open_run(lease, row, [], [lambda c: c.execute(retire) and None])
        assert (head_of(stage, audience_id).run_id, retired_at()) == ("closing", MOMENT)


def test_a_checkpoint_moves_the_shards_it_names_and_no_other(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=10, shards=2)
    first, second = stretches(10, 2)
    moved = replace(first, position=3, reach=5, delivered=2)
    with stage.lease(audience_id) as lease:
        stage.ledger.checkpoint(lease, run_id, [moved], [verdict(1), verdict(4, Verdict.DELIVERED, 200, "")])
    head = head_of(stage, audience_id)
    assert head.shards == (moved, second)
    assert [(one.seq, one.verdict, one.code) for one in head.verdicts] == [
        (1, Verdict.REJECTED, 400),
        (4, Verdict.DELIVERED, 200),
    ]
    assert head.verdicts[0] == verdict(1)


def test_a_checkpoint_of_one_run_leaves_the_rows_of_another_alone(stage: Stage) -> None:
    vip, dormant = stage.audience("VIP"), stage.audience("Dormant")
    runs = {audience: stage.open(audience) for audience in (vip, dormant)}
    with stage.lease(vip) as lease:
        stage.ledger.checkpoint(lease, runs[vip], [ShardProgress(0, 0, 10, 10, 10, 9)], [verdict(0)])
    assert head_of(stage, dormant).shards == tuple(stretches(10, 1))
    assert head_of(stage, dormant).verdicts == ()


def test_a_later_verdict_on_a_row_replaces_the_earlier_one(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    with stage.lease(audience_id) as lease:
        stage.ledger.checkpoint(lease, run_id, [], [verdict(2, Verdict.UNANSWERED, 503), verdict(7)])
        stage.ledger.checkpoint(lease, run_id, [], [verdict(2, Verdict.DELIVERED, 202)])
    assert [(one.seq, one.code) for one in head_of(stage, audience_id).verdicts] == [(2, 202), (7, 400)]


def test_a_later_verdict_replaces_none_of_another_runs(stage: Stage) -> None:
    audience_id = stage.audience()
    first, second = (stage.open(audience_id, number=number) for number in (1, 2))
    with stage.lease(audience_id) as lease:
        for run_id in (first, second, second):
            stage.ledger.checkpoint(lease, run_id, [], [verdict(2)])
    assert stage.ledger.decided(first) == stage.ledger.decided(second) == {2}


def test_verdicts_are_read_in_the_order_of_their_rows_however_they_came_in(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    with stage.lease(audience_id) as lease:
        for seq in (7, 2, 9, 0):
            stage.ledger.checkpoint(lease, run_id, [], [verdict(seq)])
    assert seqs(head_of(stage, audience_id).verdicts) == [0, 2, 7, 9]


def test_a_checkpoint_with_more_verdicts_than_a_window_holds_is_recorded(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=10_000)
    with stage.lease(audience_id) as lease:
        for _ in range(2):
            stage.ledger.checkpoint(lease, run_id, [], [verdict(seq) for seq in range(5_000)])
    assert stage.ledger.rejections(run_id) == [(400, "no", 5_000)]


def test_a_checkpoint_that_fails_half_way_changes_nothing(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    with stage.lease(audience_id) as lease:
        stage.ledger.checkpoint(lease, run_id, [], [verdict(0)])
        before = head_of(stage, audience_id)
        with pytest.raises(IntegrityError):  # one row twice
            stage.ledger.checkpoint(
                lease, run_id, [ShardProgress(0, 0, 10, 9, 10, 9)], [verdict(0, code=413), verdict(1), verdict(1)]
            )
    assert head_of(stage, audience_id) == before


def test_a_checkpoint_with_a_token_that_is_no_longer_the_newest_changes_nothing(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    paused = acquire(stage.database, f"audience {audience_id}", "paused", ttl_s=0)
    with stage.lease(audience_id) as successor:
        stage.ledger.checkpoint(successor, run_id, [ShardProgress(0, 0, 10, 5, 8, 4)], [verdict(3)])
        before = head_of(stage, audience_id)
        with pytest.raises(LeaseLost):
            stage.ledger.checkpoint(paused, run_id, [ShardProgress(0, 0, 10, 10, 10, 9)], [verdict(3, code=413)])
        assert head_of(stage, audience_id) == before
        with pytest.raises(LeaseLost):
            stage.ledger.resume(paused, run_id)
    assert head_of(stage, audience_id) == before


def test_a_writer_that_lost_its_lease_opens_no_run(stage: Stage) -> None:
    audience_id = stage.audience()
    before = stage.open(audience_id, number=1)
    paused = acquire(stage.database, f"audience {audience_id}", "paused", ttl_s=0)
    row = run_row(stage, audience_id, "late")
    with pytest.raises(LeaseLost):
        stage.ledger.open_run(paused, row, stretches(4, 1))
    assert head_of(stage, audience_id).run_id == before
    assert run_of(stage.database, "late") is None


def test_resuming_tries_again_what_was_left_unanswered_and_keeps_what_is_in_doubt(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=20, shards=2)
    answered = Stretch(7, 9, is_answered=True)
    marks = [ShardProgress(0, 0, 10, 4, 6, 3, (answered,)), ShardProgress(1, 10, 20, 10, 12, 0)]
    given = [
        verdict(1, Verdict.UNANSWERED, 429),
        verdict(2),
        verdict(3, Verdict.UNANSWERED, 503, in_doubt=True),
        verdict(8, Verdict.UNANSWERED, 503, in_doubt=True),
        verdict(12, Verdict.UNANSWERED, 503, in_doubt=True),
        verdict(11),
    ]
    with stage.lease(audience_id) as lease:
        stage.ledger.checkpoint(lease, run_id, marks, given)
        shards = stage.ledger.resume(lease, run_id)
    first, second = shards
    assert [seq for seq in range(10) if first.has_answer(seq)] == [0, 2, 7]
    assert [seq for seq in range(10) if first.is_in_doubt(seq)] == [3, 4, 5, 8]
    assert [seq for seq in range(10, 20) if second.is_in_doubt(seq)] == [10, 11, 12]
    assert head_of(stage, audience_id).shards == shards
    assert seqs(head_of(stage, audience_id).verdicts) == [2, 11]
    assert stage.ledger.decided(run_id) == {2, 11}


def test_resuming_one_shard_leaves_the_others_to_whoever_delivers_them(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=20, shards=2)
    first, second = stretches(20, 2)
    with stage.lease(audience_id) as lease:
        given = [verdict(seq, Verdict.UNANSWERED, 503, in_doubt=True) for seq in (3, 12)]
        stage.ledger.checkpoint(lease, run_id, [], given)
        for shard in (0, 1):
            stage.ledger.end_shard(lease, run_id, shard, "unavailable", "no answer")
        again = replace(second, reach=13, stretches=(Stretch(10, 12, is_answered=False),))
        assert stage.ledger.resume(lease, run_id, only=1) == (again,)
        assert stage.ledger.resume(lease, run_id, only=2) == ()
    assert head_of(stage, audience_id).shards == (first, again)
    assert stage.ledger.decided(run_id) == {3}
    assert stage.ledger.endings(run_id) == [("unavailable", "no answer"), (None, None)]


def test_resuming_a_run_leaves_another_runs_progress_and_verdicts_alone(stage: Stage) -> None:
    audience_id = stage.audience()
    runs = [stage.open(audience_id, number=number) for number in (1, 2)]
    with stage.lease(audience_id) as lease:
        for run_id in runs:
            stage.ledger.checkpoint(lease, run_id, [], [verdict(8, Verdict.UNANSWERED, 503)])
            stage.ledger.end_shard(lease, run_id, 0, "unavailable", "no answer")
        stage.ledger.resume(lease, runs[1])
    before = stage.ledger.of_run(runs[0])
    assert before is not None
    assert (before.shards, seqs(before.verdicts)) == (tuple(stretches(10, 1)), [8])
    assert stage.ledger.endings(runs[0]) == [("unavailable", "no answer")]


def test_how_each_shard_ended_is_kept_in_their_order_until_it_is_taken_up_again(stage: Stage) -> None:
    vip, dormant = stage.audience("VIP"), stage.audience("Dormant")
    runs = {audience: stage.open(audience, rows=9, shards=3) for audience in (vip, dormant)}
    with stage.lease(vip) as lease:
        stage.ledger.end_shard(lease, runs[vip], 2, "refused", "the key")
        stage.ledger.end_shard(lease, runs[vip], 0, "done", None)
        assert stage.ledger.endings(runs[vip]) == [("done", None), (None, None), ("refused", "the key")]
        stage.ledger.resume(lease, runs[vip])
    assert stage.ledger.endings(runs[vip]) == [(None, None)] * 3
    assert stage.ledger.endings(runs[dormant]) == [(None, None)] * 3


def test_rejections_taken_back_are_owed_again_however_many_and_no_other_row_is(stage: Stage) -> None:
    audience_id = stage.audience()
    other, run_id = (stage.open(audience_id, rows=2_000, number=number) for number in (1, 2))
    rejected = [verdict(seq, code=404) for seq in range(1_200)]
    with stage.lease(audience_id) as lease:
        for one in (other, run_id):
            stage.ledger.checkpoint(lease, one, [], rejected)
        stage.ledger.reopen(lease, run_id, range(1_101))
        stage.ledger.reopen(lease, run_id, [])
    found = head_of(stage, audience_id).verdicts
    assert seqs([one for one in found if one.verdict is Verdict.UNANSWERED]) == [*range(1_101)]
    assert [one for one in found if one.verdict is not Verdict.UNANSWERED] == rejected[1_101:]
    assert stage.ledger.rejections(other) == [(404, "no", 1_200)]


def test_a_writer_that_lost_its_lease_ends_no_shard_and_takes_nothing_back(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    paused = acquire(stage.database, f"audience {audience_id}", "paused", ttl_s=0)
    with stage.lease(audience_id) as successor:
        stage.ledger.checkpoint(successor, run_id, [], [verdict(3)])
        with pytest.raises(LeaseLost):
            stage.ledger.end_shard(paused, run_id, 0, "done", None)
        with pytest.raises(LeaseLost):
            stage.ledger.reopen(paused, run_id, [3])
    assert stage.ledger.endings(run_id) == [(None, None)]
    assert stage.ledger.rejections(run_id) == [(400, "no", 1)]


def test_resuming_a_run_without_verdicts_changes_nothing(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=10, shards=5)
    before = head_of(stage, audience_id)
    with stage.lease(audience_id) as lease:
        assert stage.ledger.resume(lease, run_id) == before.shards
    assert head_of(stage, audience_id) == before


def test_rejections_are_counted_by_code_and_message_most_frequent_first(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id)
    decided = [
        verdict(0, message="too large"),
        *(verdict(seq, code=413, message="too large") for seq in (1, 2, 3, 8)),
        *(verdict(seq, message="bad id") for seq in (4, 5)),
        verdict(6, Verdict.UNANSWERED, 503, "later"),
        verdict(7, Verdict.DELIVERED, 200, ""),
    ]
    with stage.lease(audience_id) as lease:
        stage.ledger.checkpoint(lease, run_id, [], decided)
    assert stage.ledger.rejections(run_id) == [(413, "too large", 4), (400, "bad id", 2), (400, "too large", 1)]
    assert stage.ledger.rejections("another run") == []


def test_the_ledger_of_an_older_run_can_still_be_read(stage: Stage) -> None:
    audience_id = stage.audience()
    first, second = (stage.open(audience_id, number=number) for number in (1, 2))
    older = stage.ledger.of_run(first)
    assert older is not None
    assert (older.run_id, head_of(stage, audience_id).run_id) == (first, second)
    assert stage.ledger.of_run("never") is None


def test_a_head_is_of_one_moment_while_delivery_goes_on(stage: Stage) -> None:
    audience_id = stage.audience()
    run_id = stage.open(audience_id, rows=10)
    later = MOMENT + timedelta(days=1)
    with stage.lease(audience_id) as lease, stage.database.read() as connection:
        assert stage.ledger.shards(connection, run_id) == tuple(stretches(10, 1))
        answered = replace(verdict(0), answered_at=later)
        stage.ledger.checkpoint(lease, run_id, [ShardProgress(0, 0, 10, 10, 10, 9)], [answered])
        assert stage.ledger.shards(connection, run_id) == tuple(stretches(10, 1))
    assert head_of(stage, audience_id).verdicts == (answered,)
