"""Ordinary events: one task that forwards what is new in Segment's archive, beside the audiences and on its own."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from windsor_sync.airflow.metrics import Meter, owed
from windsor_sync.airflow.windsor_task import WindsorOperator, trigger_of

if TYPE_CHECKING:
    from windsor_sync.delivery.bounds import Delivery
    from windsor_sync.domain.run import ForwardingRun, Run

METRICS_TAG = "events"


class ForwardEventsOperator(WindsorOperator):
    """Forward what is new in the archive, each message once; skipped while another task is doing just that."""

    _forwarded: "tuple[str, str, list[ForwardingRun]] | None" = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns how many were delivered, and for each run its steps; raises what a run's state stands for."""
        from windsor_sync.errors import LeaseHeld, LeaseLost
        from windsor_sync.usecases.forward import ForwardRequest, configured, forward

        request = ForwardRequest(trigger=trigger_of(context))
        stop = self.cancel_token()
        self._meters: dict[str, Meter] = {}
        try:
            with self.opened_workspace(sends=True) as workspace:
                archive, destination = configured(workspace).archive, workspace.settings.destination.name
                runs = forward(workspace, request, stop, on_progress=self._report)
        except LeaseLost:
            raise
        except LeaseHeld as error:
            raise AirflowSkipException(
                f"{error} What is new stays in the archive, and that run or the next sends it."
            ) from None
        finally:
            for meter in self._meters.values():
                meter.emit()
        self._forwarded = archive, destination, runs
        return self._closed(runs)

    def _closed(self, runs: "list[ForwardingRun]") -> dict[str, Any]:
        from windsor_sync.events.books import overview
        from windsor_sync.usecases.close_run import error_of

        for run in runs:
            self.log.info("%s: %s", run.run_id, run.sentence)
        if runs:
            owed(METRICS_TAG, runs[-1].books.owed)  # a rejected event is not sent again
        endings = [error for run in runs if (error := error_of(run))]
        if endings:
            raise endings[-1]  # what stopped it, where something did: only rejections come before it
        forwarded = [{"run": run.run_id, "state": run.state.value, **overview(run)} for run in runs]
        return {"delivered": sum(run.books.delivered for run in runs), "runs": forwarded}

    def _report(self, run: "Run", delivery: "Delivery") -> None:
        self._meters.setdefault(run.run_id, Meter(METRICS_TAG)).follow(delivery)
        self.log.info(
            "%s: %s of %s messages delivered", run.run_id, f"{delivery.delivered:,}", f"{run.books.changes:,}"
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002
        """The archive, and the messages that Windsor got of it."""
        from windsor_sync.airflow import lineage

        if self._forwarded is None:
            return lineage.nothing()
        archive, destination, runs = self._forwarded
        return lineage.forwarding(archive, destination, sum(run.books.delivered for run in runs))
