"""What makes vectors, whoever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Embedder(Protocol):
    """Makes vectors of length 1 as they are stored: float16, little-endian."""

    name: str
    """Kept with a collection: vectors of different makers cannot be compared."""
    vote: float
    """What a place in its ranking counts beside the same place in that of words."""

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """A vector for each passage. Raises `FreeholdError`."""
        ...

    async def query(self, text: str) -> bytes:
        """The vector of a question. Raises `FreeholdError`."""
        ...
