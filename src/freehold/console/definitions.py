"""Definitions that a person writes as JSON into a form: read, and what is wrong with them told."""

from __future__ import annotations

import json
from typing import Any

from freehold.within import Refused


def parsed(text: str) -> dict[str, Any]:
    """The object that the text says. Raises `ValueError`."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"This is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("This must be a JSON object: {…}")
    return value


def told(error: Refused | ValueError) -> str:
    """What is wrong, in the API's own words or in ours."""
    return error.message if isinstance(error, Refused) else str(error)
