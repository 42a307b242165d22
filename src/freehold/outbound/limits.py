"""How long and how large the exchanges of one connection may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection."""

    silence_s: float = 600.0
    """An exchange in which nothing arrives for so long has failed."""
    stall_s: float = 600.0
    """The same for a streamed answer, of which something should arrive all the time (Claude pings)."""
    idle_s: float = 60.0
    """A pooled connection unused for so long is closed."""
    head_bytes: int = 65_536
    """The status line and headers of one answer, interim answers included; and what frames its body in between."""
    buffer_bytes: int = 262_144
    """Body bytes taken in before their reader asks for them; beyond it reading stops until it does."""
    whole_bytes: int = 134_217_728
    """The largest answer that is read as a whole."""
