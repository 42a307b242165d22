"""Settings from flags, environment, file and defaults; which of them won is known for each value.

A setting is declared by the file that reads it, as a field of a frozen dataclass made with `setting(...)`. This module
only collects. Names are flat: the field `box_idle_s` is `box_idle_s = 600` in the TOML file, `FREEHOLD_BOX_IDLE_S` in
the environment and, where the command line offers it, `--box-idle-s`. An unknown name in the file or in a `FREEHOLD_*`
variable stops the start.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from freehold.errors import Misconfigured

S = TypeVar("S")
ENVIRONMENT_PREFIX = "FREEHOLD_"
_ABSENT = object()


def setting(default: Any, doc: str, *, unit: str = "", secret: bool = False, least: float = 0) -> Any:
    """A dataclass field that is a setting. `doc` is its line in the reference, `unit` for numbers (`s`, `bytes`).

    A number below `least` stops the start, as do infinity and what is no number at all. A `secret` comes from the
    environment or the file, never from a flag, and is never shown.
    """
    metadata = {"doc": doc, "unit": unit, "secret": secret, "least": least}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from: `flag --port`, `environment FREEHOLD_PORT`, `file freehold.toml`, or `default`."""

    name: str
    value: Any
    source: str
    secret: bool


class Configuration:
    """All settings of all sections, read once. `section(Type)` gives one frozen dataclass of them."""

    def __init__(self, values: Mapping[type[Any], Any], sources: Sequence[Source]) -> None:
        self._values = dict(values)
        self.sources = tuple(sources)

    def section(self, kind: type[S]) -> S:
        """The values of one declared settings class."""
        value: S = self._values[kind]
        return value


def load(
    sections: Sequence[type[Any]],
    *,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    reserved: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Configuration:
    """Collect every field of `sections`: flags win over environment, environment over file, file over default.

    `flags` holds only those that were given (`None` counts as not given). `reserved` are `FREEHOLD_*` names that are
    read elsewhere and therefore not unknown; `without` are settings of parts that are not made here, in any source.

    Raises:
        Misconfigured: an unknown name, a value of the wrong type, or a file that cannot be read; names the place.
    """
    fields = _fields(sections)
    from_file = _read(file) if file else {}
    variables = {
        key[len(ENVIRONMENT_PREFIX) :].lower(): text
        for key, text in (environment or {}).items()
        if key.startswith(ENVIRONMENT_PREFIX) and key not in reserved
    }
    from_file = {name: value for name, value in from_file.items() if name not in without}
    variables = {name: value for name, value in variables.items() if name not in without}
    _refuse_unknown(from_file, fields, f"{file}")
    _refuse_unknown(variables, fields, "the environment (as FREEHOLD_…)")
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    _refuse_unknown(given, fields, "the command line")

    values: dict[str, Any] = {}
    sources = []
    for name, (field, annotation) in fields.items():
        value, source = _pick(name, given, variables, from_file, file)
        if value is not _ABSENT:
            values[name] = _convert(value, annotation, name, source)
            _refuse_below(values[name], field.metadata.get("least", 0), name, source)
        sources.append(Source(name, values.get(name, _default(field)), source, bool(field.metadata.get("secret"))))
    built = {}
    for kind in sections:
        own = {field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values}
        built[kind] = kind(**own)
    return Configuration(built, sources)


def _fields(sections: Sequence[type[Any]]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    found: dict[str, tuple[dataclasses.Field[Any], Any]] = {}
    for kind in sections:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.name in found:
                raise AssertionError(f"the setting {field.name} is declared twice")
            found[field.name] = (field, hints[field.name])
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{file}: {error}") from error


def _refuse_unknown(given: Mapping[str, Any], fields: Mapping[str, Any], place: str) -> None:
    for name in given:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f" Did you mean {near[0]!r}?" if near else " `freehold config` lists the known ones."
            raise Misconfigured(f"{place}: there is no setting {name!r}.{hint}")


def _pick(
    name: str, flags: Mapping[str, Any], variables: Mapping[str, str], from_file: Mapping[str, Any], file: Path | None
) -> tuple[Any, str]:
    if name in flags:
        return flags[name], f"flag --{name.replace('_', '-')}"
    if name in variables:
        return variables[name], f"environment {ENVIRONMENT_PREFIX}{name.upper()}"
    if name in from_file:
        return from_file[name], f"file {file}"
    return _ABSENT, "default"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _convert(value: Any, annotation: Any, name: str, source: str) -> Any:
    wrong = Misconfigured(f"{source}: {name} must be {_spoken(annotation)}, not {value!r}")
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    for option in options:
        try:
            return _convert_one(value, option)
        except (ValueError, TypeError):
            continue
    raise wrong


def _convert_one(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if kind is types.NoneType:
        if value in ("", None):
            return None
        raise ValueError
    if origin is bool:
        return _boolean(value)
    if origin in (int, float):
        return _number(value, origin)
    if origin is Path:
        return Path(value)
    if origin is tuple:
        return _texts(value)
    if origin in (list, dict):
        if not isinstance(value, origin):
            raise ValueError
        return value
    if not isinstance(value, str):
        raise ValueError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError
    return tuple(items)


def _number(value: Any, kind: type[int] | type[float]) -> int | float:
    if isinstance(value, bool) or (kind is int and isinstance(value, float)):
        raise ValueError
    number = kind(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _refuse_below(value: Any, least: float, name: str, source: str) -> None:
    if isinstance(value, int | float) and value < least:
        raise Misconfigured(f"{source}: {name} must be {least:g} or more, not {value!r}")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _spoken(annotation: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    words |= {tuple: "a list of texts", dict: "a table"}
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    options = tuple(typing.get_origin(option) or option for option in options)
    return " or ".join(words.get(o, getattr(o, "__name__", str(o))) for o in options if o is not types.NoneType)
