"""Common base of all tasks: the settings, the connections, the retry rules, an orderly stop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, Context

from windsor_sync.airflow.connection import connection_of, key_of, suppression_key_of, token_of, with_connection
from windsor_sync.airflow.retries import HAS_POLICIES, settings_of, without_policies
from windsor_sync.airflow.warehouse import engine_of
from windsor_sync.private import owner_only

if TYPE_CHECKING:
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.usecases.workspace import Workspace


class WindsorOperator(BaseOperator):
    """A task of ours; a stop (on_kill) drains what is in flight and records it, a retry goes on from there."""

    can_wait_for_windsor: ClassVar[bool] = True
    """whether to try again helps when Windsor is not available"""

    _stop: "CancelToken | None" = None

    failure: Exception | None = None
    """the error that made it fail, where Airflow has no retry policies"""

    template_fields: Sequence[str] = ("windsor_conn_id",)

    def __init__(self, *, windsor_conn_id: str | None = None, **kwargs: Any) -> None:
        """Take the connection from `windsor_conn_id`; by default windsor.yaml names it. The ledger stays the same."""
        super().__init__(**settings_of(sends=self.can_wait_for_windsor) | kwargs)
        self.windsor_conn_id = windsor_conn_id

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let every task have its connection as a template; keep to the retry rules where Airflow has none of its own."""
        super().__init_subclass__(**kwargs)
        if "windsor_conn_id" not in cls.template_fields:
            cls.template_fields = (*cls.template_fields, "windsor_conn_id")
        if not HAS_POLICIES and "execute" in cls.__dict__:
            cls.execute = without_policies(cls.execute, sends=cls.can_wait_for_windsor)  # type: ignore[method-assign]

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
        connection_id = self.windsor_conn_id or settings.destination.connection
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
