"""Spans of boxes: how long it took until a session's box was open, in the session's own trace."""

from __future__ import annotations

from freehold.telemetry.spans import Place, Span, TakesSpans, is_chosen, new_span_id
from freehold.telemetry.turns import session_place


class BoxSpans:
    """Hears of boxes that were opened, or could not be; makes spans of the chosen sessions."""

    def __init__(self, take: TakesSpans, share: float) -> None:
        self._take = take
        self._share = share

    def __call__(self, session_id: str, start_us: int, end_us: int, failed: str | None) -> None:
        """One opening, whose times are µs since 1970."""
        trace = session_place(session_id)
        if is_chosen(trace, self._share):
            attributes = {"gen_ai.conversation.id": session_id}
            place = Place(trace.trace_id, new_span_id())
            span = Span("open_box", place, None, start_us * 1000, end_us * 1000, attributes=attributes, error=failed)
            self._take(span)
