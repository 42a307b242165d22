"""A plain call (see `router.py`) gets its model: decided, noted for its record, and made a call for that model."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec.structs import replace

from freehold.calls import Call
from freehold.gateway.routed import Routed, note_routed
from freehold.gateway.routing.router import Router
from freehold.gateway.routing.signals import Signals
from freehold.wire.envelopes import replace_fields

_encode = msgspec.json.Encoder().encode


def decide_plainly(router: Router, call: Call, signals: Signals, now_us: int) -> str | None:
    """The model of a plain call, with the decision noted for its record; `None`: it is not plain."""
    found = router.plainly(call, signals, now_us)
    if found is None:
        return None
    chosen, moved, text = found
    said = (chosen.said + call.request_id).encode()
    note_routed(call, Routed(said, signals.conversation if moved else None, text))
    return chosen.model


def asking_for(call: Call, model: str) -> Call:
    """The same call for that model: only the bytes of `model` differ. The notes are shared."""
    raw, new, body = call.fields["model"], _quoted(model), call.body
    once = body.count(raw) == 1  # nearly always: then there is nothing to search for
    body = body.replace(raw, new) if once else replace_fields(body, call.fields, {"model": new})
    return replace(call, body=body, fields={**call.fields, "model": new}, model=model)


@lru_cache(maxsize=1024)
def _quoted(model: str) -> bytes:
    return _encode(model)
