"""The analyst's backfill: a form, the plan, a person's word on it, and the sending."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from windsor_sync.airflow.approval import APPROVE, REFUSE, name_of
from windsor_sync.airflow.approvers import assigned_users, permission
from windsor_sync.airflow.forms import BACKFILL, LARGEST, MODES, SIDES
from windsor_sync.airflow.operators.windsor import ClosingOperator, SendingOperator
from windsor_sync.airflow.plan_text import as_markdown
from windsor_sync.airflow.windsor_task import WindsorOperator, trigger_of

if TYPE_CHECKING:
    from windsor_sync.delivery.cancel import CancelToken
    from windsor_sync.settings import Computation
    from windsor_sync.usecases.backfill import Wish
    from windsor_sync.usecases.workspace import Workspace

RESPONSE_TIMEOUT = timedelta(hours=24)
"""How long the plan is up for approval: after a day it says little about what would be sent."""

EARLIER_STARTS = 20
"""Number of earlier backfills of an audience that are looked at; older ones are taken for ended."""

NOTE = {"note": Param(None, type=["null", "string"], title="Note", description="Why, for the record.")}


def backfill_form(names: dict[str, str]) -> dict[str, Param]:
    """The fields of the form; `names` are the audiences to choose from, name by trait key."""
    return {
        **audiences_form(names),
        "mode": Param("changes", type="string", enum=list(MODES), values_display=MODES, **_words("mode")),
        "only": Param(
            None,
            type=["null", "string"],
            enum=[side or None for side in SIDES],
            values_display={side or "null": words for side, words in SIDES.items()},
            **_words("only"),
        ),
        "limit": Param(None, type=["null", "integer"], minimum=1, maximum=LARGEST, **_words("limit")),
        "as_of": Param(None, type=["null", "string"], format="date-time", **_words("as_of")),
        "reason": Param(None, type=["null", "string"], **_words("reason")),
        "dry_run": Param(False, type="boolean", **_words("dry_run")),
    }


def audiences_form(names: dict[str, str]) -> dict[str, Param]:
    """The field for audiences; `names` has name by trait key. Airflow refuses a run that names none, or an unknown one."""
    keys = list(names)
    return {
        "audiences": Param(
            type="array",
            items={"type": "string", "enum": keys} if keys else {"type": "string"},
            minItems=1,
            uniqueItems=True,
            examples=keys,
            values_display=names,
            **_words("audiences"),
        )
    }


def _words(name: str) -> dict[str, Any]:
    title, text = BACKFILL[name]
    return {"title": title, **({"description": text} if text else {})}


class PlanBackfillOperator(WindsorOperator):
    """Check what the form says and plan it; send nothing, and record only that it is planned."""

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the plan of each audience; raises if one cannot be planned, or has a backfill that has not ended."""
        from windsor_sync.usecases.backfill import plan

        said: dict[str, Any] = dict(context["params"])
        _refuse_unknown(said)
        _refuse_too_many(said["audiences"])
        wish = wish_of(said)
        with self.opened_workspace(sends=True) as workspace:
            found = workspace.settings.find(said["audiences"])
            if not said["dry_run"]:
                _refuse_second(context, workspace, [str(one.key) for one in found])
            plans = [plan(workspace, one, wish.request(one, trigger_of(context))) for one in found]
        self.log.info("%s", as_markdown(plans))
        return plans


class ApproveBackfillOperator(WindsorOperator, HITLOperator):
    """Show the plan and wait for a person's word; skipped when nothing would be sent."""

    template_fields: Sequence[str] = ("plans", "subject", "body")

    def __init__(self, *, plans: Any, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 0)
        super().__init__(
            subject="A backfill is planned",
            options=[APPROVE, REFUSE],
            defaults=REFUSE,
            response_timeout=RESPONSE_TIMEOUT,
            **kwargs,
        )
        self.plans = plans

    def execute(self, context: Context) -> Any:
        """Park the task with the plan in its form."""
        if context["params"]["dry_run"]:
            raise AirflowSkipException(
                "Only the plan was asked for: it is in the log of the task before. Nothing was sent."
            )
        plans = self._with_changes()
        if not plans:
            raise AirflowSkipException("Windsor has been told everything that was asked for: there is nothing to send.")
        self.subject = f"Backfill of {', '.join(one['audience'] for one in plans)}"
        self.body = as_markdown(plans, wish_of(context["params"]).reason)
        from windsor_sync.settings import load

        self.assigned_users = assigned_users(load())
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Record the permission and return whom it is for: nobody after a refusal."""
        who = event.get("responded_by_user")
        if "error" in event or who is None:
            raise AirflowFailException("Nobody answered within a day. Nothing was sent. Start the backfill again.")
        name = name_of(who)
        if event["chosen_options"] != [APPROVE]:
            self.log.info("%s refused. Nothing was sent.", name)
            return []
        from windsor_sync.errors import ConfigError
        from windsor_sync.usecases.backfill import permit

        note = (event.get("params_input") or {}).get("note") or wish_of(context["params"]).reason
        plans = self._with_changes()
        why = str(note) if note else None
        with self.opened_workspace() as workspace:
            try:
                permitted_as = permission(workspace.settings, who)
            except ConfigError as error:
                raise AirflowFailException(str(error)) from None
            trigger = trigger_of(context)
            permit(workspace.database, trigger, plans, who=name, why=why, permitted_as=permitted_as)
        return [one["audience"] for one in plans]

    def _with_changes(self) -> list[dict[str, Any]]:
        return [one for one in self.plans if one["to_send"]]


class BackfillOperator(SendingOperator, ClosingOperator):
    """Make the diff of one audience again and tell Windsor, up to what was permitted."""

    def send(
        self, context: Context, workspace: "Workspace", computation: "Computation", stop: "CancelToken"
    ) -> dict[str, Any]:
        """A backfill, if the state has a permission for it."""
        from windsor_sync.usecases.backfill import run_backfill

        request = wish_of(context["params"]).request(computation, trigger_of(context))
        run = run_backfill(workspace, computation, request, stop, self.report)
        return self.closed(context, run, workspace)


def wish_of(said: Any) -> "Wish":
    """Return the wish of a filled-in form; raises ConfigError for a moment that cannot be read."""
    from windsor_sync.usecases.backfill import Wish, moment_meant

    return Wish(
        is_resync=said["mode"] == "resync",
        only=said["only"],
        limit=said["limit"],
        as_of=moment_meant(said["as_of"]) if said["as_of"] else None,
        reason=said["reason"],
    )


def _refuse_second(context: Context, workspace: "Workspace", audiences: Sequence[str]) -> None:
    """Refuse a second backfill of an audience: each would be planned as if the other did not exist."""
    from windsor_sync.errors import ConfigError
    from windsor_sync.usecases.backfill import announce

    dag_id, task = context["dag"].dag_id, context["ti"]
    who = f"{getattr(context['dag_run'], 'triggering_user_name', None) or 'somebody'} in Airflow"
    for audience, triggers in announce(workspace.database, trigger_of(context), audiences, who=who).items():
        start = f"airflow {dag_id} "
        runs = [each.removeprefix(start) for each in triggers[:EARLIER_STARTS] if each.startswith(start)]
        going = [each for each in runs if task.get_dr_count(dag_id, run_ids=[each], states=["queued", "running"])]
        if going:
            raise ConfigError(
                f"A backfill of {audience} has not ended: run {going[0]}. Nothing was planned or sent. Answer its "
                "question, cancel it or wait for its end, and start this one again."
            )


def _refuse_too_many(audiences: Sequence[str]) -> None:
    """Airflow fails a task that hands on a longer list, after a person has approved it."""
    from airflow.sdk import conf

    from windsor_sync.errors import ConfigError

    most = conf.getint("core", "max_map_length", fallback=1024)
    if len(audiences) > most:
        raise ConfigError(
            f"The form names {len(audiences):,} audiences, and Airflow takes {most:,} in one start ([core] max_map_length). "
            "Nothing was sent. Start it several times, each with some of them."
        )


def _refuse_unknown(said: dict[str, Any]) -> None:
    """Airflow lets any key through, so a slip of the pen would be a backfill without the limit that was meant."""
    from windsor_sync.errors import ConfigError

    known = list(backfill_form({}))
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise ConfigError(f"The form has no {', '.join(unknown)}. Nothing was sent. It has {', '.join(known)}.")
