"""Common base of the tasks about one audience: its name on the grid, its settings, the link to its page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowSkipException

from windsor_sync.airflow.links.windsor import AudienceLink
from windsor_sync.airflow.windsor_task import WindsorOperator

if TYPE_CHECKING:
    from windsor_sync.domain.run import Run
    from windsor_sync.settings import Computation
    from windsor_sync.usecases.workspace import Workspace


class AudienceOperator(WindsorOperator):
    """A task about one audience, named by its trait key (its map index shows the key on the grid)."""

    follows: ClassVar[str | None] = None
    """The attribute with what an earlier task handed on: it says whom the task is about.

    Airflow looks a map index up in the list as the DAG file has it when the task starts. After an edit of windsor.yaml that
    may be another audience than the earlier tasks of the same row were about.
    """

    template_fields: Sequence[str] = ("audience",)
    operator_extra_links = (AudienceLink(),)

    def __init__(self, *, audience: str, **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", "{{ task.audience }}")
        super().__init__(**kwargs)
        self.audience = audience

    @contextmanager
    def opened(self, *, sends: bool = False) -> Iterator[tuple["Workspace", "Computation"]]:
        """The workspace and this task's audience; for a task that `sends`, as the Airflow connection has Windsor."""
        if self.follows is not None:
            self.audience = getattr(self, self.follows)["audience"]
        with self.opened_workspace(sends=sends) as workspace:
            (computation,) = workspace.settings.find([self.audience])
            if not computation.enabled:
                raise AirflowSkipException(
                    f"{self.audience} has `enabled: false` in windsor.yaml by now. Nothing was sent."
                )
            yield workspace, computation


def counts(run: "Run") -> dict[str, Any]:
    """Return the id and the counts of a run, for the next task."""
    return {"run": run.run_id, "audience": run.audience, "state": run.state.value, **run.books.counts()}


def skip_if_overtaken(workspace: "Workspace", run: "Run") -> None:
    """Raise AirflowSkipException where a newer run of the audience has taken over what this one owes."""
    from windsor_sync.domain.run import RunState

    head = workspace.ledger.head(run.audience_id)
    if head is not None and head.run_id != run.run_id and run.state is not RunState.DONE:
        raise AirflowSkipException(
            f"superseded: {head.run_id} is newer than {run.run_id}, and took over its changes. Nothing was sent."
        )


def run_named(workspace: "Workspace", handed_on: dict[str, Any]) -> "Run":
    """The run that an earlier task opened."""
    from windsor_sync.state.runs import run_of

    run = run_of(workspace.database, handed_on["run"])
    if run is None:
        raise LookupError(f"run {handed_on['run']} is not in the state database")
    return run
