"""What a client may say to a session: its events, checked one by one and brought into the form that is stored. Pure.

The contract has checked types and unknown fields already; here stand the rules that types cannot say (Claude API docs,
Managed Agents events, read 2026-11-23). What this server does not do is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from freehold.agents.session import Json
from freehold.errors import InvalidRequest, NotBuilt
from freehold.toolboxes.results import begins_as, shown

MOST_EVENTS = 1000
"""In one request."""
MOST_INITIAL_EVENTS = 50
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def checked(place: str, event: Mapping[str, Any]) -> Json:
    """The event's own fields as they are stored, without its type.

    Raises:
        InvalidRequest: a rule is broken; the message names the field, beginning with `place`.
        NotBuilt: (an InvalidRequest) this server has no such thing.
    """
    check = _CHECKS.get(event["type"])
    if check is None:
        raise NotBuilt(f"{place}.type: {event['type']!r} is not built yet.")
    return check(place, event)


def checked_initial(place: str, event: Mapping[str, Any]) -> Json:
    """The same for an event that a session is created with."""
    if event["type"] != "user.message":
        raise NotBuilt(f"{place}.type: {event['type']!r} is not built yet; initial_events takes user.message.")
    return checked(place, event)


def has_files(fields: Mapping[str, Any]) -> bool:
    """Whether one of the event's blocks refers to a file."""
    sources = [block.get("source") for block in fields.get("content") or ()]
    return any(isinstance(source, dict) and source["type"] == "file" for source in sources)


def _message(place: str, event: Mapping[str, Any]) -> Json:
    if not event["content"]:
        raise InvalidRequest(f"{place}.content: must hold at least one block.")
    content = _blocks(f"{place}.content", event["content"], _SAID)
    _refuse_broken(place, content)
    return {"content": content}


def _refuse_broken(place: str, content: Sequence[Json]) -> None:
    """Media that are not what they are said to be: the model would refuse them now, and in every later request."""
    for index, block in enumerate(content):
        source = block.get("source")
        if not isinstance(source, dict) or source["type"] != "base64":
            continue
        if not begins_as(source["media_type"], base64.b64decode(source["data"])):
            raise InvalidRequest(f"{place}.content.{index}.source.data: is no {source['media_type']}.")


def _interrupt(place: str, event: Mapping[str, Any]) -> Json:
    thread = event.get("session_thread_id")
    return {} if thread is None else {"session_thread_id": thread}


def _confirmation(place: str, event: Mapping[str, Any]) -> Json:
    fields: Json = {"tool_use_id": event["tool_use_id"], "result": event["result"]}
    message = event.get("deny_message")
    if message is not None:
        if event["result"] != "deny":
            raise InvalidRequest(f"{place}.deny_message: only goes with result deny.")
        fields["deny_message"] = message
    return fields


def _system(place: str, event: Mapping[str, Any]) -> Json:
    if not event["content"]:
        raise InvalidRequest(f"{place}.content: must hold at least one block.")
    return {"content": _blocks(f"{place}.content", event["content"], {"text": _text})}


def check_order(events: Sequence[Mapping[str, Any]]) -> None:
    """A `system.message` is the last of its request and goes with what stands right before it (SDK
    `beta_managed_agents_system_message_event_params.py`). Raises `InvalidRequest`.
    """
    for index, event in enumerate(events):
        if event["type"] == "system.message":
            if index != len(events) - 1:
                raise InvalidRequest(f"events.{index}.type: a system.message must be the last of its request.")
            if index == 0 or events[index - 1]["type"] not in _ACCOMPANIED:
                known = " or ".join(_ACCOMPANIED)
                raise InvalidRequest(
                    f"events.{index}.type: a system.message must follow the {known} that it goes with."
                )


_ACCOMPANIED = ("user.message", "user.tool_result", "user.custom_tool_result")
_WITHOUT_SYSTEM_MESSAGES = re.compile(
    r"claude-(instant|[123]\b|4-|(sonnet|haiku)-4|opus-4(?!-[89]\b|-[1-9][0-9]\b))", re.IGNORECASE
)
"""Claude models before Opus 4.8 take no system message within a conversation (Claude API docs, mid-conversation system
messages, read 2026-11-28)."""


def refuse_without_system(model: str, place: str) -> None:
    """A model that takes no system message within a conversation. Raises `InvalidRequest`."""
    if _WITHOUT_SYSTEM_MESSAGES.search(model):
        raise InvalidRequest(
            f"{place}.type: {model[:100]} takes no system.message within a conversation.",
            details={"error_code": "model_does_not_support_mid_conversation_system"},
        )


def _custom_result(place: str, event: Mapping[str, Any]) -> Json:
    content = _blocks(f"{place}.content", event.get("content") or (), _ANSWERED)
    _refuse_broken(place, content)
    is_error = bool(event.get("is_error"))
    return {"custom_tool_use_id": event["custom_tool_use_id"], "content": content, "is_error": is_error}


def _tool_result(place: str, event: Mapping[str, Any]) -> Json:
    """What a worker's tool has brought: it cannot do better when asked again, so the model is told of broken media."""
    content = [shown(block) for block in _blocks(f"{place}.content", event.get("content") or (), _ANSWERED)]
    return {"tool_use_id": event["tool_use_id"], "content": content, "is_error": bool(event.get("is_error"))}


_CHECKS: Mapping[str, Callable[[str, Mapping[str, Any]], Json]] = {
    "user.message": _message,
    "user.interrupt": _interrupt,
    "user.tool_confirmation": _confirmation,
    "user.custom_tool_result": _custom_result,
    "user.tool_result": _tool_result,
    "system.message": _system,
}
_Check = Callable[[str, Mapping[str, Any]], Json]


def _blocks(place: str, blocks: Sequence[Mapping[str, Any]], known: Mapping[str, _Check]) -> list[Json]:
    made = []
    for index, block in enumerate(blocks):
        check = known.get(block["type"])
        if check is None:
            raise InvalidRequest(f"{place}.{index}.type: must be one of {', '.join(known)}, not {block['type']!r}.")
        made.append(check(f"{place}.{index}", block))
    return made


def _text(place: str, block: Mapping[str, Any]) -> Json:
    if not block["text"].strip():
        raise InvalidRequest(f"{place}.text: must hold more than white space.")
    return {"type": "text", "text": block["text"]}


def _any_text(_: str, block: Mapping[str, Any]) -> Json:
    return {"type": "text", "text": block["text"]}  # a tool may well print nothing


def _image(place: str, block: Mapping[str, Any]) -> Json:
    return {"type": "image", "source": _source(f"{place}.source", block["source"], _IMAGES)}


def _document(place: str, block: Mapping[str, Any]) -> Json:
    made: Json = {"type": "document", "source": _source(f"{place}.source", block["source"], {"application/pdf"})}
    made |= {key: block[key] for key in ("title", "context") if block.get(key) is not None}
    return made


def _search_result(_: str, block: Mapping[str, Any]) -> Json:
    return {key: block[key] for key in ("type", "source", "title", "content", "citations")}


def _source(place: str, source: Mapping[str, Any], media_types: frozenset[str] | set[str]) -> Json:
    match source["type"]:
        case "file":
            return {"type": "file", "file_id": source["file_id"]}
        case "url":
            return {"type": "url", "url": source["url"]}
        case "text":
            return {"type": "text", "media_type": "text/plain", "data": source["data"]}
    if source["media_type"] not in media_types:
        known = ", ".join(sorted(media_types))
        raise InvalidRequest(f"{place}.media_type: must be one of {known}, not {source['media_type'][:80]!r}.")
    try:
        data = base64.b64decode(source["data"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{place}.data: is not base64 ({error}).") from error
    if not data:
        raise InvalidRequest(f"{place}.data: is empty.")
    return {"type": "base64", "media_type": source["media_type"], "data": source["data"]}


_SAID: Mapping[str, _Check] = {"text": _text, "image": _image, "document": _document}
_ANSWERED: Mapping[str, _Check] = {
    "text": _any_text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
