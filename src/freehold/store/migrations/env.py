"""What Alembic runs: the revisions, on the connection it is given, in batches where SQLite cannot alter a table."""

from alembic import context

from freehold.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
