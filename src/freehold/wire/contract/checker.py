"""Checks a request body against the shape that the SDK's types give it, and says what is wrong and where.

`check("sessions.create", body)` raises `InvalidRequest("resources.0.type: …")` at the first thing that does not fit. It
knows types, required members, literals and tags; not lengths, counts or rules between members, which the SDK's types do
not state: whoever owns the operation checks those. The shapes are read from disk at the first check, not at import.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from freehold import clock
from freehold.errors import InvalidRequest

Extra = Literal["refuse", "allow"]

MAX_DEPTH = 100
"""Of the free parts (a tool's input, a JSON schema); the rest is as deep as its shape."""
_MAX_INTEGER = 2**63 - 1
"""What a database column holds."""
_FEW = 40
"""So many known names are listed in a message at most."""
_LONG = 80
"""Characters of a name or value that a message shows."""


def check(operation: str, value: object, *, extra: Extra = "refuse") -> None:
    """Nothing, if `value` (parsed JSON) is a body that this operation takes.

    `operation` is the SDK's method without `client.` and `beta.`: `agents.create`, `sessions.events.send`. With
    `extra="refuse"` a member that the shape does not know is an error, at any depth.

    Raises:
        InvalidRequest: it is not; the message begins with the path: `messages.0.content.1.type: …`.
        KeyError: there is no such operation.
    """
    contract = _contract()
    operation_shape = contract.operations[operation]
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    try:
        _Check(contract.objects, extra).members(operation_shape, value)
    except _Misfit as misfit:
        raise InvalidRequest(f"{_dotted(reversed(misfit.path))}: {misfit.message}") from None


def operations() -> frozenset[str]:
    """Every operation that has a JSON body."""
    return frozenset(_contract().operations)


def fields(operation: str) -> frozenset[str]:
    """The members that the body of this operation may have."""
    return frozenset(_contract().operations[operation]["fields"])


class _Contract(msgspec.Struct):
    operations: dict[str, dict[str, Any]]
    objects: dict[str, dict[str, Any]]


@functools.cache
def _contract() -> _Contract:
    return msgspec.json.decode((Path(__file__).parent / "shapes" / "requests.json").read_bytes(), type=_Contract)


class _Misfit(Exception):
    """What does not fit; the path grows, innermost first, on the way out."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str | int] = list(path)


class _Check:
    """One check under one policy."""

    def __init__(self, objects: Mapping[str, dict[str, Any]], extra: Extra) -> None:
        self._objects = objects
        self._refuse_extra = extra == "refuse"

    def value(self, shape: Any, value: object) -> None:
        """Whether `value` has this shape."""
        if isinstance(shape, str):
            if shape.startswith("#"):
                self._reference(shape, value)
            else:
                _SCALARS[shape](value)
        elif "literal" in shape:
            _literal(shape["literal"], value)
        elif "list" in shape:
            self._each(shape["list"], enumerate(_as(list, value, "list")))
        elif "map" in shape:
            self._each(shape["map"], _as(dict, value, "object").items())
        elif "tag" in shape:
            self._tagged(shape, _as(dict, value, "object"))
        else:
            self._any_of(shape["any_of"], value)

    def members(self, shape: dict[str, Any], value: dict[str, Any]) -> None:
        """Whether its members fit: the unknown first, because a mistyped name also leaves a required one missing."""
        known = shape["fields"]
        if self._refuse_extra and "open" not in shape:
            for name in value:
                if name not in known:
                    raise _Misfit(_unknown(name, known), name)
        for name in shape["required"]:
            if name not in value:
                raise _Misfit("Field required", name)
        self._each_of(known, value)

    def _each_of(self, shapes: Mapping[str, Any], value: dict[str, Any]) -> None:
        for name, member in value.items():
            try:
                self.value(shapes.get(name, "any"), member)
            except _Misfit as misfit:
                misfit.path.append(name)
                raise

    def _each(self, shape: Any, members: Iterable[tuple[str | int, object]]) -> None:
        for name, member in members:
            try:
                self.value(shape, member)
            except _Misfit as misfit:
                misfit.path.append(name)
                raise

    def _reference(self, reference: str, value: object) -> None:
        self.members(self._objects[reference[1:]], _as(dict, value, "object"))

    def _tagged(self, shape: dict[str, Any], value: dict[str, Any]) -> None:
        tag, known = shape["tag"], shape["of"]
        found = value.get(tag, shape.get("default"))
        if found is None and "default" in shape:
            found = shape["default"]
        if found is None and tag not in value:
            raise _Misfit("Field required", tag)
        if not isinstance(found, str) or found not in known:
            raise _Misfit(f"{_shown(found)} is not one that is known here. Known: {_listed(known)}", tag)
        self._reference(known[found], value)

    def _any_of(self, shapes: list[Any], value: object) -> None:
        kind = _kind(value)
        for shape in shapes:
            if kind in _kinds(shape):
                return self.value(shape, value)
        raise _Misfit(f"Input should be {' or '.join(_spoken(shape) for shape in shapes)}")


def _dotted(path: Iterable[str | int]) -> str:
    return ".".join(str(step) if len(str(step)) <= _LONG else f"{str(step)[:_LONG]}…" for step in path)


def _string(value: object) -> None:
    if not isinstance(value, str):
        raise _Misfit("Input should be a valid string")


def _integer(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_INTEGER:
        raise _Misfit("Input should be a valid integer")


def _number(value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _Misfit("Input should be a valid number")


def _boolean(value: object) -> None:
    if not isinstance(value, bool):
        raise _Misfit("Input should be true or false")


def _null(value: object) -> None:
    if value is not None:
        raise _Misfit("Input should be null")


def _datetime(value: object) -> None:
    try:
        clock.parse_rfc3339(value if isinstance(value, str) else "")
    except (ValueError, OverflowError):
        raise _Misfit("Input should be an RFC 3339 time with an offset, like 2026-11-23T06:12:58Z") from None


def _free(value: object) -> None:
    """Anything, but not deeper than `MAX_DEPTH`."""
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return
    raise _Misfit(f"nested more than {MAX_DEPTH} deep")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_SCALARS: Mapping[str, Callable[[object], None]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
    "datetime": _datetime,
    "any": _free,
}


def _literal(allowed: list[str], value: object) -> None:
    if value not in allowed:
        raise _Misfit(f"Input should be {' or '.join(map(_shown, allowed))}, not {_shown(value)}")


def _as(kind: type[Any], value: object, name: str) -> Any:
    if not isinstance(value, kind):
        raise _Misfit(f"Input should be a valid {name}")
    return value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null")


def _kinds(shape: Any) -> tuple[str, ...]:
    if isinstance(shape, dict):
        if "literal" in shape:
            return ("string",)
        return ("list",) if "list" in shape else ("object",)
    if shape.startswith("#"):
        return ("object",)
    return ({"integer": "number", "datetime": "string"}.get(shape, shape),)


def _spoken(shape: Any) -> str:
    if isinstance(shape, dict) and "literal" in shape:
        return " or ".join(map(_shown, shape["literal"]))
    kind = _kinds(shape)[0]
    return {"null": "null", "boolean": "true or false", "object": "an object"}.get(kind, f"a {kind}")


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:100], list(known), 1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {_listed(known)}"
    return f"Extra inputs are not permitted ({hint})"


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_FEW]) + (" …" if len(ordered) > _FEW else "")


def _shown(value: object) -> str:
    """A value in a message; never long, and of a container only its kind."""
    if isinstance(value, dict | list):
        return f"an {_kind(value)}" if isinstance(value, dict) else "a list"
    text = msgspec.json.encode(value).decode() if not isinstance(value, float) else repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
