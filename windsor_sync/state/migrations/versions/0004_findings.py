"""Adds the findings of a snapshot beside its counts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, empty: nothing of the kind is known of snapshots of before."""
    op.add_column("snapshots", sa.Column("findings", sa.JSON(), nullable=True))
