"""What is known of merged ids, and what of it a run knew and counted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table, empty, and count nothing for the runs of before."""
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
