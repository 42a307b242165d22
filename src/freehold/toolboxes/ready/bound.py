"""A statement with the `:names` of its parameters, and of nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

_NAME = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""What SQLAlchemy's `text` takes for a parameter."""


def bound(statement: str, names: Collection[str]) -> str:
    """The statement for SQLAlchemy's `text`: a colon before any other name is only a colon (as in a quoted time)."""
    escaped = statement.replace("\\", "\\\\") if "\\:" in statement else statement
    return _NAME.sub(lambda found: found[0] if found[1] in names else "\\" + found[0], escaped)
