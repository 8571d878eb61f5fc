"""Adds the table of known merges, and to each run what it counted of them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the empty table, and count 0 for earlier runs."""
    op.create_table(
        "merges",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("base", sa.Text(), nullable=True),
        sa.Column("recent", sa.Text(), nullable=True),
        sa.Column("base_rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_merges")),
    )
    for name in ("moved", "moved_from", "merged", "merges"):
        op.add_column("runs", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
