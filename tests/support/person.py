"""The person at Airflow's approval form: everything but the wait itself is real."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock


class Person:
    """Answers each question at once, as told beforehand."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        """the tasks that asked, as they stood then"""
        self.meanwhile: Callable[[], object] = lambda: None
        """what happens while the person thinks"""
        self._events: list[dict[str, Any]] = []

    def __call__(self, option: str = "Approve", *, who: str | None = "Ana", **params: Any) -> None:
        """Say what to answer from now on; without `who`, nobody does before the time is over."""
        self._events = []
        self.then(option, who=who, **params)

    def then(self, option: str = "Approve", *, who: str | None = "Ana", **params: Any) -> None:
        """Say what to answer after the answers before."""
        user = {"id": "ana", "name": who} if who else None
        self._events.append({"chosen_options": [option], "params_input": params, "responded_by_user": user})

    def answer(self, task: Any, context: Any) -> Any:
        """Stands for HITLOperator.execute: what the form proposes stays where the answer does not say otherwise."""
        self.asked.append(task)
        proposed = {name: task.params[name] for name in task.params}
        self.meanwhile()
        answer = self._events.pop(0) if len(self._events) > 1 else self._events[0]
        event = {**answer, "responded_at": datetime.now(UTC)}
        event["params_input"] = {**proposed, **event["params_input"]}
        return task.execute_complete(context=context, event=event)


@contextmanager
def at_the_form() -> Iterator[Person]:
    """Let a person answer every question that is asked within the block."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    person = Person()
    with mock.patch.object(HITLOperator, "execute", lambda self, context: person.answer(self, context)):
        yield person
