"""Indexes by which runs and snapshots of a file are found: `forget` and `state prune` ask for them file by file."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index(op.f("ix_runs_outbox"), "runs", ["outbox"])
    op.create_index(op.f("ix_runs_snapshot_id"), "runs", ["snapshot_id"])
    op.create_index(op.f("ix_snapshots_path"), "snapshots", ["path"])
