"""Asks a person, in Airflow's own form, about changes that the guard withheld.

The task waits without a worker. It asks for as long as the schedule leaves: a run that waits keeps the next one from
starting. The answer becomes an approval in our state, and only that lets changes out, whatever Airflow runs next.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from windsor_sync.airflow.approvers import assigned_users, permission
from windsor_sync.airflow.audience_task import AudienceOperator, run_named
from windsor_sync.airflow.forms import LARGEST
from windsor_sync.airflow.plan_text import as_words
from windsor_sync.errors import harmless

if TYPE_CHECKING:
    from windsor_sync.domain.run import Run
    from windsor_sync.state.database import Database

APPROVE = "Approve"
REFUSE = "Refuse"

SHARE_OF_INTERVAL = 0.9
"""When a tenth of the interval is left the question is over, so that what was approved goes out before the next run."""

SHORTEST = timedelta(minutes=1)
"""Nobody is asked for less: Airflow looks every 15 seconds whether the time is over."""

STAYS = "The changes stay withheld"

FORM = {
    "max_exited": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        maximum=LARGEST,
        title="Exits",
        description="At most so many exits: all of them go out, or none if there are more.",
    ),
    "max_entered": Param(
        None,
        type=["null", "integer"],
        minimum=0,
        maximum=LARGEST,
        title="Entries",
        description="At most so many entries: all of them go out, or none if there are more.",
    ),
    "note": Param(None, type=["null", "string"], title="Note", description="Why, for the record."),
}


class _UnusableAnswerError(Exception):
    """An answer that approves nothing: the question is asked again."""


class ApproveOperator(AudienceOperator, HITLOperator):
    """Wait for a person's word on what a run withheld; skipped when it withheld nothing."""

    template_fields = ("audience", "run", "subject", "body")
    follows = "run"

    def __init__(self, *, run: Any, interval: timedelta, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 0)
        kwargs["params"] = dict(FORM)  # Airflow passes the DAG's params here, and merges them in again later
        super().__init__(subject="Changes are withheld", options=[APPROVE, REFUSE], defaults=REFUSE, **kwargs)
        self.run = run
        self.interval = interval

    def execute(self, context: Context) -> Any:
        """Park the task with a form that shows the counts; the ceiling it proposes is what is withheld now."""
        from windsor_sync.domain.labels import counted
        from windsor_sync.domain.run import RunState

        with self.opened() as (workspace, _):
            run = run_named(workspace, self.run)
            head = workspace.ledger.head(run.audience_id)
            until = self._until(context, workspace.database)
            settings = workspace.settings
        if run.state is not RunState.WITHHELD:
            raise AirflowSkipException(f"{self.audience} withholds nothing.")
        if head is None or head.run_id != run.run_id:
            raise AirflowSkipException(f"{self.audience} has a newer run, which asks about what it withholds.")
        left = until - datetime.now(UTC)
        if left < SHORTEST:
            raise AirflowFailException(f"{run.sentence} The time to answer is over: the next run asks again.")
        self.response_timeout = left
        self.assigned_users = assigned_users(settings)
        are = "is" if run.books.withheld == 1 else "are"
        self.subject = f"{harmless(run.name)}: {counted(run.books.withheld, 'change')} {are} withheld"
        self.body = _body(run)
        waiting = {"exited": run.books.exited, "entered": run.books.entered}
        for side, number in waiting.items():  # a form with few fields has its buttons in view
            if side in run.held:
                self.params[f"max_{side}"] = number
            else:
                self.params.pop(f"max_{side}", None)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer; raises AirflowFailException without one.

        An answer that would send nothing is told in the log, and the same question is asked again while its time lasts.
        """
        who = event.get("responded_by_user")
        if "error" in event or who is None:
            raise AirflowFailException(
                f"Nobody answered in time about {self.run['audience']}. {STAYS}; the next run asks again."
            )
        name = name_of(who)
        answer = event.get("params_input") or {}
        note = str(answer.get("note") or "") or None
        if event["chosen_options"] != [APPROVE]:
            return self._refused(name, note)
        try:
            return self._approve(who, answer, note)
        except _UnusableAnswerError as problem:
            self.log.warning("%s %s. The question is asked again.", problem, STAYS)
            return self.execute(context)

    def _refused(self, who: str, note: str | None) -> dict[str, Any]:
        """Record the refusal; raises AirflowSkipException where a newer run has taken the question over.

        The task ends well: somebody decided. Only where there was nothing to decide it is skipped.
        """
        from windsor_sync.errors import ConfigError
        from windsor_sync.state.approvals import refuse

        with self.opened() as (workspace, _):
            run = run_named(workspace, self.run)
            try:
                refuse(workspace.database, run, who=who, why=note)
            except ConfigError as error:
                raise AirflowSkipException(str(error)) from None
        self.log.info("%s refused. %s; the next run asks again if it still finds them.", who, STAYS)
        return {"run": run.run_id, "refused": True}

    def _approve(self, who: Mapping[str, Any], answer: Mapping[str, Any], note: str | None) -> dict[str, Any]:
        from windsor_sync.domain.guard import Ceiling, too_low
        from windsor_sync.errors import ConfigError
        from windsor_sync.state.approvals import approve

        with self.opened() as (workspace, _):
            run = run_named(workspace, self.run)
            ceiling = Ceiling(_whole(answer, "max_exited", run), _whole(answer, "max_entered", run))
            if why := too_low(ceiling, run.held, exited=run.books.exited, entered=run.books.entered):
                raise _UnusableAnswerError(why)
            try:
                permitted_as = permission(workspace.settings, who)
                approve(workspace.database, run, ceiling, who=name_of(who), why=note, permitted_as=permitted_as)
            except ConfigError as error:
                raise AirflowFailException(str(error)) from None
        return {"run": run.run_id, "max_exited": ceiling.max_exited, "max_entered": ceiling.max_entered}

    def _until(self, context: Context, database: "Database") -> datetime:
        """Return when the question is over: before the schedule's next run, whoever started this one."""
        from windsor_sync.report.schedule import last_scheduled

        began: datetime = context["dag_run"].run_after or datetime.now(UTC)
        scheduled = last_scheduled(database, context["dag"].dag_id, began - self.interval)
        if scheduled is not None and scheduled <= began < scheduled + self.interval:
            began = scheduled
        return began + self.interval * SHARE_OF_INTERVAL


def name_of(who: Mapping[str, Any]) -> str:
    """Return the person of an answer, for the record."""
    return f"{who.get('name') or who.get('id')} in Airflow"


def _whole(answer: Mapping[str, Any], field: str, run: "Run") -> int | None:
    """Return a ceiling of the form, which Airflow does not check; an empty field approves no change of that kind."""
    value = answer.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise _UnusableAnswerError(
            f"The ceiling that was given for {run.audience} is not a whole number from 0 to {LARGEST:,}."
        )
    return value


def _body(run: "Run") -> str:
    """Return few lines, so that the form's buttons stay in view."""
    books = run.books
    reasons = "\n".join(f"- {as_words(reason)}" for reason in run.options.get("withheld_because", ()))
    remedy = run.options.get("withheld_remedy")
    waiting = {"exits": ("exited", books.exited), "entries": ("entered", books.entered)}
    waits = " and ".join(f"{number:,} {many}" for many, (side, number) in waiting.items() if side in run.held)
    return (
        f"{reasons}\n\n{as_words(remedy) if remedy else ''}\n\n"
        f"Members: {books.members_before:,} before, {books.members:,} now. {waits or 'Nothing'} would be sent: all or none. With "
        "a lower number none is sent, and you are asked again."
    )
