"""Stretches of rows that have an answer, or were never sent, above the row up to which a shard is done."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table, empty: what a run of before left in doubt stays in doubt."""
    op.create_table(
        "stretches",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("is_answered", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_stretches_run_id")),
        sa.PrimaryKeyConstraint("run_id", "shard", "first", name=op.f("pk_stretches")),
    )
