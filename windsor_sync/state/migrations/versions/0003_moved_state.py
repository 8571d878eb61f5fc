"""The mark of a state that was copied to another database, and is not to be used beside it."""

import sqlalchemy as sa
from alembic import op

from windsor_sync.state.tables import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the mark, unset."""
    op.add_column("installation", sa.Column("moved_to", sa.Text(), nullable=True))
    op.add_column("installation", sa.Column("moved_at", UtcDateTime(), nullable=True))
