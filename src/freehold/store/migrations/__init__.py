"""From any earlier schema to the newest: Alembic's revisions, and the check that usually spares importing Alembic."""
