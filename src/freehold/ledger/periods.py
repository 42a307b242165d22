"""Days and months of a time zone as spans of microseconds; a lifetime has no end. Knows no budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from freehold.errors import InvalidRequest

FOREVER = 1 << 62
"""The end of a lifetime, in microseconds."""


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name. Raises `InvalidRequest`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(
            f"timezone: {name[:64]!r} is no time zone; take an IANA name such as UTC or Asia/Shanghai."
        ) from error


def span(period: str, timezone: str, now_us: int) -> tuple[int, int]:
    """The period that is running: from (included) and until (not included), in microseconds since 1970.

    Midnight is the zone's own: a day may have 23 or 25 hours.
    """
    if period == "lifetime":
        return 0, FOREVER
    local = datetime.fromtimestamp(now_us / 1_000_000, zone(timezone))
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "month":
        start = start.replace(day=1)
        following = (start + timedelta(days=32)).replace(day=1)
    else:
        following = start + timedelta(days=1)  # wall time: the zone's next midnight
    return _us(start), _us(following)


def _us(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp()) * 1_000_000
