"""A toolbox whose effects can be counted afterwards: each call appends its key to a file, and makes that durable."""

from __future__ import annotations

import os
import time
from pathlib import Path

from anthropic import beta_tool

from freehold.toolboxes import current_call


@beta_tool
def deposit(amount: int) -> str:
    """Pay an amount in. Must never happen twice.

    Args:
        amount: How much.
    """
    _record()
    return f"paid in {amount}"


@beta_tool
def slow_deposit(amount: int) -> str:
    """Pay an amount in, slowly.

    Args:
        amount: How much.
    """
    _record()
    time.sleep(0.3)
    return f"paid in {amount}"


def _record() -> None:
    with Path(os.environ["EFFECTS_FILE"]).open("ab") as file:
        file.write(f"{current_call().key}\n".encode())
        file.flush()
        os.fsync(file.fileno())
