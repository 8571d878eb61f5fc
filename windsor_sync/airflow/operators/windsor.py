"""The tasks of a sync, one use case each. XCom carries counts, paths and ids of runs; never a user."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from windsor_sync.airflow.assets import AUDIENCES, changed
from windsor_sync.airflow.audience_task import AudienceOperator, counts, run_named, skip_if_overtaken
from windsor_sync.airflow.metrics import Meter, owed
from windsor_sync.airflow.schedules import BACKFILL, is_dated
from windsor_sync.airflow.windsor_task import trigger_of

if TYPE_CHECKING:
    from windsor_sync.delivery.bounds import Delivery
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.domain.run import Run
    from windsor_sync.settings import Computation
    from windsor_sync.usecases.request import Request
    from windsor_sync.usecases.workspace import Workspace


def request_of(context: Context, computation: "Computation") -> "Request":
    """Return what a run is to do: in a run of Airflow's backfill, the snapshot as of its logical date.

    Raises AirflowSkipException where the audience's files are not dated: their older snapshots cannot be told apart.
    """
    from windsor_sync.usecases.request import Request
    from windsor_sync.usecases.seal import path_as_of

    trigger, dag_run = trigger_of(context), context.get("dag_run")
    if getattr(dag_run, "run_type", None) != BACKFILL:
        return Request(trigger=trigger)
    if not is_dated(computation):
        raise AirflowSkipException(
            f"{computation.name} has no snapshot.taken_at in windsor.yaml, so which of its files belongs to a past day is not "
            "known. Nothing was sent; the next scheduled run takes the newest."
        )
    moment = getattr(dag_run, "logical_date", None) or context["logical_date"]
    path = path_as_of(computation, moment)
    return Request("backfill", trigger, f"as of {moment:%Y-%m-%d %H:%M} UTC", snapshot_path=path, is_in_order=True)


class SealSnapshotOperator(AudienceOperator):
    """Read and check the audience's newest snapshot."""

    _sealed: "tuple[Computation, int] | None" = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the snapshot's id and counts."""
        from windsor_sync.usecases.run_lifecycle import seal_newest

        with self.opened() as (workspace, computation):
            snapshot = seal_newest(workspace, computation, request_of(context, computation))
        self._sealed = computation, snapshot.members
        self.log.info(
            "%s: %s members in the snapshot of %s",
            self.audience,
            f"{snapshot.members:,}",
            snapshot.taken_at.isoformat(),
        )
        return {
            "audience": self.audience,
            "snapshot_id": snapshot.snapshot_id,
            "taken_at": snapshot.taken_at.isoformat(),
            "rows_read": snapshot.rows_read,
            "members": snapshot.members,
        }

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """The source file, and the audience it holds."""
        from windsor_sync.airflow import lineage

        return lineage.sealing(*self._sealed) if self._sealed else lineage.nothing()


class DiffOperator(AudienceOperator):
    """Compare the sealed snapshot with what Windsor was told and open a run with the changes."""

    template_fields: Sequence[str] = ("audience", "sealed")
    follows = "sealed"

    def __init__(self, *, sealed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sealed = sealed

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the run's id and counts, under the key that windsor.yaml has for the audience."""
        from windsor_sync.usecases.run_lifecycle import open_run
        from windsor_sync.usecases.seal import recorded

        with self.opened() as (workspace, computation):
            request = request_of(context, computation)
            known = workspace.registry.register(computation)
            snapshot = recorded(workspace.database, workspace.files, self.sealed["snapshot_id"])
            with workspace.hold(known.key, request.trigger) as lease, superseded_is_skipped(workspace, self.audience):
                run = open_run(workspace, computation, known, snapshot, request, lease)
        self.log.info(
            "%s: %s entered, %s exited, %s updated, %s moved",
            self.audience,
            f"{run.books.entered:,}",
            f"{run.books.exited:,}",
            f"{run.books.updated:,}",
            f"{run.books.moved:,}",
        )
        return {**counts(run), "audience": self.audience}


@contextmanager
def superseded_is_skipped(workspace: "Workspace", audience: str) -> Iterator[None]:
    """Skip the task, instead of failing it, where Windsor was told a newer snapshot; somebody looked, so nothing is late."""
    from windsor_sync.errors import SnapshotSuperseded
    from windsor_sync.usecases.alerts import after_failure

    try:
        yield
    except SnapshotSuperseded as error:
        after_failure(workspace, audience, error)
        raise AirflowSkipException(f"superseded: {error}") from None


class SendingOperator(AudienceOperator):
    """A task that tells Windsor."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns counts; raises what stopped it, or what the run's state stands for."""
        stop = self.cancel_token()
        with self.opened(sends=True) as (workspace, computation):
            self._meter = Meter(self.audience)
            try:
                return self.send(context, workspace, computation, stop)
            finally:
                self._meter.emit()

    def send(
        self, context: Context, workspace: "Workspace", computation: "Computation", stop: "CancelToken"
    ) -> dict[str, Any]:
        """The use case."""
        raise NotImplementedError

    def report(self, run: "Run", delivery: "Delivery") -> None:
        """Log a checkpoint."""
        self._meter.follow(delivery)
        self.log.info(
            "%s: %s of %s changes delivered", run.audience, f"{delivery.delivered:,}", f"{run.books.changes:,}"
        )


class ClosingOperator(AudienceOperator):
    """A task that ends with a run's closed books: its colour is the run's, and its Asset says that Windsor changed.

    With `asks`, changes that are withheld are no failure of this task: a task after it asks a person.
    """

    _told: tuple[str, str, int] | None = None

    def __init__(self, *, asks: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AUDIENCES])
        super().__init__(**kwargs)
        self.asks = asks

    def closed(self, context: Context, run: "Run", workspace: "Workspace") -> dict[str, Any]:
        """Returns the books; raises what the run's state stands for unless everything was delivered."""
        from windsor_sync.domain.run import RunState
        from windsor_sync.usecases.close_run import error_of

        owed(run.audience, run.books.changes - run.books.delivered)
        self._told = run.audience, workspace.settings.destination.name, run.books.delivered
        error = error_of(run)
        if error and not (self.asks and run.state is RunState.WITHHELD):
            raise error
        if run.books.delivered:
            changed(context, run.audience, counts(run))
        return counts(run)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """The audience, and its trait in Windsor with the number of users who were told."""
        from windsor_sync.airflow import lineage

        return lineage.delivery(*self._told) if self._told else lineage.nothing()


class DeliverOperator(SendingOperator, ClosingOperator):
    """Tell Windsor what a run found out, and close its books."""

    template_fields: Sequence[str] = ("audience", "run")
    follows = "run"

    def __init__(self, *, run: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run

    def send(
        self, context: Context, workspace: "Workspace", computation: "Computation", stop: "CancelToken"
    ) -> dict[str, Any]:
        """All shards of the run, in one process."""
        from windsor_sync.usecases.run_lifecycle import deliver_run

        known = workspace.registry.register(computation)
        run = run_named(workspace, self.run)
        skip_if_overtaken(workspace, run)
        with workspace.hold(known.key, trigger_of(context)) as lease:
            run = deliver_run(workspace, computation, run, lease, stop, self.report)
        return self.closed(context, run, workspace)


class DeliverShardOperator(SendingOperator):
    """Tell Windsor one shard of a run, beside tasks that deliver the others; CloseBooksOperator comes after them."""

    template_fields: Sequence[str] = ("audience", "run")
    follows = "run"

    def __init__(self, *, run: Any, shard: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run
        self.shard = shard

    def send(
        self, context: Context, workspace: "Workspace", computation: "Computation", stop: "CancelToken"
    ) -> dict[str, Any]:
        """One shard, under its own lease."""
        from windsor_sync.usecases.deliver_shards import deliver_shard

        known = workspace.registry.register(computation)
        run = run_named(workspace, self.run)
        skip_if_overtaken(workspace, run)
        with workspace.hold(known.key, trigger_of(context), self.shard) as lease:
            outcome = deliver_shard(workspace, computation, run, self.shard, lease, stop, self.report)
        return {
            "run": run.run_id,
            "audience": run.audience,
            "shard": self.shard,
            "delivered": outcome.delivered,
            "rejected": outcome.rejected,
        }


class CloseBooksOperator(ClosingOperator):
    """Close the books of a run that was delivered by several tasks; its colour is the run's."""

    template_fields: Sequence[str] = ("audience", "run")
    follows = "run"
    can_wait_for_windsor = False

    def __init__(self, *, run: Any, **kwargs: Any) -> None:
        kwargs.setdefault("trigger_rule", "all_done_min_one_success")
        super().__init__(**kwargs)
        self.run = run

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the books; raises what the run's state stands for unless everything was delivered."""
        from windsor_sync.usecases.deliver_shards import close_books

        with self.opened() as (workspace, computation):
            known = workspace.registry.register(computation)
            run = run_named(workspace, self.run)
            skip_if_overtaken(workspace, run)
            with workspace.hold(known.key, trigger_of(context)) as lease:
                run = close_books(workspace, run, lease)
            return self.closed(context, run, workspace)


class DeliverApprovedOperator(SendingOperator, ClosingOperator):
    """Make the diff again under the ceiling that a person gave, and tell Windsor; sends nothing without an approval.

    `run` is the one that withheld.
    """

    template_fields: Sequence[str] = ("audience", "run")
    follows = "run"

    def __init__(self, *, run: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run

    def send(
        self, context: Context, workspace: "Workspace", computation: "Computation", stop: "CancelToken"
    ) -> dict[str, Any]:
        """A sync, if the state has an approval; raises AirflowSkipException after a refusal."""
        from airflow.sdk.exceptions import AirflowSkipException

        from windsor_sync.state.approvals import refusals_of, unsettled_approval
        from windsor_sync.usecases.request import Request
        from windsor_sync.usecases.sync_approved import sync_approved

        withheld = run_named(workspace, self.run)
        refused = [one for one in refusals_of(workspace.database, withheld.audience) if one.run_id == withheld.run_id]
        if refused and unsettled_approval(workspace.database, withheld.audience_id) is None:
            raise AirflowSkipException(f"{refused[0].who} refused. The changes stay withheld; the next run asks again.")
        request = Request(trigger=f"{trigger_of(context)} approved")
        run = sync_approved(workspace, computation, request, stop, self.report)
        return self.closed(context, run, workspace)
