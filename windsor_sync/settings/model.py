"""The settings in `windsor.yaml`: types, defaults and meanings, frozen once read.

`load()` also checks what two settings say together, fills each computation's gaps from `defaults` and makes
paths absolute; a model built by hand is checked field by field only.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from windsor_sync.domain.alert import AlertEvent
from windsor_sync.private import Access
from windsor_sync.segment.calls import Call
from windsor_sync.segment.identify import ComputationClass
from windsor_sync.segment.trait_keys import TraitKey, trait_key
from windsor_sync.settings.addresses import LOCATION, STATE_URL, URL, ledger_name
from windsor_sync.settings.arguments import ARGUMENTS, CLASS_PATH
from windsor_sync.settings.choices import (
    PUBLIC_API,
    AliasPolicy,
    Column,
    ConsistsOf,
    DiffEngine,
    Emails,
    EmailsFrom,
    IdentifyBy,
    MaxAgeAction,
    ReadableBy,
    Region,
    SnapshotFormat,
    UnreadableRows,
    WireName,
    format_of,
)
from windsor_sync.settings.mistakes import Mistake
from windsor_sync.settings.readings import (
    BOOLEAN,
    DATE_PATTERN,
    DAY,
    INTERVAL,
    LINE,
    SCHEMA,
    TEXT,
    Mismatch,
    Reading,
    distinct_lines,
    number,
    one_of,
    several_of,
    whole_number,
)
from windsor_sync.settings.selection import keys_meant
from windsor_sync.settings.timing import TIMING, USUAL, Timing


def _sends_null(value: object) -> bool:
    if value is not None:
        raise Mismatch
    return True


Line = Annotated[str, LINE]
Text = Annotated[str, TEXT]
Location = Annotated[str, LOCATION]
Boolean = Annotated[bool, BOOLEAN]
Interval = Annotated[timedelta, INTERVAL]
Day = Annotated[date, DAY]
Share = Annotated[float, number("a number from 0 to 100, without a percent sign", lambda percent: 0 <= percent <= 100)]
Growth = Annotated[float, number("a number of at least 0, without a percent sign", lambda percent: percent >= 0)]
Positive = Annotated[float, number("a number above 0", lambda amount: amount > 0)]
ColumnName = Annotated[str, one_of(Column)]
Schema = Annotated[str, SCHEMA]


class Section(BaseModel):
    """One level of the file: frozen, no key it does not know, and no value in its errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True
    )


class Destination(Section):
    """The address of Windsor, and how fast it may be told."""

    wire: Annotated[WireName, one_of(WireName)] = Field(
        default=WireName.SEGMENT_WEBHOOK,
        description="How messages reach Windsor: as Segment's subscription webhook does (all six calls), or as "
        "Windsor's own hook does (users and events only).",
    )
    url: Annotated[str, URL] = Field(description="Where messages are posted. The key is not part of it.")
    name: Line = Field(  # Pydantic 2.12 asks for a default although the url is missing
        default_factory=lambda found: ledger_name(found.get("url", "")),
        description="The name under which the ledger remembers what Windsor was told; by default the url's host, port "
        "and path. Give the old name with a new url to go on with the same ledger; a new name starts every audience "
        "with an initial sync.",
    )
    connection: Line = Field(
        default="windsor_default",
        description="The Airflow connection that holds Windsor's key. On the command line WINDSOR_API_KEY comes first.",
    )
    requests_per_second: Positive = Field(
        default=200.0, description="Requests per second to this destination, shared by all running tasks."
    )
    max_in_flight: Annotated[int, whole_number(1, 1024)] = Field(
        default=64, description="Requests that one process may have waiting for an answer."
    )
    timeout_s: Positive = Field(default=10.0, description="Seconds to wait for the answer to one request.")
    give_up_after_s: Positive = Field(
        default=600.0,
        description="Seconds without one answer after which Windsor counts as unavailable. Unsent changes stay owed.",
    )
    client_certificate: Location | None = Field(
        default=None,
        description="The certificate (a file in PEM) that this side shows, where Windsor or a proxy in front of it asks for one.",
    )
    client_key: Location | None = Field(
        default=None,
        description="The file with its key, in PEM and without a passphrase; leave it out where the certificate's file has both. "
        "Only the user that runs windsor-sync should be able to read it.",
    )
    identify_merges: Boolean | None = Field(
        default=None,
        description="Whether Windsor makes one user of two when an identify carries a user id and an anonymous id. Leave it out "
        "where you do not know.",
    )


class Segment(Section):
    """Segment's Public API, which says whether a snapshot is whole and whom nothing may be sent about."""

    region: Annotated[Region, one_of(Region)] = Field(
        default=Region.US, description="Where the Segment workspace is: us or eu."
    )
    url: Annotated[str, URL] = Field(
        default_factory=lambda found: PUBLIC_API[found.get("region", Region.US)],
        description="Where the Public API is; by default as region says.",
    )
    connection: Line = Field(
        default="segment_default",
        description="The Airflow connection that holds the token. On the command line SEGMENT_PUBLIC_API_TOKEN comes first.",
    )
    size_tolerance_percent: Share = Field(
        default=5.0,
        description="A snapshot is refused when it lacks more than this share of the users that Segment reports; 100 never "
        "refuses one.",
    )


class Schedule(Section):
    """The times at which the DAGs run."""

    audiences: Annotated[Timing, TIMING] = Field(
        default=USUAL,
        description="When audiences and computed traits are synced: after an interval (every 2h to 3h); at the times of a cron "
        "expression in a time zone; or when an upstream asset has changed, and at the latest after `every`. In a variable, write "
        "the time zone after the cron expression.",
    )
    events: Interval = Field(default=timedelta(minutes=15), description="How often new events are forwarded.")
    task_timeout: Interval | None = Field(
        default=None,
        description="How long one try of a task may take in Airflow, the query of a snapshot included. Then Airflow stops it, "
        "and the next try goes on where it stopped. By default there is no limit.",
    )


ROLE = "role:"
"""Begins an approver who stands for the users of a role."""


class ApprovalSettings(Section):
    """The people who may let withheld changes go out."""

    approvers: Annotated[tuple[str, ...], distinct_lines("a list of user ids, and of roles as role:NAME")] = Field(
        default=(),
        description="The users who may approve: user ids of Airflow's auth manager, and for the command line user names of that "
        "machine. `role:NAME` stands for the users of a role of Airflow's SimpleAuthManager. Without approvers, every user who "
        "may start the DAG may approve.",
    )


class AlertSettings(Section):
    """One receiver of alerts: a webhook, or one of Airflow's notifiers."""

    webhook: Annotated[str, URL] | None = Field(
        default=None,
        description="The URL that gets each message as JSON, with `text` as chat programs read it. The URL must not be a secret.",
    )
    connection: Line | None = Field(
        default=None,
        description="The Airflow connection whose password is the whole URL of a webhook, for a URL that is a secret. With "
        "`webhook` beside it, the password is sent as a bearer token. Outside Airflow the variable WINDSOR_CONNECTION_ and the "
        "connection's name in capitals has the password.",
    )
    notifier: Annotated[str, CLASS_PATH] | None = Field(
        default=None,
        description="The class of an Airflow notifier, such as airflow.providers.smtp.notifications.smtp.SmtpNotifier; only "
        "Airflow's tasks can use it.",
    )
    arguments: Annotated[dict[str, Any], ARGUMENTS] = Field(
        default_factory=dict,
        description="The arguments of the notifier's class. In their templates `windsor` is the message, such as "
        "{{ windsor.title }} and {{ windsor.text }}.",
    )
    events: Annotated[tuple[AlertEvent, ...], several_of(AlertEvent)] = Field(
        default=tuple(AlertEvent), description="The events that this receiver is told about; by default all."
    )


class Handling(Section):
    """Settings that `defaults` has for all audiences and computed traits, and that each of them can override."""

    identify_by: Annotated[IdentifyBy, one_of(IdentifyBy)] = Field(
        default=IdentifyBy.USER_ID,
        description="Which id makes a user; with anonymous_id, users without a user id are sent by their anonymous id.",
    )
    emails: Annotated[Emails, one_of(Emails)] = Field(
        default=Emails.FIRST,
        description="Which e-mail is sent for a user with several; all sends one message for each.",
    )
    emails_from: Annotated[EmailsFrom, one_of(EmailsFrom)] | None = Field(
        default=None,
        description="Where the e-mail of a user is looked for: own, in the audience's snapshot alone; all, in the newest "
        "snapshots of the other audiences and computed traits too, where its own has none. By default all, but own in a state "
        "that an older version has used.",
    )
    max_exited_percent: Share | None = Field(
        default=30.0,
        description="Withhold exits when more than this share of an audience's members would exit; null sets no limit.",
    )
    max_entered_percent: Growth | None = Field(
        default=None,
        description="Withhold entries when an audience would grow by more than this percentage; null sets no limit.",
    )
    unreadable_rows: Annotated[UnreadableRows, one_of(UnreadableRows)] = Field(
        default=UnreadableRows.WITHHOLD_EXITS,
        description="What happens when a row of a snapshot cannot be read and its user id neither: withhold_exits waits for "
        "an approval before anybody is told false, tell does not wait.",
    )


def _max_age() -> Any:
    return Field(
        default=timedelta(hours=36),
        description="A snapshot file older than this is stale; null lets it be of any age.",
    )


def _max_age_action() -> Any:
    return Field(
        default=MaxAgeAction.WARN,
        description="What a stale snapshot comes to: warn, and it is synced; or fail, and nothing is sent.",
    )


def _query_timeout() -> Any:
    return Field(
        default=timedelta(hours=1),
        description="How long a warehouse may take to return every row of a snapshot. After that the query is "
        "cancelled and the snapshot is refused; null sets no limit.",
    )


SNAPSHOT_DEFAULTS = ("max_age", "max_age_action", "query_timeout")
"""What `defaults` says for all snapshots, and each of them may say for itself."""


class Defaults(Handling):
    """Values for every audience and computed trait that does not set its own."""

    guard_floor: Annotated[int, whole_number(0)] = Field(
        default=100, description="An audience with fewer members than this is not held back by the percentages."
    )
    max_age: Interval | None = _max_age()
    max_age_action: Annotated[MaxAgeAction, one_of(MaxAgeAction)] = _max_age_action()
    query_timeout: Interval | None = _query_timeout()
    max_rejected_percent: Share = Field(
        default=0.0,
        description="A run fails when Windsor rejects more than this share of its changes, or of the messages it forwards; up "
        "to it the run is done, and says what was rejected.",
    )


class Snapshot(Section):
    """The source of an audience's members: files, or a query."""

    path: Location | None = Field(
        default=None, description="A file, or a pattern such as snapshots/vip/*.csv of which the newest file is read."
    )
    format: Annotated[SnapshotFormat, one_of(SnapshotFormat)] | None = Field(
        default_factory=lambda found: format_of(found.get("path")),
        description="How to read the file; by default as its name ends: .csv engage_csv, .parquet, .jsonl or .ndjson.",
    )
    columns: dict[ColumnName, Line] = Field(
        default_factory=dict, description="Which column of the source holds which of ours, where the names differ."
    )
    taken_at: Annotated[str, DATE_PATTERN] | None = Field(
        default=None,
        description="The date in the path that says when it was taken; by default the file's modification time.",
    )
    consists_of: Annotated[ConsistsOf, one_of(ConsistsOf)] | None = Field(
        default=None,
        description="Whether each file is a snapshot of its own (one_file), or all files with the same taken_at, or written with "
        "the newest, are one (all_files); by default their names decide, and what they leave open is refused.",
    )
    connection: Line | None = Field(
        default=None,
        description="The Airflow connection of the warehouse. On the command line, the variable WINDSOR_CONNECTION_ and the "
        "connection's name in capitals comes first; its value is a SQLAlchemy URL.",
    )
    query: Text | None = Field(default=None, description="The SQL whose rows are the members.")
    profiles_sync: Schema | None = Field(
        default=None, description="The schema that Profiles Sync writes to, where the members are read from its tables."
    )
    engage: Schema | None = Field(
        default=None,
        description="The schema that Engage writes to (engage_…), where the members are read from its tables.",
    )
    max_age: Interval | None = _max_age()
    max_age_action: Annotated[MaxAgeAction, one_of(MaxAgeAction)] = _max_age_action()
    query_timeout: Interval | None = _query_timeout()
    max_malformed_percent: Share = Field(
        default=0.1, description="The snapshot is refused when more than this share of its rows cannot be read."
    )
    size_tolerance_percent: Share | None = Field(
        default=None,
        description="How many of the users that Segment reports the snapshot may lack, for a query that leaves some out; "
        "by default as `segment` says, 100 is never refused.",
    )


class Computation(Handling):
    """An audience or a computed trait: Segment computes it for each user, and Windsor is told."""

    computation_class: ClassVar[ComputationClass]

    name: Line = Field(description="The name it has in Segment.")
    id: Line | None = Field(default=None, description="The id in the address of its page in Segment.")
    trait: Line | None = Field(
        default=None, description="The trait key, where it is not what Segment's rule makes of the name."
    )
    reuse_key: Boolean = Field(
        default=False, description="Take a trait key although a retired audience or computed trait had it."
    )
    enabled: Boolean = Field(default=True, description="Whether it is synced.")
    delivery_shards: Annotated[int, whole_number(1, 64)] = Field(
        default=1, description="How many Airflow tasks share its delivery, where one worker is not enough."
    )
    schedule: Annotated[Timing, TIMING] | None = Field(
        default=None,
        description="When this one is synced, instead of `schedule.audiences`. It then has a DAG of its own, named "
        "engage_audience_sync_ and its trait key.",
    )
    snapshot: Snapshot = Field(description="Where its members or values are read.")

    @property
    def key(self) -> TraitKey:
        """The trait key: pinned by `trait`, else derived from the name by Segment's rule."""
        return TraitKey(self.trait) if self.trait is not None else trait_key(self.name)


class Audience(Computation):
    """A named group of users; Windsor holds `true` or `false` under its key."""

    computation_class = ComputationClass.AUDIENCE


class ComputedTrait(Computation):
    """A value for each user; Windsor holds the value under its key."""

    computation_class = ComputationClass.TRAIT

    sends_null_when_missing: Annotated[bool, Reading("null, or no such key", _sends_null)] = Field(
        default=False,
        validation_alias="on_missing",
        description="With null, a user who no longer has a value is sent null; without it, nothing.",
    )


class Events(Section):
    """The events of Segment's raw archive that are forwarded."""

    archive: Location = Field(description="The folder or bucket prefix named segment-logs, where the archive begins.")
    calls: Annotated[tuple[Call, ...], several_of(Call)] = Field(
        default=tuple(Call), description="The calls to forward."
    )
    alias: Annotated[AliasPolicy, one_of(AliasPolicy)] = Field(
        default=AliasPolicy.FORWARD,
        description="Whether alias calls are forwarded or held: Windsor cannot undo the merge of two users.",
    )
    since: Day | None = Field(
        default=None,
        description="The first day (UTC) to forward: the archive's folders of earlier days are not read. By default "
        "all are.",
    )
    consent_categories: Annotated[tuple[str, ...], distinct_lines("a list of consent category ids")] = Field(
        default=(),
        description="The consent categories that Windsor is mapped to in Segment: an event that carries the user's "
        "consent preferences is forwarded when all of these are given. With none, consent is not looked at.",
    )
    max_malformed_percent: Share = Field(
        default=50.0,
        description="A run fails when more than this share of the lines it reads are no messages, and when a file has none but "
        "such lines: that file is read again by the next run. 100 allows everything.",
    )
    dedupe_days: Annotated[int, whole_number(1, 366)] = Field(
        default=7, description="For how many days a messageId that was forwarded is remembered and not forwarded again."
    )


class Page(Section):
    """The page "Audiences" in Airflow."""

    look_up_by_email: Boolean = Field(
        default=False,
        description="Whether the look-up of the page, for readers who may see users, also accepts an e-mail.",
    )
    sandbox_url: Annotated[str, URL] | None = Field(
        default=None,
        description="The address at which readers' browsers find the sandbox, if `destination` is one. The page links "
        "each user that it shows to the sandbox. By default the destination's own address, if it is on this machine.",
    )


class WindsorYaml(Section):
    """The whole file."""

    space: Line | None = Field(default=None, description="The id of the Engage space, sent in context.personas.")
    state: Annotated[str, STATE_URL] = Field(
        default="sqlite:///.windsor/state.db",
        repr=False,
        description="The database that remembers what Windsor was told: an SQLite file, or PostgreSQL by URL. A new URL is an "
        "empty state: `windsor-sync state copy` moves one.",
    )
    files: Location = Field(
        default=".windsor/files", description="The folder or bucket prefix for sealed snapshots and outboxes."
    )
    readable_by: Annotated[ReadableBy, one_of(ReadableBy)] = Field(
        default=ReadableBy.OWNER,
        description="Who may open the state's file and the stored files: the user that runs windsor_sync, or every user of the "
        "folder's group, where workers of several users share them.",
    )
    diff: Annotated[DiffEngine, one_of(DiffEngine)] = Field(
        default=DiffEngine.DUCKDB,
        description="What compares snapshots: duckdb on one machine, or spark where an audience outgrows it.",
    )
    destination: Destination = Field(description="Where Windsor is and how fast it may be told.")
    schedule: Schedule = Field(default=Schedule(), description="When the DAGs run.")
    defaults: Defaults = Field(
        default=Defaults(), description="What holds for each audience and computed trait that does not say otherwise."
    )
    segment: Segment | None = Field(
        default=None,
        description="How to ask Segment before each run whether an audience is settled and its snapshot whole, and whom it "
        "suppresses; without this section it is not asked.",
    )
    approval: ApprovalSettings = Field(default=ApprovalSettings(), description="Who may approve what is withheld.")
    alerts: tuple[AlertSettings, ...] = Field(
        default=(), description="The receivers of a message when something goes wrong, and when it is over."
    )
    page: Page = Field(default_factory=Page, description="What the page in Airflow does beyond showing numbers.")
    audiences: tuple[Audience, ...] = Field(default=(), description="The audiences to sync.")
    computed_traits: tuple[ComputedTrait, ...] = Field(default=(), description="The computed traits to sync.")
    events: Events | None = Field(
        default=None, description="The events to forward; without this section none are forwarded."
    )


class Settings(WindsorYaml):
    """The settings as `load()` returns them: complete, with absolute paths."""

    path: Path  # of the file they were read from, absolute
    warnings: tuple[Mistake, ...] = ()  # what is allowed and probably not meant

    @property
    def access(self) -> Access:
        """The modes of what is made for the state and in the file store."""
        return Access[self.readable_by.name]

    @property
    def computations(self) -> tuple[Computation, ...]:
        """Audiences, then computed traits, in the file's order, the disabled ones too."""
        return (*self.audiences, *self.computed_traits)

    def find(self, words: Sequence[str]) -> tuple[Computation, ...]:
        """Pick computations by trait key or name, in the file's order, each once; case matters where keys differ by it.

        Raises ConfigError naming every word that fits none, with what is close to it.
        """
        named = [(str(computation.key), computation.name) for computation in self.computations]
        wanted = keys_meant(words, named, self.path)
        return tuple(each for each, (key, _) in zip(self.computations, named, strict=True) if key in wanted)
