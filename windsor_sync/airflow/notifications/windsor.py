"""Tells people when an audience is withheld, the key is refused, or that is over: one message a change of state."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windsor_sync.state.alerts import Alert


class AudienceStateNotifier(BaseNotifier):
    """Notify people: for `on_success_callback` and `on_failure_callback` of the tasks that deliver.

    `then` is any notifier or callback of Airflow's: it is called with the task's context and, as `windsor`, with the
    alert, so a template may say `{{ windsor.text }}`. Without it the message goes to the task's log.
    """

    def __init__(self, then: Callable[[dict[str, Any]], Any] | None = None) -> None:
        super().__init__()
        self.then = then

    def notify(self, context: "Context") -> None:
        """Find out what changed for the task's audience, or for the forwarded events, and pass it on."""
        from windsor_sync.settings import load
        from windsor_sync.state.alerts import alerting
        from windsor_sync.state.runs import recent
        from windsor_sync.usecases.workspace import open_workspace

        key = getattr(context["task"], "audience", None)
        settings = load()
        with open_workspace(settings) as workspace:
            registry = workspace.registry
            known = registry.events() if key is None else registry.find(settings.find([str(key)])[0])
            audience_id = known.audience_id
            last = recent(workspace.database, audience_ids=[audience_id], limit=1) if audience_id is not None else []
            if not last:
                return
            with alerting(workspace.database, last[0]) as found:
                for alert in found:
                    self._tell(context, alert)

    def _tell(self, context: "Context", alert: "Alert") -> None:
        if self.then is None:
            self.log.warning("%s: %s", alert.news.value, alert.text)
        else:
            self.then({**context, "windsor": alert})
