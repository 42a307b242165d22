"""Calls as the gateway reads them, for what looks at them."""

from __future__ import annotations

import json
from typing import Any

from freehold.calls import Call, Caller
from freehold.gateway.reading import read_call

CALLER = Caller("wrkspc_one", "apikey_one", "member")


def call_of(model: str, conversation: list[Any], **members: Any) -> Call:
    """A call with these messages; `messages=` gives them as raw bytes, `ascii=True` escapes what is not ASCII."""
    ascii_only, raw = members.pop("ascii", False), members.pop("messages", None)
    request = {"model": model, "max_tokens": 100, "messages": conversation, **members}
    body = json.dumps(request, ensure_ascii=ascii_only).encode()
    if raw is not None:
        body = json.dumps({"model": model, "max_tokens": 100, "messages": "@"}).encode().replace(b'"@"', raw)
    call = read_call("messages", body, [], request_id="req_1", started_ns=0)
    call.caller = CALLER
    return call
