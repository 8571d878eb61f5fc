"""A company in miniature: snapshots in a folder, a windsor.yaml, a real Windsor, and the use cases between them."""

import csv
import json
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.windsor import StartWindsor
from windsor_sync.delivery.cancel import CancelToken
from windsor_sync.domain.run import Run
from windsor_sync.private import make_folder, open_new
from windsor_sync.sandbox import Sandbox
from windsor_sync.settings import Computation, load
from windsor_sync.state.database import upgrade_database
from windsor_sync.usecases.diff_and_guard import Prepared, planned
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

AUDIENCE = "Order Completed Last 30days"
KEY = "order_completed_last_30days"
TRAIT = "Total Revenue 180 Days"
TRAIT_KEY = "total_revenue_180_days"
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)

Members = Iterable[str] | Mapping[str, str | None]
"""User ids, with their e-mail where it matters."""


@cache
def _migrated() -> bytes:
    """Return the file of a new state, of which the migrations have been run once."""
    with tempfile.TemporaryDirectory() as folder:
        upgrade_database(f"sqlite:///{folder}/state.db")
        return Path(folder, "state.db").read_bytes()


def fresh_state(file: Path) -> None:
    """Make the file of a new state with an identity of its own, unless there is one; migrations have tests of their own."""
    if file.exists():
        return
    make_folder(file.parent)
    with open_new(file) as state:
        state.write(_migrated())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE installation SET id = ?", [uuid.uuid4().hex])


class World:
    """Everything a sync touches, with short names for what tests do."""

    def __init__(self, folder: Path, windsor: Sandbox, **destination: Any) -> None:
        self.folder = folder
        self.windsor = windsor
        self.destination: dict[str, Any] = {
            "url": windsor.url,
            "name": "windsor",
            "requests_per_second": 1_000_000,
            **destination,
        }
        self.document: dict[str, Any] = {
            "space": "spa_test",
            "defaults": {"max_age": None},  # the days of these worlds are past
            "audiences": [self.entry(AUDIENCE, "audience", id="aud_test")],
            "computed_traits": [self.entry(TRAIT, "trait", id="tra_test")],
        }
        self.stop = CancelToken()
        self._moment = FIRST_DAY
        self._opened = ExitStack()
        self._workspace: Workspace | None = None

    def entry(self, name: str, folder: str, **more: Any) -> dict[str, Any]:
        """An audience or computed trait of windsor.yaml whose snapshots lie in `folder`."""
        return {"name": name, "snapshot": {"path": f"snapshots/{folder}/*.csv"}, **more}

    # -- configuration ---------------------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """windsor.yaml as it stands."""
        path = self.folder / "windsor.yaml"
        path.write_text(yaml.safe_dump({**self.document, "destination": self.destination}), encoding="utf-8")
        return path

    @property
    def state_url(self) -> str:
        """Of the state that it reads."""
        return str(self.document.get("state") or f"sqlite:///{self.folder / '.windsor' / 'state.db'}")

    @property
    def workspace(self) -> Workspace:
        """Opened once; `reopen` makes it anew, as another process would."""
        if self._workspace is None:
            if not {"state", "readable_by"} & self.document.keys():
                fresh_state(self.folder / ".windsor" / "state.db")
            self._workspace = self._opened.enter_context(
                open_workspace(load(self.config, env={}), lambda: self.windsor.api_key)
            )
        return self._workspace

    def reopen(self) -> None:
        """Let go of everything and read the configuration again."""
        self._opened.close()
        self._workspace = None
        self.stop = CancelToken()

    def computation(self, key: str = KEY) -> Computation:
        """A configured audience or computed trait."""
        (found,) = self.workspace.settings.find([key])
        return found

    # -- what happens ----------------------------------------------------------------------------------------

    def snapshot(self, members: Members, *, folder: str = "audience") -> Path:
        """Write a newer formatted Engage download of an audience."""
        emails = members if isinstance(members, Mapping) else {user: f"{user}@example.com" for user in members}
        return self._write(folder, ("user_id", "email"), ((user, email or "") for user, email in emails.items()))

    def values(self, values: Mapping[str, Any]) -> Path:
        """Write a newer download of the computed trait; text stands there without quotes."""
        cells = {user: value if isinstance(value, str) else json.dumps(value) for user, value in values.items()}
        rows = ((user, cell, f"{user}@example.com") for user, cell in cells.items())
        return self._write("trait", ("user_id", "value", "email"), rows)

    def _write(self, folder: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Path:
        self._moment += timedelta(hours=2, minutes=30)
        path = self.folder / "snapshots" / folder / f"{self._moment:%Y%m%dT%H%M}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        os.utime(path, (self._moment.timestamp(), self._moment.timestamp()))
        return path

    def sync(self, key: str = KEY, request: Request | None = None, **hooks: Any) -> Run:
        """One sync of one audience."""
        return sync(self.workspace, self.computation(key), request or Request(), self.stop, **hooks)

    def plan(self, key: str = KEY, request: Request | None = None) -> list[dict[str, Any]]:
        """The messages a sync would send now."""
        with planned(self.workspace, self.computation(key), request or Request()) as prepared:
            return messages_of(prepared)

    # -- what came of it -------------------------------------------------------------------------------------

    def shown(self, key: str = KEY) -> dict[str, Any]:
        """The trait's value for each user that has it in Windsor."""
        return dict(self.windsor.store.values(key))

    def members_shown(self, key: str = KEY) -> set[str]:
        """Users for whom Windsor shows `true`."""
        return {user for user, value in self.shown(key).items() if value is True}

    @property
    def sent(self) -> int:
        """Messages Windsor accepted so far, repeats included."""
        return len(self.windsor.store.accepted)


def messages_of(prepared: Prepared) -> list[dict[str, Any]]:
    """A plan's messages, decoded."""
    return [json.loads(message) for message in prepared.messages()]


@pytest.fixture
def make_world(tmp_path: Path, start_windsor: StartWindsor) -> Iterator[Callable[..., World]]:
    """Worlds as a test wants them; `destination` settings by name."""
    worlds: list[World] = []

    def make(**destination: Any) -> World:
        folder = tmp_path / f"world-{len(worlds)}"
        folder.mkdir()
        worlds.append(World(folder, start_windsor(), **destination))
        return worlds[-1]

    yield make
    for world in worlds:
        world.reopen()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """One world with a healthy Windsor."""
    return make_world()
