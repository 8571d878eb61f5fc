"""Suppressions get a key: from hashes that anybody can try ids against to hashes that need what is not in the database."""

import sqlalchemy as sa
from alembic import context, op

from windsor_sync.domain.suppression import keyed
from windsor_sync.state.connections import TO_SCRUB
from windsor_sync.state.suppression_key import KeyPlace, check_value

revision = "0008"
down_revision = "0007"

installation = sa.table("installation", sa.column("suppression_check"), sa.column("has_unkeyed_files"))
suppressions = sa.table("suppressions", sa.column("user_hash"), sa.column("origin"))
audit_trail = sa.table("audit_trail", sa.column("id"), sa.column("what"), sa.column("details", sa.JSON()))
snapshots = sa.table("snapshots", sa.column("recipe"))


def upgrade() -> None:
    """Replace each hash by its keyed hash, which needs no id; nothing without a key stays in the file.

    Where nobody is suppressed, no key is made. A recipe holds a digest of the hashes: without it the next sync seals anew.
    """
    op.add_column("installation", sa.Column("suppression_check", sa.Text(), nullable=True))
    op.add_column(
        "installation", sa.Column("has_unkeyed_files", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    connection = op.get_bind()
    hashes = connection.execute(sa.select(suppressions.c.user_hash)).scalars().all()
    deeds = [
        row
        for row in connection.execute(sa.select(audit_trail.c.id, audit_trail.c.details))
        if "user_hash" in (row.details or {})
    ]
    if not hashes and not deeds:
        return
    key = _key()
    for user_hash in hashes:
        here = suppressions.c.user_hash == user_hash
        connection.execute(sa.update(suppressions).where(here).values(user_hash=keyed(key, user_hash)))
    for row in deeds:
        details = {**row.details, "user_hash": keyed(key, row.details["user_hash"])}
        connection.execute(sa.update(audit_trail).where(audit_trail.c.id == row.id).values(details=details))
    connection.execute(sa.update(snapshots).values(recipe=""))
    connection.execute(sa.update(installation).values(suppression_check=check_value(key), has_unkeyed_files=True))
    if connection.dialect.name == "sqlite":
        op.execute(f"PRAGMA user_version = {TO_SCRUB}")


def _key() -> bytes:
    place: KeyPlace = context.config.attributes["key"]
    return place.find() or place.make()
