"""Common base of all tasks: the settings, the connections, the retry rules, an orderly stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context

from windsor_sync.airflow.connection import connection_of, key_of, suppression_key_of, token_of, with_connection
from windsor_sync.airflow.retries import POLICY
from windsor_sync.airflow.warehouse import engine_of
from windsor_sync.private import owner_only

if TYPE_CHECKING:
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.usecases.workspace import Workspace


class WindsorOperator(BaseOperator):
    """A task of ours; a stop (on_kill) drains what is in flight and records it, a retry goes on from there."""

    _stop: "CancelToken | None" = None

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", POLICY)
        super().__init__(**kwargs)

    def on_kill(self) -> None:
        """Ask for an orderly end; a flag only, because Airflow kills the process five seconds later."""
        if self._stop is not None:
            self._stop.press()

    def cancel_token(self) -> "CancelToken":
        """A fresh one, which on_kill presses."""
        from windsor_sync.delivery.cancel import CancelToken

        self._stop = CancelToken()
        return self._stop

    @contextmanager
    def opened_workspace(self, *, sends: bool = False) -> Iterator["Workspace"]:
        """The workspace; for a task that `sends`, as the Airflow connection has Windsor."""
        from windsor_sync.settings import load
        from windsor_sync.usecases.workspace import open_workspace

        settings = load()
        connection_id = settings.destination.connection
        if sends:
            settings = with_connection(settings, connection_of(connection_id))
        with (
            owner_only(),
            open_workspace(
                settings,
                lambda: key_of(connection_of(connection_id)),
                lambda: token_of(settings),
                engine_of,
                suppression_key_of,
            ) as workspace,
        ):
            yield workspace


def trigger_of(context: Context) -> str:
    """Return the DAG and its run, as the run's trigger."""
    return f"airflow {context['dag'].dag_id} {context['run_id']}"
