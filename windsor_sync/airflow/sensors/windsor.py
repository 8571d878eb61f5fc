"""Waits until an audience has a newer snapshot than the one Windsor was told."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from windsor_sync.airflow.audience_task import AudienceOperator
from windsor_sync.domain.labels import lasting
from windsor_sync.errors import ConfigError

if TYPE_CHECKING:
    from windsor_sync.settings import Snapshot


class NewerSnapshotSensor(AudienceOperator, BaseSensorOperator):
    """Done at once when there is a newer snapshot; else it waits up to `timeout`, looking each `poke_interval`.

    With `deferrable` it waits in the triggerer, without a worker; otherwise as `mode` says. With `soft_fail` the task is skipped
    when the time is over. It stands before the other tasks where snapshots come at no fixed time. A snapshot that is read by a
    query is as new as the query: there is nothing to wait for, and the sensor raises ConfigError.
    """

    def __init__(self, *, deferrable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Returns when the newer snapshot was taken."""
        from airflow.sdk.exceptions import TaskDeferred

        from windsor_sync.airflow.triggers.windsor import NewerSnapshotTrigger

        if not self.deferrable:
            return super().execute(context)
        source, told, found = self._look()
        if found is not None:
            return self.execute_complete(context, {"taken_at": found.isoformat()})
        assert source.path is not None
        after = told.isoformat() if told else None
        consists_of = source.consists_of.value if source.consists_of else None
        raise TaskDeferred(
            trigger=NewerSnapshotTrigger(source.path, source.taken_at, after, self.poke_interval, consists_of),
            method_name="execute_complete",
            timeout=self._time_out,
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once for a newer snapshot."""
        *_, found = self._look()
        if found is None:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self.execute_complete(context, {"taken_at": found.isoformat()}))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait. When the time is over the task fails or is skipped, and does not begin again."""
        from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferralTimeout

        try:
            return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            ended = AirflowSkipException if self.soft_fail else AirflowSensorTimeout
            raise ended(
                f"No snapshot of {self.audience} came within {lasting(self._time_out)} that is newer than what Windsor was told. "
                "Nothing was sent. Check that its source still writes them."
            ) from None

    @property
    def _time_out(self) -> timedelta:
        return timedelta(seconds=self.timeout)

    def _look(self) -> "tuple[Snapshot, datetime | None, datetime | None]":
        """Return where snapshots are, when the one was taken that Windsor was told, and when a newer one, if there is one."""
        from windsor_sync.airflow.triggers.windsor import taken_after

        source, told = self._told()
        assert source.path is not None
        return source, told, taken_after(source.path, source.taken_at, told, source.consists_of)

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
