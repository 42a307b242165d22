"""JSON that was cut off: a tool's input when the model stopped (`max_tokens`) in the middle of writing it."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*+")|([{}\[\],:])|([^\s"{}\[\],:]+))', re.DOTALL)
_SCALAR = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_CLOSER = {"{": "}", "[": "]"}


def read(text: str) -> Any:
    """The value, without what is only half there: an open string, half a number, a key without its value.

    As the SDK's accumulator reads tool input while it comes (`jiter.from_json(…, partial_mode=True)`).

    Raises:
        ValueError: it is not the beginning of any JSON value.
    """
    try:
        return _strict(text)
    except ValueError:
        end, closers = _last_whole(text)
        if end == 0:
            raise
        return _strict(text[:end] + closers)


def _strict(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _last_whole(text: str) -> tuple[int, str]:
    """Where the last whole value ends or the last container begins, and the brackets that are open there."""
    open_: list[str] = []
    end, closers = 0, ""
    awaits_value = True
    at = 0
    while token := _TOKEN.match(text, at):
        string, mark, scalar = token.groups()
        at = token.end()
        if mark in _CLOSER:
            open_.append(_CLOSER[mark])
            awaits_value = mark == "["
        elif mark in ("}", "]"):
            if not open_ or open_.pop() != mark:
                raise ValueError(f"unexpected {mark} at character {at}")
        elif mark is not None:
            awaits_value = mark == ":" or (bool(open_) and open_[-1] == "]")
            continue
        elif scalar is not None and not _SCALAR.fullmatch(scalar):
            break
        elif string is not None and not awaits_value:
            continue
        end, closers = at, "".join(reversed(open_))
    if text[at:].strip() and not _could_go_on(text[at:].strip()):
        raise ValueError(f"not JSON at character {at}")
    return end, closers


def _could_go_on(rest: str) -> bool:
    """Whether this tail is the beginning of a string, the only token that may stand there unfinished."""
    return rest.startswith('"')
