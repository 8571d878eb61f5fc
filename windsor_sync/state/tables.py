"""The state's tables. None of them holds a user id, an e-mail or a trait: rows of users live in sealed files.

A user in a verdict or a progress row is a place in a sealed outbox: run and row number (`seq`).
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database; SQLite, which has no time zones, stores it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: it would be read back as another moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Hand the moment back in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _count(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default="0")


# One row, written with the tables: the identity of this state, part of every messageId. A state that is lost and made anew
# must not repeat the ids of its former life, or a destination that deduplicates would drop what it sends.
installation = Table(
    "installation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("moved_to", Text),  # URL of the database the state was copied to, to be used instead; null in use
    Column("moved_at", UtcDateTime),
    Column("suppression_check", Text),  # tells the key of the suppressions from another one; null until a key is used
    # whether the file store may hold suppressions without a key, of before there was one
    Column("has_unkeyed_files", Boolean, nullable=False, server_default=false()),
    Column("emails_from", Text),  # what holds where windsor.yaml does not say; null in a state of before the setting
)

# An audience or computed trait at one destination, or the events forwarded to it. The row outlives a retirement, so that
# run numbers, and with them messageIds, never start again.
audiences = Table(
    "audiences",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("trait_key", Text, nullable=False),  # pinned at the first sync
    Column("computation_class", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("segment_id", Text),
    Column("runs", Integer, nullable=False, server_default="0"),  # number of the newest run
    Column("head_run", Text),  # its snapshot less what is owed of its outbox is what Windsor was told
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Column("ledger_lost_at", UtcDateTime),  # what Windsor was told is not known since then; the next run recovers it
    UniqueConstraint("destination", "trait_key"),
)

# Every file of the store that holds rows of people, as it was when it was put in place. Files of an older version have no row.
stored_files = Table(
    "stored_files",
    metadata,
    Column("path", Text, primary_key=True),  # below the file store
    Column("whole", Text, nullable=False),  # the path that names it and its other parts; of a single file its own
    Column("audience_id", Integer, ForeignKey("audiences.id"), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("checksum", Text, nullable=False),  # hex SHA-256 of its bytes
    Column("stored_at", UtcDateTime, nullable=False),
    Index(None, "whole"),
    Index(None, "audience_id"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("audience_id", Integer, ForeignKey("audiences.id"), nullable=False),
    Column("path", Text, nullable=False),  # below the file store
    Column("checksum", Text, nullable=False),  # of its rows, whatever their order
    Column("recipe", Text, nullable=False),  # how the source was read: another recipe is another snapshot
    Column("fingerprint", Text),  # of the source file; null where it cannot be trusted
    Column("taken_at", UtcDateTime, nullable=False),
    Column("sealed_at", UtcDateTime, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _count("rows_read"),
    _count("members"),
    Column("left_out", JSON, nullable=False),
    Column("findings", JSON),  # what was found beside the counts: rows that could not be read, e-mails left out
    Index(None, "audience_id", "id"),
    Index(None, "path"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("audience_id", Integer, ForeignKey("audiences.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),  # why a person started it
    Column("snapshot_id", Integer, ForeignKey("snapshots.id")),  # null for forwarded events
    Column("previous_run", Text),  # the ledger's head before this run
    Column("outbox", Text),  # below the file store; null when nothing changed
    Column("held", JSON, nullable=False),  # the kinds of change the guard withholds
    Column("options", JSON, nullable=False),
    Column("intake", JSON),  # of forwarded events: what was read, and what was left out and why
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("sentence", Text),  # how it ended, in words
    _count("members_before"),
    _count("entered"),
    _count("exited"),
    _count("updated"),
    _count("delivered"),
    _count("rejected"),
    _count("withheld"),
    _count("owed"),
    _count("in_doubt"),
    _count("moved"),  # members who have another id since Windsor was last told
    _count("moved_from"),  # their old ids, where Windsor may not have merged them
    _count("merged"),  # further rows of persons who have several rows in the snapshot
    _count("merges"),  # the number of the newest merge that the run knew of
    Index(None, "audience_id", "number", unique=True),
    Index(None, "started_at"),
    Index(None, "outbox"),
    Index(None, "snapshot_id"),
)

# How far a shard, a part of an outbox's rows, has come. Rows below `position` have an answer; rows at or above `reach` were
# never sent. A crash leaves the rows between them in doubt, but for those of `stretches`.
progress = Table(
    "progress",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),  # exclusive
    _count("position"),
    _count("reach"),
    _count("delivered"),  # counted answer by answer, so that the books can be checked against the diff
    Column("ended", Text),  # how the task that delivered only this shard ended; null while it runs, and when it died
    Column("ended_why", Text),
)

# Stretches of rows at or above a shard's position that are not in doubt: answered, or not let go yet because they wait behind
# an earlier row of their user.
stretches = Table(
    "stretches",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),  # exclusive
    Column("is_answered", Boolean, nullable=False),
)

# Rows whose answer was not a plain yes, and rows at or above the position whose answer is known.
verdicts = Table(
    "verdicts",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("code", Integer),
    Column("message", Text),  # Windsor's own, without what it echoed of the user
    Column("in_doubt", Boolean, nullable=False),
    Column("answered_at", UtcDateTime, nullable=False),
)

# The two stored files of the ids that a destination has merged. `number` grows with every change of them.
merges = Table(
    "merges",
    metadata,
    Column("destination", Text, primary_key=True),
    _count("number"),
    Column("base", Text),  # below the file store
    Column("recent", Text),  # later merges; it counts where both files have an id
    _count("base_rows"),
)

# The files of the event archive that have been read: every line of them is in an outbox, or counted as left out.
archive_files = Table(
    "archive_files",
    metadata,
    Column("audience_id", Integer, ForeignKey("audiences.id"), primary_key=True),
    Column("path", Text, primary_key=True),  # below the archive
    Column("fingerprint", Text, nullable=False),  # an overwritten file has another
    Column("size_bytes", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("resource", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),  # grows with every holder: the fence
    Column("holder", Text),
    Column("process", Text),  # by which another process of the same machine can tell that the holder has died
    Column("acquired_at", UtcDateTime),
    Column("deadline", UtcDateTime),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("audience_id", Integer, ForeignKey("audiences.id"), nullable=False),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False),  # the run that was withheld
    Column("max_exited", BigInteger),
    Column("max_entered", BigInteger),
    Column("who", Text, nullable=False),
    Column("why", Text),
    Column("at", UtcDateTime, nullable=False),
    Column("permitted_as", Text),  # the entry of `approval.approvers` that let them; null where none was asked for
    Column("settled_at", UtcDateTime),  # when it was used, or had nothing left to release
    Index(None, "audience_id", "settled_at"),
)

# A destination's rate is divided among the tasks that are registered here and still breathe.
rate_shares = Table(
    "rate_shares",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("weight", Integer, nullable=False),
    Column("ceiling", Float),  # requests per second: a task's claim; without a task, the destination's ceiling
    Column("seen_at", UtcDateTime, nullable=False),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("user_hash", Text, primary_key=True),  # see domain/suppression.py
    Column("origin", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# What is read from outside now and then, and when it last was; also syncs that read a source and came to no run (state/tries).
readings = Table(
    "readings",
    metadata,
    Column("what", Text, primary_key=True),
    Column("read_at", UtcDateTime, nullable=False),
    Column("entries", BigInteger, nullable=False),
)

# Everything that is wrong with an audience or a destination, or was: what people are told by alerts.
conditions = Table(
    "conditions",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("audience", Text, primary_key=True),  # trait key; empty where the whole destination is concerned
    Column("event", Text, primary_key=True),
    Column("sentence", Text, nullable=False),
    Column("run_id", Text),  # that found it out; a note, since a run may be pruned
    Column("since", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),  # older news of it is ignored
    Column("is_over", Boolean, nullable=False),
)

# What each of those who are told knows: a row for each condition that they were told, or are being told.
told_alerts = Table(
    "told_alerts",
    metadata,
    Column("target", Text, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("audience", Text, primary_key=True),
    Column("event", Text, primary_key=True),
    Column("state", Text, nullable=False),  # telling, told, or ending: its end is being told
    Column("tries", Integer, nullable=False),
    Column("next_try_at", UtcDateTime, nullable=False),  # until then it is being sent, or put off after a failure
)

audit_trail = Table(
    "audit_trail",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("why", Text),
    Column("details", JSON, nullable=False),
)
