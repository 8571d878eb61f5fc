"""Adds the default of `emails_from`: the snapshots of all audiences in a new state, each audience's own in an older one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column. A state that has an audience was in use before: its messages stay as they were."""
    op.add_column("installation", sa.Column("emails_from", sa.Text(), nullable=True))
    op.execute("UPDATE installation SET emails_from = 'all' WHERE NOT EXISTS (SELECT 1 FROM audiences)")
