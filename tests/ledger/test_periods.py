"""Days and months begin at midnight of their zone, also where a day has 23 or 25 hours."""

from __future__ import annotations

import pytest

from freehold.clock import parse_rfc3339
from freehold.errors import InvalidRequest
from freehold.ledger.periods import FOREVER, span

HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("period", "zone", "now", "start", "hours"),
    [
        ("day", "UTC", "2026-11-23T23:59:59Z", "2026-11-23T00:00:00Z", 24),
        ("day", "Asia/Shanghai", "2026-11-23T16:00:00Z", "2026-11-23T16:00:00Z", 24),
        ("day", "Asia/Shanghai", "2026-11-23T15:59:59Z", "2026-11-22T16:00:00Z", 24),
        ("day", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23),
        ("day", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25),
        ("month", "UTC", "2026-02-28T12:00:00Z", "2026-02-01T00:00:00Z", 28 * 24),
        ("month", "UTC", "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", 31 * 24),
    ],
)
def test_a_period_is_from_midnight_to_midnight_of_its_zone(
    period: str, zone: str, now: str, start: str, hours: int
) -> None:
    begins = parse_rfc3339(start)
    assert span(period, zone, parse_rfc3339(now)) == (begins, begins + hours * HOUR)


def test_a_lifetime_has_no_end() -> None:
    assert span("lifetime", "UTC", 1) == (0, FOREVER)


def test_a_zone_that_there_is_not_is_refused() -> None:
    for name in ("Mars/Base", "../etc/passwd", "", "a" * 300):
        with pytest.raises(InvalidRequest, match="timezone"):
            span("day", name, 1)
