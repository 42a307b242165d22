"""Query parameters, read by name and kind, and the window of a list that they ask for.

Parameters that a route does not know are ignored, as Anthropic does, except where that would change what comes back or
happens: lists (a misspelt filter would give everything) and conditional deletes refuse them by name (`refuse_others`).
`beta` is always ignored. Does not know any resource.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from freehold.clock import parse_rfc3339
from freehold.errors import InvalidRequest
from freehold.wire.pages import cursor_page, decode_cursor, encode_cursor

T = TypeVar("T")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
MOST_PARAMETERS = 1100
"""In one query string: `ids[]` takes 100, `types[]` all types; far above what a list can need."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds in microseconds since 1970; `None` means open."""

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that is asked for: how many, and after which position (`None`: from the start)."""

    limit: int
    after: Sequence[Any] | None
    _bound: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> tuple[int, str] | None:
        """`after` where it is the usual time of making and id."""
        return None if self.after is None else (self.after[0], self.after[1])

    def cursor(self, position: Sequence[Any]) -> str:
        """The `next_page` that goes on after `position`, good only for the same list, filters and order."""
        return encode_cursor({**self._bound, "at": list(position)})

    def page(
        self,
        rows: Sequence[T],
        shown: Callable[[T], dict[str, Any]],
        position: Callable[[T], Sequence[Any]],
        *,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """`{data, next_page}` from up to `limit` + 1 rows: the one too many only tells that there is a next page.

        `limit` is for lists that may give fewer than were asked for.
        """
        most = self.limit if limit is None else limit
        kept = rows[:most]
        more = self.cursor(position(kept[-1])) if len(rows) > most else None
        return cursor_page([shown(row) for row in kept], more)


class Query:
    """The query string of one request."""

    def __init__(self, raw: bytes) -> None:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
            )
        except ValueError as error:
            raise InvalidRequest(f"The query string cannot be read: {error}") from error
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)
        self._known = {"beta"}

    def text(self, name: str, *, most: int = 1024) -> str | None:
        """One value, or `None` when absent. Raises `InvalidRequest` when given twice, too long, or with NUL."""
        values = self._take(name)
        if len(values) > 1:
            raise InvalidRequest(f"{name}: given {len(values)} times, may be given once.")
        if values and (len(values[0]) > most or "\0" in values[0]):
            raise InvalidRequest(f"{name}: must be text of at most {most} characters without NUL.")
        return values[0] if values else None

    def texts(self, name: str, *, most: int) -> list[str]:
        """All values of `name[]` (or plain `name`), in order, at most `most` of them."""
        values = [*self._take(f"{name}[]"), *self._take(name)]
        if len(values) > most:
            raise InvalidRequest(f"{name}[]: {len(values)} values, at most {most} are taken.")
        return values

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number in `least..most`, or `None` when absent."""
        text = self.text(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise InvalidRequest(f"{name}: must be a whole number from {least} to {most}, not {text[:40]!r}.")
        return int(text)

    def boolean(self, name: str, default: bool = False) -> bool:
        """`true` or `false`, or `default` when absent."""
        return self.one_of(name, ("true", "false"), "true" if default else "false") == "true"

    def one_of(self, name: str, choices: Collection[str], default: str) -> str:
        """One of `choices`, or `default` when absent."""
        text = self.text(name)
        if text is None:
            return default
        if text not in choices:
            raise InvalidRequest(f"{name}: must be one of {', '.join(choices)}, not {text[:40]!r}.")
        return text

    def times(self, name: str, operators: Sequence[str] = ("gt", "gte", "lt", "lte")) -> Range:
        """The RFC 3339 bounds `name[gte]=…`, any offset."""
        bounds = {operator: self._time(f"{name}[{operator}]") for operator in operators}
        return Range(**bounds)

    def window(
        self,
        list_name: str,
        filters: Mapping[str, Any] | None = None,
        *,
        default: int = 20,
        most: int = 100,
        position: Sequence[type] = (int, str),
    ) -> Window:
        """`limit` and `page`. Call it last: it refuses every parameter that was not read before.

        `filters` is all that decides what the list holds and in which order; a cursor made under other ones is
        refused. `position` is the kinds of what a cursor holds: mostly the time of making and the id.
        """
        limit = self.whole("limit", least=1, most=most) or default
        page = self.text("page", most=4096)
        self.refuse_others()
        bound = {"list": list_name, "filter": _digest(filters or {})}
        return Window(limit, _position(page, bound, position) if page else None, bound)

    def refuse_others(self) -> None:
        """Refuse parameters that nobody has read, by name."""
        for name in self._values:
            if name not in self._known:
                known = ", ".join(sorted(self._known - {"beta"})) or "none"
                raise InvalidRequest(f"{name[:80]}: there is no such parameter here. Known: {known}.")

    def _take(self, name: str) -> list[str]:
        self._known.add(name)
        return self._values.get(name, [])

    def _time(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse_rfc3339(text.replace(" ", "+"))  # an offset's plus sign that was not escaped
        except (ValueError, OverflowError) as error:
            raise InvalidRequest(
                f"{name}: must be an RFC 3339 time with an offset, such as 2026-11-23T06:12:58Z, not {text[:60]!r}."
            ) from error


def _digest(filters: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(dict(filters), order="deterministic")).hexdigest()[:16]


def _position(page: str, bound: Mapping[str, Any], kinds: Sequence[type]) -> Sequence[Any]:
    position: list[Any] = decode_cursor(page, bound, {"at": list})["at"]
    if [type(value) for value in position] != list(kinds) or not all(_storable(value) for value in position):
        raise InvalidRequest("page: this is not a cursor of this list. Use `next_page` of an answer as it came.")
    return position


def _storable(value: object) -> bool:
    return abs(value) < 1 << 63 if isinstance(value, int) else "\0" not in str(value)
