"""A person's answer, on the page, to what a run withheld: refused in words where it would send nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from windsor_sync.airflow.approvers import permission
from windsor_sync.airflow.forms import LARGEST
from windsor_sync.domain.guard import Ceiling, too_low
from windsor_sync.domain.run import Run
from windsor_sync.errors import ConfigError
from windsor_sync.state.approvals import approve, refuse
from windsor_sync.usecases.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """The fields of the page's form."""

    ceiling: Ceiling | None
    """None refuses"""
    note: str | None

    @staticmethod
    def fields(said: Mapping[str, str]) -> dict[str, str]:
        """Return what a person typed, to be shown again."""
        return {name: said.get(name, "") for name in ("max_exited", "max_entered", "note")}


def read_answer(said: Mapping[str, str]) -> PageAnswer:
    """Read the form; raises ConfigError for a number that is none."""
    note = said.get("note", "").strip() or None
    if said.get("answer") != "approve":
        return PageAnswer(None, note)
    return PageAnswer(Ceiling(_number(said, "max_exited"), _number(said, "max_entered")), note)


def answer_question(workspace: Workspace, run: Run, answer: PageAnswer, *, user_id: str, who: str) -> None:
    """Record the answer; raises ConfigError where it would send nothing, and where the run waits for none any more.

    Where `approval.approvers` names somebody, it raises for everybody else.
    """
    permitted_as = permission(workspace.settings, {"id": user_id})
    if answer.ceiling is None:
        refuse(workspace.database, run, who=who, why=answer.note)
        return
    if why := too_low(answer.ceiling, run.held, exited=run.books.exited, entered=run.books.entered):
        raise ConfigError(f"{why} Nothing was recorded.")
    approve(workspace.database, run, answer.ceiling, who=who, why=answer.note, permitted_as=permitted_as)


def _number(said: Mapping[str, str], name: str) -> int | None:
    text = said.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise ConfigError(f"{text[:40]} is not a whole number from 0 to {LARGEST:,}. Nothing was recorded.")
    return int(text)
