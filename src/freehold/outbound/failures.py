"""What can go wrong on the way out, split by what decides about another try: did anything leave this machine?"""

from __future__ import annotations

from freehold.calls import Attempted


class WayOutFailed(Exception):
    """The root. `attempted` says how far the request got; the text names the far end and never holds a secret."""

    attempted = Attempted.NOT_SENT

    def __init__(self, message: str, *, attempted: Attempted | None = None) -> None:
        super().__init__(message)
        if attempted is not None:
            self.attempted = attempted


class AddressRefused(WayOutFailed):
    """The address lies in a range that strangers may not make this server talk to. Nothing was sent."""


class Unreachable(WayOutFailed):
    """No connection could be made: the name, the port, the network or TLS. Nothing was sent."""


class TimedOut(WayOutFailed):
    """The far end was silent for too long."""


class BrokenOff(WayOutFailed):
    """The connection ended before the answer did, or what came is not HTTP."""
