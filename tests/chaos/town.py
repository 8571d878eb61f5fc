"""A town: two installations on one file store, one of them with two destinations, and all that may befall them on a walk."""

import io
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

import duckdb
import pytest
from sqlalchemy import update

from tests.chaos.company import Company, Row, Setup
from tests.chaos.mortal import Died, Life
from tests.support import backups
from tests.support.postgres import Postgres
from windsor_sync.cli import main, opening
from windsor_sync.domain.change import Limits
from windsor_sync.domain.progress import ShardProgress
from windsor_sync.domain.run import Run
from windsor_sync.errors import WindsorSyncError
from windsor_sync.sandbox import Faults, Sandbox
from windsor_sync.sandbox.faults import Outage
from windsor_sync.settings import load
from windsor_sync.state.copying import copy_state
from windsor_sync.state.runs import recent
from windsor_sync.state.stored_files import Stamp, stamp_of
from windsor_sync.state.tables import leases
from windsor_sync.storage.duckdb_engine import open_duckdb, parquet
from windsor_sync.usecases.audit import audit
from windsor_sync.usecases.forget import forget, is_suppressed
from windsor_sync.usecases.prune import prune
from windsor_sync.usecases.request import Request
from windsor_sync.usecases.run_lifecycle import deliver_run, open_run, seal_newest
from windsor_sync.usecases.sync import sync
from windsor_sync.usecases.workspace import Workspace, open_workspace

USERS = tuple(f"user-{number}" for number in range(12))

COMMAND = re.compile(r"`windsor-sync ([^`]+)`")

STORMS = (
    Faults(),
    Faults(lost_answer_rate=1.0),
    Faults(false_error_rate=1.0),
    Faults(garbage_rate=1.0),
    Faults(outage=Outage.RESET),
    Faults(outage=Outage.UNAVAILABLE),
    Faults(outage=Outage.RESET, outage_requests=3),
    Faults(revoked_after=2),
    Faults(error_rate=0.3, reset_rate=0.2, lost_answer_rate=0.2),
)


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    text: str


class Known(NamedTuple):
    """A stored file as it was written."""

    stamp: Stamp | None
    checksum: str
    users: frozenset[str]


def content_of(path: Path) -> str:
    """Checksum of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()


@dataclass
class Library:
    """Every file with users that the store ever had, as it was when it was first seen."""

    root: Path
    known: dict[Path, Known] = field(default_factory=dict)
    lost: set[Path] = field(default_factory=set)

    @property
    def files(self) -> list[Path]:
        """Those that are there."""
        return sorted(file for folder in ("snapshots", "outboxes") for file in (self.root / folder).rglob("*.parquet"))

    def look(self) -> None:
        """Take note of what is new."""
        for file in self.files:
            if file not in self.known:
                self.known[file] = Known(stamp_of(str(file)), content_of(file), self._users(file))

    def newly_lost(self) -> list[Known]:
        """The files that are gone or changed since the last time."""
        found = [
            file
            for file, known in self.known.items()
            if file not in self.lost and not (file.exists() and content_of(file) == known.checksum)
        ]
        self.lost.update(found)
        return [self.known[file] for file in found]

    def users_of(self, installation: str, destination: str, folder: str) -> set[str]:
        """Who stands in the whole files of an audience."""
        return {
            user
            for file, known in self.known.items()
            if known.stamp and (known.stamp.installation, known.stamp.destination) == (installation, destination)
            if folder in file.parts and file not in self.lost
            for user in known.users
        }

    def _users(self, file: Path) -> frozenset[str]:
        with open_duckdb() as connection:
            rows = connection.execute(f"SELECT DISTINCT user_id FROM {parquet(str(file))}").fetchall()
        return frozenset(user for (user,) in rows if user is not None)


class Site(Company):
    """One destination of one installation, with what its Windsor may have been told."""

    def __init__(
        self, folder: Path, windsor: Sandbox, installed_as: str, name: str, state: str, library: Library
    ) -> None:
        folder.mkdir()
        super().__init__(
            folder,
            windsor,
            Setup(max_in_flight=2),
            name=name,
            installed_as=installed_as,
            state=state,
            files=str(library.root),
        )
        self.document["computed_traits"] = []
        self.document["defaults"] |= {"max_exited_percent": None, "max_age": None}
        self.reopen()
        self.installed_as = installed_as
        self.library = library
        self.newest: set[str] = set()
        self.entitled: set[str] = set()
        """who may be told false: they were, or may have been, told true"""
        self.suppressed: set[str] = set()
        self.unknowable: set[str] = set()
        """who was told true, and stood in no whole file any more when the ledger was taken from files"""
        self.opened: Run | None = None
        """a run that is to be delivered later"""
        self._meanings: dict[str, tuple[str, object]] = {}
        self._heard = 0

    @property
    def state(self) -> str:
        """The URL of the state that it reads."""
        return str(self.document["state"])

    def use_state(self, url: str) -> None:
        """Read the state from another database from now on."""
        self.document["state"] = url

    # -- what it does ----------------------------------------------------------------------------------------

    def computes(self, chance: Random) -> None:
        """A newer snapshot: some enter and some leave."""
        kind = chance.choice(("next", "next", "next", "another", "same"))
        if kind == "another":
            self.newest = set(chance.sample(USERS, chance.randint(1, len(USERS))))
        elif kind == "next":
            self.newest ^= set(chance.sample(USERS, chance.randint(1, 4)))
        self.newest = self.newest or {USERS[0]}
        self.download({user: Row() for user in sorted(self.newest)})

    def syncs(self, workspace: Workspace, *, is_resync: bool = False) -> Run:
        """One sync; who could not be known any more when it took the ledger from files is remembered."""
        before = self.in_no_file()
        request = Request(kind="backfill", limits=Limits(is_resync=True)) if is_resync else Request()
        run = sync(workspace, self.audience, request, self.stop)
        if run.options.get("is_recovery"):
            self.unknowable |= before
        return run

    def opens(self) -> None:
        """Open a run, to be delivered by another task."""
        before = self.in_no_file()
        workspace = self.workspace
        known = workspace.registry.register(self.audience)
        with workspace.hold(known.key, "a task") as lease:
            snapshot = seal_newest(workspace, self.audience, Request())
            self.opened = open_run(workspace, self.audience, known, snapshot, Request(), lease)
        if self.opened.options.get("is_recovery"):
            self.unknowable |= before

    def delivers(self, workspace: Workspace) -> None:
        """Deliver the opened run, which may not be the newest any more."""
        run, self.opened = self.opened, None
        if run is not None:
            with workspace.hold(self.audience.key, "a task") as lease:
                deliver_run(workspace, self.audience, run, lease, self.stop)

    @contextmanager
    def elsewhere(self) -> Iterator[Workspace]:
        """The workspace of another process."""
        with open_workspace(load(self.config, env={}), lambda: self.windsor.api_key) as opened:
            yield self.alive(opened, Life(wire=self.life.wire))

    def stands_still_past_its_leases(self) -> None:
        """Let the leases run out, by the database's clock and by the process's own."""
        self.life.lose_leases()
        with self.elsewhere() as other, other.database.write() as connection:
            resource = f"{self.audience.key} at {self.destination['name']}"
            moment = datetime.now(UTC) - timedelta(seconds=1)
            connection.execute(update(leases).where(leases.c.resource == resource).values(deadline=moment))
        self.note_doubt()

    def command(self, *words: str) -> Ended:
        """Run windsor-sync as a person does."""
        said = io.StringIO()

        @contextmanager
        def opened(*args: object, **options: object) -> Iterator[Workspace]:
            with open_workspace(*args, **options) as workspace:  # type: ignore[arg-type]
                yield self.alive(workspace, Life(wire=self.life.wire))

        before = self.in_no_file()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.setattr(opening, "open_workspace", opened)
            patch.setenv("WINDSOR_API_KEY", self.windsor.api_key)
            with pytest.raises(SystemExit) as ended:
                main(["--config", str(self.config), *words])
        if any(run.options.get("is_recovery") for run in self.runs[:1]):
            self.unknowable |= before
        return Ended(int(ended.value.code or 0), said.getvalue())

    # -- what came of it -------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        """Its runs, the newest first; none where the state is not to be read."""
        row = self.row
        return recent(self.workspace.database, audience_ids=[row.id], limit=1_000) if row else []

    def told(self, value: bool) -> set[str]:
        """For whom its Windsor shows this value."""
        return {user for user, shown in self.shown(self.setup.key).items() if shown is value}

    def in_no_file(self) -> set[str]:
        """Who is told true and stands in no whole file from which a recovery may take it."""
        self.library.look()
        found = self.library.users_of(self.installed_as, self.destination["name"], "outboxes")
        return self.told(True) - found

    def note_doubt(self) -> None:
        """Who may have been told true by a process that is gone, or stands still."""
        try:
            unanswered = self.unanswered_of_dead()
        except duckdb.Error:  # its outbox was damaged; `note_lost` has taken note of whom it names
            unanswered = set()
        sent = {message.user for message in self.wire}
        assert len(unanswered - self.entitled - sent) <= self.most_let_go, "more is in doubt than what may have left"
        self.hear()
        self.entitled |= unanswered

    def note_lost(self, file: Known) -> None:
        """Of an outbox that is gone, of which something was sent, nobody knows which of its users were told."""
        stamp = file.stamp
        if stamp is None or (stamp.installation, stamp.destination) != (self.installed_as, self.destination["name"]):
            return
        runs = [run for run in self.runs if run.number == stamp.number]
        shards = [shard for run in runs for shard in self.ledger_of(run)]
        if stamp.path.startswith("outboxes/") and (not shards or any(shard.reach > shard.first for shard in shards)):
            self.entitled |= file.users

    def ledger_of(self, run: Run) -> Sequence[ShardProgress]:
        """How far a run came."""
        found = self.workspace.ledger.of_run(run.run_id)
        return found.shards if found else ()

    def note_restored(self) -> None:
        """Nobody knows how far a run came that the state does not know: all of its outbox may have been sent."""
        self.entitled |= self.library.users_of(self.installed_as, self.destination["name"], "outboxes")
        self.opened = None if self.opened is None or self.row is None else self.opened

    def hear(self) -> None:
        """Check what was on the wire since the last time."""
        messages = self.wire[self._heard :]
        self._heard = len(self.wire)
        for message in messages:
            assert message.user not in self.suppressed, "a forgotten user was told something"
            meaning = (message.user, message.value)
            assert self._meanings.setdefault(message.message_id, meaning) == meaning, "one messageId, two meanings"
            assert message.value or message.user in self.entitled, "false to somebody who never was told true"
            self.entitled.add(message.user)


class Town:
    """Three sites, and what happens there, by chance; the same number makes the same walk."""

    def __init__(self, folder: Path, windsors: Sequence[Sandbox], postgres: Postgres, number: int) -> None:
        for windsor in windsors:
            windsor.reset()
            windsor.set_faults(Faults())
        self.folder = folder
        self.chance = Random(f"walk {number}")
        self._postgres = postgres
        self._opened = ExitStack()
        self._numbers = count(1)
        self._databases = Random(f"databases of walk {number}")
        states = {installed_as: self._new_state() for installed_as in ("first-a", "second-b")}
        self.library = Library(folder / "files")
        places = (("first-a", "one"), ("first-a", "two"), ("second-b", "three"))
        self.sites = [
            Site(folder / name, windsor, installed_as, name, states[installed_as], self.library)
            for windsor, (installed_as, name) in zip(windsors, places, strict=True)
        ]
        self.backups: dict[str, list[Path]] = {"first-a": [], "second-b": []}
        self.steps: list[str] = [f"{name} in {url.partition(':')[0]}" for name, url in states.items()]

    def close(self) -> None:
        """Let go of everything."""
        for site in self.sites:
            site.reopen()
        self._opened.close()

    def _new_state(self) -> str:
        """The URL of an empty state, in one of the databases that a state can live in."""
        if self._databases.random() < 0.5:
            return self._opened.enter_context(self._postgres.state())
        return f"sqlite:///{self.folder}/state-{next(self._numbers)}.db"

    # -- steps -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do anything; what the program refuses with a sentence is refused."""
        site = self.chance.choice(self.sites)
        steps: dict[Callable[[Site], None], int] = {
            self.syncs_in_a_storm: 4,
            self.is_killed: 4,
            self.stands_still: 5,
            self.others_act_meanwhile: 3,
            self.resyncs: 1,
            self.opens_now: 1,
            self.delivers_later: 1,
            self.prunes: 1,
            self.forgets: 1,
            self.loses_a_file: 2,
            self.saves_the_state: 2,
            self.restores_the_state: 1,
            self.copies_the_state: 1,
        }
        (act,) = self.chance.choices(list(steps), list(steps.values()))
        self.steps.append(f"{act.__name__} {site.destination['name']}")
        try:
            act(site)
        except WindsorSyncError as refused:
            self.steps[-1] += f": {type(refused).__name__}"
        self.end_step(site, act)

    def end_step(self, site: Site, act: Callable[[Site], None]) -> None:
        """Calm down, and look at what was said and stored."""
        site.life.moments_left = site.life.meanwhile = None
        site.calm()
        for each in self.sites:
            each.hear()
        self.library.look()
        if lost := self.library.newly_lost():
            for each in self.sites if act != self.forgets else ():  # which replaces files
                for file in lost:
                    each.note_lost(file)

    def syncs_in_a_storm(self, site: Site) -> None:
        """What happens every two to three hours."""
        site.computes(self.chance)
        site.windsor.set_faults(self.chance.choice(STORMS))
        site.syncs(site.workspace)

    def resyncs(self, site: Site) -> None:
        """Every member is told again."""
        site.computes(self.chance)
        site.syncs(site.workspace, is_resync=True)

    def is_killed(self, site: Site) -> None:
        """At any moment."""
        site.computes(self.chance)
        site.life.moments_left = self.chance.randint(1, 60)
        try:
            self.chance.choice((site.syncs, site.delivers))(site.workspace)
        except Died:
            site.life.moments_left = None
            site.reopen()
            site.note_doubt()

    def stands_still(self, site: Site) -> None:
        """Past its lease, while another process does what is due."""
        other = self.chance.choice((self._takes_over, self._takes_over, self._takes_over, self._prunes, None))
        self._meanwhile(site, partial(self._past_its_leases, site, other))

    def others_act_meanwhile(self, site: Site) -> None:
        """Without a lease that is lost."""
        neighbour = self.chance.choice(self.sites)
        act = self.chance.choice((self._prunes, self._audits, self._saves, self._takes_over))
        self._meanwhile(site, partial(self._tries, neighbour, act))

    def opens_now(self, site: Site) -> None:
        """One task."""
        site.computes(self.chance)
        site.opens()

    def delivers_later(self, site: Site) -> None:
        """The task after it."""
        site.windsor.set_faults(self.chance.choice(STORMS))
        site.delivers(site.workspace)

    def prunes(self, site: Site) -> None:
        """All that may go."""
        prune(site.workspace, kept_days=0)

    def forgets(self, site: Site) -> None:
        """One user, for both destinations of the installation; killed on the way now and then."""
        user = self.chance.choice(USERS[-3:])
        site.life.moments_left = self.chance.choice((None, None, self.chance.randint(1, 30)))
        try:
            forget(site.workspace, user, who="ann", why=None)
        except Died:
            site.life.moments_left = None
            site.reopen()
            forget(site.workspace, user, who="ann", why=None)
        finally:  # also where a damaged file could not be purged
            if is_suppressed(site.workspace.database, user):
                for each in self.installation(site):
                    each.suppressed.add(user)

    def loses_a_file(self, _: Site) -> None:
        """It is gone, has a bit flipped, is cut, or is another one."""
        files = self.library.files
        if not files:
            return
        file, other = self.chance.choice(files), self.chance.choice(files)
        content = bytearray(file.read_bytes())
        content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
        damages: tuple[Callable[[], object], ...] = (
            file.unlink,
            partial(file.write_bytes, bytes(content)),
            partial(file.write_bytes, bytes(content[: self.chance.randrange(len(content))])),
            partial(file.write_bytes, other.read_bytes()),
        )
        self.chance.choice(damages)()

    def saves_the_state(self, site: Site) -> None:
        """A backup."""
        self._saves(site)

    def restores_the_state(self, site: Site) -> None:
        """Of any earlier moment."""
        known = self.backups[site.installed_as]
        if not known:
            return
        backup = self.chance.choice(known)
        for each in self.installation(site):
            each.reopen()
        backups.restore(backup, site.state)
        for each in self.installation(site):
            _ = each.workspace
            each.reopen()  # whoever held a lease then is gone
            each.note_restored()

    def copies_the_state(self, site: Site) -> None:
        """To another database, which both destinations use from then on."""
        target = self._new_state()
        for each in self.installation(site):
            each.reopen()
        copy_state(site.state, target)
        self.steps[-1] += f" to {target.partition(':')[0]}"
        if backups.sqlite_file(site.state) is None or backups.sqlite_file(target) is None:
            self.backups[site.installed_as].clear()  # no other kind of database reads them
        for each in self.installation(site):
            each.use_state(target)

    # -- what others do meanwhile ------------------------------------------------------------------------------

    def _meanwhile(self, site: Site, act: Callable[[], None]) -> None:
        site.computes(self.chance)
        task = self.chance.choice((site.syncs, site.syncs, site.delivers))
        site.life.moments_left, site.life.meanwhile = self.chance.randint(1, 60), act
        task(site.workspace)

    def _past_its_leases(self, site: Site, act: Callable[[Site], None] | None) -> None:
        site.stands_still_past_its_leases()
        if act is not None:
            self._tries(site, act)

    def _tries(self, site: Site, act: Callable[[Site], None]) -> None:
        self.steps[-1] += f" / {act.__name__} {site.destination['name']}"
        try:
            act(site)
        except WindsorSyncError as refused:
            self.steps[-1] += f": {type(refused).__name__}"

    def _takes_over(self, site: Site) -> None:
        site.computes(self.chance)
        with site.elsewhere() as workspace:
            site.syncs(workspace)

    def _prunes(self, site: Site) -> None:
        with site.elsewhere() as workspace:
            prune(workspace, kept_days=0)

    def _audits(self, site: Site) -> None:
        with site.elsewhere() as workspace:
            audit(workspace, repair=True)

    def _saves(self, site: Site) -> None:
        self.backups[site.installed_as].append(backups.save(site.state, self.folder / f"backup-{len(self.steps)}"))

    # -- in the end --------------------------------------------------------------------------------------------

    def installation(self, site: Site) -> list[Site]:
        """The sites of a site's state."""
        return [each for each in self.sites if each.installed_as == site.installed_as]

    def all_is_well(self) -> None:
        """After one healthy sync, or the commands that a sentence named, everything is right everywhere."""
        for site in self.sites:
            site.reopen()
            site.computes(self.chance)
            self.heal(site)
        for site in self.sites:
            self.check(site)

    def heal(self, site: Site) -> None:
        """Sync; where a sentence names commands, run them as they are printed, and sync."""
        ended = site.command("sync", "--all")
        for _ in range(4):
            if ended.status == 0:
                break
            named = COMMAND.findall(ended.text)
            assert named, f"no command is named: {ended}"
            for words in named:
                self.steps.append(f"heals {site.destination['name']}: {words}")
                site.command(*shlex.split(words))
            ended = site.command("sync", "--all")
        assert ended.status == 0, ended
        site.hear()

    def check(self, site: Site) -> None:
        """Windsor equals the newest snapshot, audit is clean, and there is nothing more to send."""
        expected = site.newest - site.suppressed
        shown = site.told(True) - site.suppressed
        assert expected <= shown, "a member is not told"
        assert shown - expected <= site.unknowable, "somebody who left is not told"
        assert [one.text for one in audit(site.workspace, repair=False)] == []
        for run in site.runs:
            run.books.check(run.run_id)
        assert sync(site.workspace, site.audience, Request(), site.stop).books.changes == 0
        site.hear()
