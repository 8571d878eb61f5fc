"""Alerts: what is wrong now, and what each of those who are told knows of it. Approvals: as whom somebody approved."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    """Replace the table of what was told by two: the next run of an audience finds out again what is wrong."""
    op.drop_table("announcements")
    op.add_column("approvals", sa.Column("permitted_as", sa.Text(), nullable=True))
    op.create_table(
        "conditions",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_over", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "audience", "event", name=op.f("pk_conditions")),
    )
    op.create_table(
        "told_alerts",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("target", "destination", "audience", "event", name=op.f("pk_told_alerts")),
    )
