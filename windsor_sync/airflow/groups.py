"""The rows of tasks that a DAG file puts together: one group an audience, and one for ordinary events."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, task_group

from windsor_sync.airflow.approval import ApproveOperator
from windsor_sync.airflow.backfill import NOTE, ApproveBackfillOperator, BackfillOperator, PlanBackfillOperator
from windsor_sync.airflow.choosing import ChooseAudiencesOperator
from windsor_sync.airflow.forwarding import ForwardEventsOperator
from windsor_sync.airflow.notifications.windsor import AudienceStateNotifier
from windsor_sync.airflow.operators.windsor import (
    CloseBooksOperator,
    DeliverApprovedOperator,
    DeliverOperator,
    DeliverShardOperator,
    DiffOperator,
    SealSnapshotOperator,
)
from windsor_sync.domain.progress import FIRST_SHARD

POOL = "windsor_api"
"""Bounds how many tasks talk to Windsor at once; `windsor-sync airflow-setup` makes it."""


def sync_audiences(
    audiences: dict[int, list[str]], interval: timedelta, then: Callable[[dict[str, Any]], Any] | None = None
) -> None:
    """A mapped group of tasks for the audiences of each number of delivery shards, which Airflow needs at parse time.

    `then` is told of changes of state: any notifier or callback (see AudienceStateNotifier).
    """
    told = _telling(then)
    for shards, keys in sorted(audiences.items()):
        group_id = "sync_audience" if shards == 1 else f"sync_audience_in_{shards}"
        task_group(group_id=group_id)(_sync_audience).partial(shards=shards, interval=interval, told=told).expand(
            audience=keys
        )


def sync_chosen(interval: timedelta, then: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Sync the audiences that the run's configuration names, each in its own tasks; `then` is told of new states."""
    chosen = ChooseAudiencesOperator(task_id="choose")
    task_group(group_id="sync_audience")(_sync_audience).partial(
        shards=1, interval=interval, told=_telling(then)
    ).expand(audience=chosen.output)


def forward_events(then: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """The group that forwards new events. It may stand in several DAGs: whichever comes second is skipped.

    `then` is told of changes of state, as above.
    """
    with TaskGroup("forward_events"):
        ForwardEventsOperator(task_id="forward", pool=POOL, **_telling(then))


def backfill_audiences(then: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Plan what the form asks for, have it approved, and send it: a task an audience."""
    planned = PlanBackfillOperator(task_id="plan")
    approved = ApproveBackfillOperator(
        task_id="approve", plans=planned.output, params=dict(NOTE), execution_timeout=None
    )
    task_group(group_id="backfill_audience")(_backfill_audience).partial(told=_telling(then)).expand(
        audience=approved.output
    )


def _backfill_audience(audience: str, told: dict[str, Any]) -> None:
    """Deliver what was approved."""
    BackfillOperator(task_id="deliver", audience=audience, pool=POOL, **told)


def _telling(then: Callable[[dict[str, Any]], Any] | None) -> dict[str, Any]:
    notifier = AudienceStateNotifier(then)
    return {"on_success_callback": notifier, "on_failure_callback": notifier}


def _sync_audience(audience: str, shards: int, interval: timedelta, told: dict[str, Any]) -> None:
    """Seal, diff and deliver; ask a person about what is withheld, and deliver what they approve."""
    failing = {"on_failure_callback": told["on_failure_callback"]}
    sealed = SealSnapshotOperator(task_id="seal", audience=audience, **failing)
    changes = DiffOperator(task_id="diff", audience=audience, sealed=sealed.output, **failing)
    delivered: Any
    if shards == 1:
        delivered = DeliverOperator(
            task_id="deliver", audience=audience, run=changes.output, asks=True, pool=POOL, **told
        )
    else:
        delivered = CloseBooksOperator(task_id="close_books", audience=audience, run=changes.output, asks=True, **told)
        changes >> delivered
        first = DeliverShardOperator(
            task_id="deliver_exits", audience=audience, run=changes.output, shard=FIRST_SHARD, pool=POOL
        )
        for shard in range(FIRST_SHARD + 1, FIRST_SHARD + shards + 1):
            task_id = f"deliver_{shard}_of_{shards}"
            share = DeliverShardOperator(task_id=task_id, audience=audience, run=changes.output, shard=shard, pool=POOL)
            changes >> first >> share >> delivered
    approved = ApproveOperator(
        task_id="approve", audience=audience, run=changes.output, interval=interval, execution_timeout=None
    )
    released = DeliverApprovedOperator(
        task_id="deliver_approved", audience=audience, run=changes.output, pool=POOL, **told
    )
    delivered >> approved >> released
