"""Write `versions/0001_initial.py` anew from `tables.py`: `python -m freehold.store.migrations.rewrite_initial`.

Only until the first release. After it, a change to a table is a new revision with the next number.
"""

from __future__ import annotations

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import UpgradeOps
from sqlalchemy import create_engine

from freehold.store.migrations.schema import FOLDER
from freehold.store.tables import metadata

_HEADER = '''"""The first schema. Generated from `tables.py` by `rewrite_initial.py`; not edited by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
'''


def text() -> str:
    """The revision's source, before formatting."""
    with create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": False})
        operations = produce_migrations(context, metadata).upgrade_ops
    assert isinstance(operations, UpgradeOps)
    body = render_python_code(operations, render_as_batch=False)
    lines = [line for line in body.splitlines() if not line.strip().startswith("#")]
    return _HEADER + "\n".join(f"    {line.strip()}" if line.startswith("op.") else line for line in lines) + "\n"


if __name__ == "__main__":
    (FOLDER / "versions" / "0001_initial.py").write_text(text(), "utf-8")
