"""What a client is told when an upstream could not be reached or broke off: the kind of failure, not our addresses."""

from __future__ import annotations

from freehold.calls import Attempted
from freehold.errors import FreeholdError, UpstreamFailed, UpstreamTimedOut
from freehold.outbound.failures import TimedOut, WayOutFailed


def told(error: WayOutFailed) -> FreeholdError:
    """The error for the client."""
    if isinstance(error, TimedOut):
        where = "could be reached" if error.attempted is Attempted.NOT_SENT else "answered"
        return UpstreamTimedOut(f"The upstream has not {where} in time.")
    if error.attempted is Attempted.NOT_SENT:
        return UpstreamFailed("The upstream cannot be reached.")
    return UpstreamFailed("The upstream broke off before its answer was complete.")
