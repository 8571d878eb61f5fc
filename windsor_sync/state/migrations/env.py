"""Runs migrations on the connection that `state.upgrading.upgrade` hands over, inside its transaction."""

from alembic import context

from windsor_sync.state.tables import metadata
from windsor_sync.state.upgrading import VERSION_TABLE

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, render_as_batch=True)
context.run_migrations()
