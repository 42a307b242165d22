"""JSON on one line, both ways, without importing `json` (which imports `re`, which is a third of a box's start).

The C scanner and encoder that `json` itself stands on are used directly; where they are not as expected, `json` is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 (the C scanner wants an attribute of that name)


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _lean() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    import _json

    scan = _json.make_scanner(_Context)  # type: ignore[arg-type]
    encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    if scan('{"a":[1,null]}', 0)[0] != {"a": [1, None]} or "".join(encode({"a": "é"}, 0)) != '{"a":"\\u00e9"}':
        raise ValueError
    return lambda text: scan(text, 0)[0], lambda value: "".join(encode(value, 0))


def _plain() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    import json

    return json.loads, lambda value: json.dumps(value, separators=(",", ":"))


try:
    _loads, _dumps = _lean()
except (ImportError, AttributeError, TypeError, ValueError):
    _loads, _dumps = _plain()


def decode(line: bytes) -> Any:
    """The value on one line of JSON. The sender is the server: malformed input may raise anything."""
    return _loads(line.decode("utf-8"))


def encode(value: Any) -> bytes:
    """One line of ASCII, with its line end."""
    return _dumps(value).encode("ascii") + b"\n"
