"""Runs migrations on the connection that `state.database.upgrade` hands over, inside its transaction."""

from alembic import context

from windsor_sync.state.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False, render_as_batch=True)
context.run_migrations()
