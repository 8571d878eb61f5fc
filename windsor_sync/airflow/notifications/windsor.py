"""Tells people when something is wrong with an audience or the destination, and when that is over: once each."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context

    from windsor_sync.domain.alert import Alert
    from windsor_sync.settings import Settings
    from windsor_sync.settings.model import AlertSettings
    from windsor_sync.usecases.alert_targets import AlertTarget
    from windsor_sync.usecases.workspace import Workspace

Then = Callable[[dict[str, Any]], Any]


class AudienceStateNotifier(BaseNotifier):
    """Tell those whom `alerts` names: for `on_success_callback` and `on_failure_callback` of the tasks.

    `then` is one more who is told, any notifier or callback of Airflow's. It is called with the task's context and, as
    `windsor`, with the alert, so a template may say `{{ windsor.text }}`. Where nobody else is named, the message goes to the
    task's log.
    """

    def __init__(self, then: Then | None = None) -> None:
        super().__init__()
        self.then = then

    def notify(self, context: "Context") -> None:
        """Find out what changed with the task's end, and tell everybody whom it concerns; never raises."""
        from windsor_sync.settings import load
        from windsor_sync.usecases.alerts import harmlessly
        from windsor_sync.usecases.workspace import open_workspace

        with harmlessly():
            settings = load()
            with open_workspace(settings) as workspace:
                self._look(context, workspace)
                self._tell(context, workspace)

    def _look(self, context: "Context", workspace: "Workspace") -> None:
        from windsor_sync.airflow.retries import cause_of
        from windsor_sync.usecases.alerts import after_failure, after_run, look_at_all

        key = getattr(context["task"], "audience", None)
        error = context.get("exception") or getattr(context["task"], "failure", None)
        run = _last_run(workspace, key)
        if run is not None:
            after_run(workspace, run)
        if isinstance(error, BaseException) and key is not None:
            after_failure(workspace, str(key), cause_of(error))
        look_at_all(workspace, is_due_looked_for=key is None)

    def _tell(self, context: "Context", workspace: "Workspace") -> None:
        from windsor_sync.airflow.connection import secret_of
        from windsor_sync.usecases.alert_targets import webhooks
        from windsor_sync.usecases.alerts import tell

        targets = [*webhooks(workspace.settings, secret_of), *_notifiers(workspace.settings, context)]
        if self.then is not None:
            targets.append(_target(f"then {_name_of(self.then)}", partial(_call, self.then, context)))
        elif not targets:
            targets.append(_target("log", self._into_log))
        tell(workspace, targets, link_of=_link)

    def _into_log(self, alert: "Alert") -> None:
        self.log.warning("%s: %s", alert.event.value, alert.text)


def _last_run(workspace: "Workspace", key: object) -> Any:
    """Return the newest run of a task's audience, or of the forwarded events."""
    from windsor_sync.state.runs import recent

    registry = workspace.registry
    known = registry.events() if key is None else registry.find(workspace.settings.find([str(key)])[0])
    found = recent(workspace.database, audience_ids=[known.audience_id], limit=1) if known.audience_id else []
    return found[0] if found else None


def _notifiers(settings: "Settings", context: "Context") -> "list[AlertTarget]":
    """Return Airflow's notifiers that windsor.yaml names."""
    found = []
    for each in settings.alerts:
        if each.notifier is not None:
            digest = hashlib.sha256(json.dumps(each.arguments, sort_keys=True).encode()).hexdigest()[:8]
            found.append(_target(f"notifier {each.notifier} {digest}", partial(_notify, each, context), each))
    return found


def _target(key: str, send: "Callable[[Alert], object]", settings: "AlertSettings | None" = None) -> "AlertTarget":
    from windsor_sync.domain.alert import AlertEvent
    from windsor_sync.usecases.alert_targets import AlertTarget

    return AlertTarget(key, settings.events if settings else tuple(AlertEvent), send)


def _name_of(then: Then) -> str:
    """Return a name of a callback that is the same in every process."""
    named = then if hasattr(then, "__qualname__") else type(then)
    return f"{named.__module__}.{named.__qualname__}"


def _notify(settings: "AlertSettings", context: "Context", alert: "Alert") -> None:
    path, _, name = str(settings.notifier).rpartition(".")
    _call(getattr(import_module(path), name)(**settings.arguments), context, alert)


def _link(audiences: Sequence[str]) -> str | None:
    """Return the page of the one audience, else that of all, where Airflow knows its own address."""
    from airflow.sdk import conf

    from windsor_sync.airflow.links.windsor import PAGE, audience_page

    root = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return root + (audience_page(audiences[0]) if len(audiences) == 1 else PAGE) if root else None


def _call(notifier: Then, context: "Context", alert: "Alert") -> None:
    """Call a notifier or callback with the alert; a notifier's own error is not logged, since it can hold its address."""
    known = {**context, "windsor": alert}
    if not isinstance(notifier, BaseNotifier):
        notifier(known)
        return
    notifier.render_template_fields(known)  # type: ignore[arg-type]
    notifier.notify(known)  # type: ignore[arg-type]
