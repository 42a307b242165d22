"""What is kept of idle sessions: the latest, and never more than the memory that is meant for them."""

from __future__ import annotations

from freehold.agents.runner import MOST_KEPT_BYTES, Folded
from freehold.agents.session import Session


def of_size(stored_bytes: int) -> Session:
    session = Session()
    session.stored_bytes = stored_bytes
    return session


def test_the_oldest_make_room_for_what_is_large_and_what_is_too_large_is_not_kept() -> None:
    folded, third = Folded(), MOST_KEPT_BYTES // 3
    kept = {name: of_size(third) for name in ("a", "b", "c", "d")}
    for name, session in kept.items():
        folded.keep(name, session)
    assert folded.take("a") is None
    assert [folded.take(name) is kept[name] for name in ("b", "c", "d")] == [True] * 3
    folded.keep("huge", of_size(MOST_KEPT_BYTES + 1))
    assert folded.take("huge") is None
    folded.keep("small", small := of_size(1))
    folded.keep("small", small)
    assert folded.take("small") is small and folded.take("small") is None
