"""Turns the SDK's types into shapes: plain JSON that says what a request may look like, which `checker` interprets.

For `generate` only. A shape is one of

    "any" "null" "boolean" "integer" "number" "string" "datetime"
    "#Name"                                                            an object of the table of shapes
    {"literal": ["5m", "1h"]}                                          one of these texts
    {"list": shape}   {"map": shape}
    {"tag": "type", "of": {"text": "#Name", …}, "default": "custom"}   objects told apart by a member; if it is absent,
                                                                       by `default`
    {"any_of": [shape, …]}                                             at most one of them for each kind of JSON value

and an object is `{"fields": {name: shape}, "required": [name]}`, with `"open": true` if it may have any other members.
A name that ends in `+` is the GA and the beta type in one.
"""

from __future__ import annotations

import datetime
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Shape = Any
"""JSON as above."""

_SCALARS: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    datetime.datetime: "datetime",
    object: "any",
    Any: "any",
}
_LISTS = frozenset({"list", "Iterable", "Sequence", "SequenceNotStr", "List"})
_MAPS = frozenset({"dict", "Mapping", "Dict"})
_NOT_JSON = frozenset({"Omit", "NotGiven", "IO", "PathLike", "bytes", "tuple", "SupportsToDict"})
"""Alternatives of an argument that never reach the wire: left out, or a file that the SDK turns into text."""


class Shaper:
    """Collects the shapes of all types it is asked about."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self._merges: dict[tuple[str, ...], str] = {}
        self._classes: dict[str, type[Any]] = {}

    def of(self, hint: Any) -> Shape:
        """The shape of a type as it stands in a signature or in a TypedDict."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        name = getattr(origin or hint, "__name__", "")
        if hint in _SCALARS:
            return _SCALARS[hint]
        if origin in (typing.Annotated, typing.Required, typing.NotRequired) or name in ("Required", "NotRequired"):
            return self.of(arguments[0])
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (typing.Union, types.UnionType):
            return self.unite([self.of(one) for one in arguments if not _is_left_out(one)])
        if name in _LISTS:
            return {"list": self.of(arguments[0])}
        if name in _MAPS:
            return {"map": self.of(arguments[1])}
        if typing.is_typeddict(hint) or hasattr(hint, "__required_keys__"):
            return self._object(hint)
        raise TypeError(f"no shape for {hint!r}")

    def _object(self, kind: type[Any]) -> Shape:
        name = kind.__name__
        if self._classes.get(name, kind) is not kind:
            name = f"{kind.__module__.rpartition('.')[2]}.{name}"
        if name not in self._classes:
            self._classes[name] = kind
            hints = typing.get_type_hints(kind, include_extras=True)
            self.objects[name] = {}
            hints |= {key: hints[key] | None for key in _null_in_answers(kind, hints)}
            self.objects[name] |= {
                "fields": {key: self.of(hint) for key, hint in sorted(hints.items())},
                "required": sorted(key for key, hint in hints.items() if _is_required(hint)),
                **({"open": True} if _is_open(kind) else {}),
            }
        return f"#{name}"

    def unite(self, shapes: Iterable[Shape]) -> Shape:
        """One shape that takes whatever one of these takes; objects with the same tag become one."""
        flat = [one for shape in shapes for one in _alternatives(shape)]
        if "any" in flat:
            return "any"
        references = [ref for one in flat for ref in _references(one)]
        if any("open" in self.objects[ref] for ref in references):  # takes every object already
            flat = [one for one in flat if one != {"map": "any"}]
        united = [
            *self._scalars(flat),
            *self._containers(flat, "list"),
            *self._containers(flat, "map"),
            *self._tagged(references),
        ]
        return united[0] if len(united) == 1 else {"any_of": united}

    def _scalars(self, flat: Sequence[Shape]) -> list[Shape]:
        scalars = {one for one in flat if isinstance(one, str) and not one.startswith("#")}
        literals = sorted({value for one in flat for value in _members(one)})
        if "datetime" in scalars:  # on the wire a time is text
            scalars -= {"string"}
        if literals and not scalars & {"string", "datetime"}:
            return [*sorted(scalars), {"literal": literals}]
        return sorted(scalars)

    def _containers(self, flat: Sequence[Shape], kind: str) -> list[Shape]:
        inner = [one[kind] for one in flat if isinstance(one, dict) and kind in one]
        return [{kind: self.unite(inner)}] if inner else []

    def _tagged(self, references: Sequence[str]) -> list[Shape]:
        names = list(dict.fromkeys(references))
        names = [self.merge(same) for same in _grouped(names, _without_beta)]
        if len(names) < 2:
            return [f"#{name}" for name in names]
        tag = self._common_tag(names)
        by_value: dict[str, list[str]] = {}
        for name in names:
            for value in self._tag_values(name, tag):
                by_value.setdefault(value, []).append(name)
        shape: dict[str, Any] = {"tag": tag, "of": {v: f"#{self.merge(by_value[v])}" for v in sorted(by_value)}}
        loose = [name for name in names if tag not in self.objects[name]["required"]]
        if loose:
            shape["default"] = self._tag_values(loose[0], tag)[0]
        return [shape]

    def _common_tag(self, names: Sequence[str]) -> str:
        common: set[str] = set.intersection(*({*self.objects[name]["fields"]} for name in names))
        for tag in sorted(common, key=lambda field: (field != "type", field)):
            loose = sum(tag not in self.objects[name]["required"] for name in names)
            if loose <= 1 and all(self._tag_values(name, tag) for name in names):
                return tag
        raise TypeError(f"nothing tells these apart: {names}")

    def _tag_values(self, name: str, tag: str) -> list[str]:
        return [v for one in _alternatives(self.objects[name]["fields"].get(tag, "any")) for v in _members(one)]

    def merge(self, names: Sequence[str]) -> str:
        """One object with the fields of all; required is what is required in each."""
        names = tuple(dict.fromkeys(names))
        if len(names) == 1:
            return names[0]
        if names not in self._merges:
            plain = f"{_without_beta(names[0])}+"
            whole = self._merges[names] = plain if plain not in self.objects else "&".join(names)
            parts = [self.objects[name] for name in names]
            fields = {field for part in parts for field in part["fields"]}
            self.objects[whole] = {}
            self.objects[whole] |= {
                "fields": {
                    field: self.unite(part["fields"][field] for part in parts if field in part["fields"])
                    for field in sorted(fields)
                },
                "required": sorted(set.intersection(*(set(part["required"]) for part in parts))),
                **({"open": True} if any("open" in part for part in parts) else {}),
            }
        return self._merges[names]


def reachable(objects: Mapping[str, Any], roots: Iterable[Shape]) -> dict[str, Any]:
    """The objects that these shapes lead to, in order of name."""
    found: dict[str, Any] = {}
    waiting = [ref for root in roots for ref in _all_references(root)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = objects[name]
            waiting += _all_references(objects[name]["fields"])
    return dict(sorted(found.items()))


def _all_references(shape: Shape) -> list[str]:
    if isinstance(shape, str):
        return [shape[1:]] if shape.startswith("#") else []
    if isinstance(shape, dict):
        return [ref for key, inner in shape.items() if key != "literal" for ref in _all_references(inner)]
    return [ref for inner in shape for ref in _all_references(inner)] if isinstance(shape, list) else []


def _alternatives(shape: Shape) -> list[Shape]:
    return list(shape["any_of"]) if isinstance(shape, dict) and "any_of" in shape else [shape]


def _references(shape: Shape) -> list[str]:
    if isinstance(shape, str):
        return [shape[1:]] if shape.startswith("#") else []
    return [ref[1:] for ref in shape["of"].values()] if "of" in shape else []


def _members(shape: Shape) -> list[Any]:
    return list(shape["literal"]) if isinstance(shape, dict) and "literal" in shape else []


def _literal(values: Sequence[Any]) -> Shape:
    """Of texts; a literal of truth values stands for both (`stream`, whose overloads say one each)."""
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"no shape for a literal of {values}")
    return {"literal": sorted(values)}


def _is_left_out(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return getattr(kind, "__name__", "") in _NOT_JSON or hasattr(kind, "model_fields")


def _null_in_answers(kind: type[Any], hints: Mapping[str, Any]) -> Iterable[str]:
    """Members that may be null in the answered block of the same name: clients send blocks back as they got them."""
    if not kind.__name__.endswith("BlockParam"):
        return []
    answer = getattr(sys.modules[kind.__module__.rpartition(".")[0]], kind.__name__.removesuffix("Param"), None)
    known = getattr(answer, "model_fields", {})
    return [key for key in hints if key in known and known[key].default is None and not _is_required(hints[key])]


def _is_open(kind: type[Any]) -> bool:
    config = getattr(kind, "__pydantic_config__", {})
    return config.get("extra") == "allow" or getattr(kind, "__extra_items__", None) is object


def _is_required(hint: Any) -> bool:
    return getattr(typing.get_origin(hint), "__name__", str(typing.get_origin(hint))).endswith("Required")


def _grouped(names: Sequence[str], key: Any) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def _without_beta(name: str) -> str:
    """The name that a GA type and its beta face share."""
    return name.partition("&")[0].rpartition(".")[2].removeprefix("Beta").replace("ParamParam", "Param")
