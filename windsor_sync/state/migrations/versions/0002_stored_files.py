"""Stored files with what they were when they were put in place, and audiences whose ledger is lost."""

import sqlalchemy as sa
from alembic import op

from windsor_sync.state.tables import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table, empty: files of before are known by their snapshots' and runs' rows alone."""
    op.create_table(
        "stored_files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("whole", sa.Text(), nullable=False),
        sa.Column("audience_id", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("stored_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["audience_id"], ["audiences.id"], name=op.f("fk_stored_files_audience_id")),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_stored_files")),
    )
    op.create_index(op.f("ix_stored_files_whole"), "stored_files", ["whole"], unique=False)
    op.create_index(op.f("ix_stored_files_audience_id"), "stored_files", ["audience_id"], unique=False)
    op.add_column("audiences", sa.Column("ledger_lost_at", UtcDateTime(), nullable=True))
