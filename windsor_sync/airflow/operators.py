"""The tasks of a sync, one use case each. XCom carries counts, paths and ids of runs; never a user."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, Context, ExceptionRetryPolicy, RetryAction, RetryRule

if TYPE_CHECKING:
    from windsor_sync.delivery.engine import Delivery
    from windsor_sync.runs import Run
    from windsor_sync.settings import Computation
    from windsor_sync.workspace import Workspace

ERRORS = "windsor_sync.errors"

A_PERSON_MUST_ACT = tuple(
    RetryRule(exception=f"{ERRORS}.{name}", action=RetryAction.FAIL, reason="a person has to act")
    for name in ("ConfigError", "SnapshotError", "CredentialsRefused", "ChangesWithheld", "MessagesRejected")
)
TRY_AGAIN = tuple(
    RetryRule(exception=f"{ERRORS}.{name}", action=RetryAction.RETRY, retry_delay=timedelta(minutes=1), reason=reason)
    for name, reason in (
        ("DestinationUnavailable", "Windsor is not available; the run resumes where it stopped"),
        ("StateUnavailable", "the state database is out of reach"),
        ("LeaseHeld", "another run is writing to this audience"),
    )
)
POLICY = ExceptionRetryPolicy(rules=[*A_PERSON_MUST_ACT, *TRY_AGAIN])


class AudienceOperator(BaseOperator):
    """A task about one audience, named by its trait key (its map index shows the key on the grid)."""

    template_fields: Sequence[str] = ("audience",)

    def __init__(self, *, audience: str, **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", "{{ task.audience }}")
        kwargs.setdefault("retry_policy", POLICY)
        super().__init__(**kwargs)
        self.audience = audience

    @contextmanager
    def opened(self) -> Iterator[tuple["Workspace", "Computation"]]:
        """The workspace, with Windsor's key from the Airflow connection, and this task's audience."""
        from windsor_sync.settings import load
        from windsor_sync.workspace import open_workspace

        settings = load()
        (computation,) = settings.find([self.audience])
        with open_workspace(settings, lambda: _api_key(settings.destination.connection)) as workspace:
            yield workspace, computation


class SealSnapshotOperator(AudienceOperator):
    """Read and check the audience's newest snapshot."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the snapshot's id and counts."""
        from windsor_sync.sync import Request, seal

        with self.opened() as (workspace, computation):
            snapshot = seal(workspace, computation, Request(trigger=_trigger(context)))
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


class DiffOperator(AudienceOperator):
    """Compare the sealed snapshot with what Windsor was told and open a run with the changes."""

    template_fields: Sequence[str] = ("audience", "sealed")

    def __init__(self, *, sealed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sealed = sealed

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the run's id and counts."""
        from windsor_sync.sealing import recorded
        from windsor_sync.sync import Request, open_run

        request = Request(trigger=_trigger(context))
        with self.opened() as (workspace, computation):
            known = workspace.registry.register(computation)
            snapshot = recorded(workspace, self.sealed["snapshot_id"])
            with workspace.hold(known.key, request.trigger) as lease:
                run = open_run(workspace, computation, known, snapshot, request, lease)
        self.log.info(
            "%s: %s entered, %s exited, %s updated",
            self.audience,
            f"{run.books.entered:,}",
            f"{run.books.exited:,}",
            f"{run.books.updated:,}",
        )
        return counts(run)


class DeliverOperator(AudienceOperator):
    """Tell Windsor; a stop (on_kill) drains what is in flight and records it, a retry goes on from there."""

    template_fields: Sequence[str] = ("audience", "run")

    def __init__(self, *, run: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run

    def execute(self, context: Context) -> dict[str, Any]:
        """Returns the run's books; raises what the run's state stands for unless everything was delivered."""
        from windsor_sync.dispatch import StopSwitch
        from windsor_sync.runs import run_of
        from windsor_sync.settlement import error_of
        from windsor_sync.sync import deliver_run

        self._stop = StopSwitch()
        with self.opened() as (workspace, computation):
            known = workspace.registry.register(computation)
            run = run_of(workspace.database, self.run["run"])
            if run is None:
                raise LookupError(f"run {self.run['run']} is not in the state database")
            with workspace.hold(known.key, _trigger(context)) as lease:
                run = deliver_run(workspace, computation, run, lease, self._stop, self._report)
        if error := error_of(run):
            raise error
        return counts(run)

    def on_kill(self) -> None:
        """Ask for an orderly end; a flag only, because Airflow kills the process five seconds later."""
        stop = getattr(self, "_stop", None)
        if stop is not None:
            stop.press()

    def _report(self, run: "Run", delivery: "Delivery") -> None:
        self.log.info(
            "%s: %s of %s changes delivered", run.audience, f"{delivery.delivered:,}", f"{run.books.changes:,}"
        )


def counts(run: "Run") -> dict[str, Any]:
    """What a task hands on about a run: its id and its books."""
    return {"run": run.run_id, "audience": run.audience, "state": run.state.value, **run.books.counts()}


def _trigger(context: Context) -> str:
    """Who started it, for the books: the DAG and its run."""
    return f"airflow {context['dag'].dag_id} {context['run_id']}"


def _api_key(connection_id: str) -> str:
    from windsor_sync.errors import ConfigError

    key = BaseHook.get_connection(connection_id).password
    if not key:
        raise ConfigError(
            f"The Airflow connection {connection_id} has no password. Nothing was sent. Put Windsor's API key there."
        )
    return key
