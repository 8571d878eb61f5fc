"""Records the statements of a call, and asks PostgreSQL how it carries them out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event

EXPLAINED = ("SELECT", "UPDATE", "DELETE", "WITH")


@dataclass(slots=True)
class Statement:
    """One text of a statement, however often a call put it."""

    text: str
    times: int = 0
    seconds: float = 0
    slowest_s: float = 0
    parameters: Any = None
    """of the slowest time"""


@dataclass(slots=True)
class Recorded:
    """The statements of a call, with the seconds until the database had answered each."""

    by_text: dict[str, Statement] = field(default_factory=dict)
    is_on: bool = False

    @property
    def seconds(self) -> float:
        """Return the seconds of all statements."""
        return sum(each.seconds for each in self.by_text.values())

    @property
    def times(self) -> int:
        """Return how many statements there were."""
        return sum(each.times for each in self.by_text.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """How PostgreSQL carried a statement out."""

    indexes: tuple[str, ...]
    scanned: tuple[str, ...]
    """the tables that it read from their beginning to their end, each with its number of rows"""
    milliseconds: float
    """planning and execution, as PostgreSQL counts them"""
    buffers: int
    """pages of 8 kB that it looked at"""
    nodes: int
    """steps of the plan"""


class Recorder:
    """Listens to an engine. Only the statements of one call at a time are recorded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = Recorded()
        event.listen(engine, "before_cursor_execute", self._begins)
        event.listen(engine, "after_cursor_execute", self._ends)

    @contextmanager
    def recording(self) -> Iterator[Recorded]:
        """Record the statements of the block."""
        self._now = Recorded(is_on=True)
        yield self._now
        self._now.is_on = False

    def _begins(self, connection: Connection, *_: Any) -> None:
        connection.info["began"] = time.perf_counter()

    def _ends(self, connection: Connection, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        took = time.perf_counter() - connection.info["began"]
        if not self._now.is_on:
            return
        statement = self._now.by_text.setdefault(text, Statement(text))
        statement.times += 1
        statement.seconds += took
        if took >= statement.slowest_s:
            statement.slowest_s = took
            statement.parameters = parameters[0] if isinstance(parameters, list) else parameters

    def plan(self, statement: Statement) -> Plan | None:
        """Return the plan of a statement; what it changes is rolled back. None of an INSERT, which has none."""
        if not statement.text.lstrip().startswith(EXPLAINED):
            return None
        with self._engine.connect() as connection:
            query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"
            [(found,)] = connection.exec_driver_sql(query, statement.parameters or None).fetchall()
            connection.rollback()
        return _plan(found[0])


def _plan(found: dict[str, Any]) -> Plan:
    nodes = list(_nodes(found["Plan"]))
    scanned = [
        f"{node['Relation Name']} ({node['Actual Rows'] + node.get('Rows Removed by Filter', 0):,} rows)"
        for node in nodes
        if node["Node Type"] == "Seq Scan"
    ]
    top = found["Plan"]
    return Plan(
        indexes=tuple(dict.fromkeys(node["Index Name"] for node in nodes if "Index Name" in node)),
        scanned=tuple(dict.fromkeys(scanned)),
        milliseconds=found["Planning Time"] + found["Execution Time"],
        buffers=top["Shared Hit Blocks"] + top["Shared Read Blocks"],
        nodes=len(nodes),
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
