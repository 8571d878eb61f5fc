"""Waits until an audience has a newer snapshot than the one Windsor was told."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from windsor_sync.airflow.audience_task import AudienceOperator
from windsor_sync.domain.labels import lasting
from windsor_sync.errors import ConfigError

if TYPE_CHECKING:
    from windsor_sync.settings import Snapshot


class NewerSnapshotSensor(AudienceOperator):
    """Done at once when there is a newer snapshot; else it waits in the triggerer, without a worker, up to `timeout`.

    Stands before the other tasks where snapshots come at no fixed time. A snapshot that is read by a query is as new as
    the query: there is nothing to wait for, and the sensor raises ConfigError.
    """

    def __init__(self, *, every: timedelta = timedelta(minutes=1), timeout: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.every = every
        self.timeout = timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns when the newer snapshot was taken."""
        from airflow.sdk.exceptions import TaskDeferred

        from windsor_sync.airflow.triggers.windsor import NewerSnapshotTrigger, taken_after

        source, told = self._told()
        assert source.path is not None
        consists_of = source.consists_of.value if source.consists_of else None
        found = taken_after(source.path, source.taken_at, told, consists_of)
        if found is not None:
            return self.execute_complete(context, {"taken_at": found.isoformat()})
        after = told.isoformat() if told else None
        raise TaskDeferred(
            trigger=NewerSnapshotTrigger(source.path, source.taken_at, after, self.every.total_seconds(), consists_of),
            method_name="execute_complete",
            timeout=self.timeout,
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait. When the time is over the task fails, as Airflow's own sensors do, and does not begin again."""
        from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferralTimeout

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            raise AirflowSensorTimeout(
                f"No snapshot of {self.audience} came within {lasting(self.timeout)} that is newer than what Windsor was told. "
                "Nothing was sent. Look whether its source still writes them."
            ) from None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The snapshot is there."""
        self.log.info("%s: a snapshot of %s is there", self.audience, event["taken_at"])
        return {"audience": self.audience, **event}

    def _told(self) -> "tuple[Snapshot, datetime | None]":
        """Return where snapshots are, and when the one was taken that Windsor was told; None before the first sync."""
        with self.opened() as (workspace, computation):
            if computation.snapshot.path is None:
                raise ConfigError(
                    f"{computation.name} is read by a query, which is always new: there is no snapshot to wait for. Nothing "
                    "was sent. Leave the sensor out for this audience."
                )
            known = workspace.registry.find(computation)
            head = workspace.ledger.head(known.audience_id) if known.audience_id is not None else None
            return computation.snapshot, head.taken_at if head else None
