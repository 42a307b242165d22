"""Values in a text that can fill a tool's parameters: ids, numbers, dates, quotes, paths, names, enum members.

`take` gives the best value for one parameter, by its name, type, format and description, and does not give the same one
twice for different parameters of one call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from freehold.simulator.reading import blocks, patterns
from freehold.simulator.reading.words import CHINESE, chinese, stem, words

_ID = re.compile(
    r"(?<![\w/.-])([A-Za-z]{1,12}[_-][A-Za-z0-9]*[0-9][A-Za-z0-9_-]*|[A-Z]{1,6}[0-9]{2,}|"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![\w])"
)
_NUMBER = re.compile(
    r"(?<![\w.-])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?<![A-Za-z_\d.-])-?\d+(?:\.\d+)?(?![\w]*[A-Za-z_]\d|\.\d)"
)
_DATE = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ](\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})?))?")
_DATE_HAN = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})[日号]")
_QUOTED = re.compile(
    r'"([^"\n]{1,500})"|“([^”]{1,500})”|「([^」]{1,500})」|《([^》]{1,500})》|`([^`\n]{1,500})`|(?<!\w)\'([^\'\n]{2,500})\'(?!\w)'
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_URL = re.compile(r"https?://[^\s<>\"'）)，。]+")
_CURRENCY = re.compile(r"\b[A-Z]{3}\b")
_PLACE = re.compile(r"\b(?:in|for|at|from|to|near|of)\s+((?:[A-Z][\w'’-]+)(?:\s+[A-Z][\w'’-]+){0,3})")
_ONE_PLACE = r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*"
_PLACE_LIST = re.compile(rf"\b(?:in|for|at|of)\s+({_ONE_PLACE}(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+){_ONE_PLACE})+)")
_PLACES = ("city", "location", "place", "country", "region", "town", "address")
_PROPER = re.compile(r"(?<![.!?]\s)(?<!^)\b([A-Z][a-z'’]+(?:\s+[A-Z][a-z'’]+){0,3})")
_PLACE_HAN = re.compile(
    r"(?:在|去|到|查一?下?|看看|告诉我|请问)?[ \t]{0,3}([\u4e00-\u9fff]{2,4}?)(?:市|省|县)?(?:的|今天|明天|现在|当前)"
)
_HAN_DIGITS = {"一": 1, "两": 2, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10}
_HAN_NUMBER = re.compile(r"([一两二三四五六七八九十])(?=[个条天周月年次位名页份])")
_IMPERATIVE = re.compile(
    r"^\s*(?:please|can you|could you|would you|i want you to|i'd like you to|请问?|帮我|麻烦你?|能否|可以)?\s*"
    r"(?:search(?: the \w+)? for|search|look up|find out|find|tell me about|tell me|what do you know about|query|"
    r"搜索一?下?|查询一?下?|查一?下|检索|告诉我)?\s*[:：]?\s*",
    re.I,
)
_MOST_TOKENS = 500
"""Words of a text that are held against a client's pattern."""
_SEQUENCE = ("query", "question", "text", "prompt", "message", "input", "q", "search", "expression", "content", "body")


class Values:
    """Everything in some texts that could fill a parameter. The user's text comes first, tool results after it."""

    def __init__(self, text: str, *, known: Sequence[tuple[str, Any]] = ()) -> None:
        """`known` are named values from tool results, such as `("user_id", "u_1001")`."""
        self.text = text[:20_000]
        self._plain = blocks.without_fences(self.text).strip()
        self._known = known
        self._used: set[str] = set()
        self._cached: dict[str, list[str]] = {}

    def fresh(self) -> Values:
        """The same values for another call, none of them used yet."""
        again = Values(self.text, known=self._known)
        again._cached = self._cached
        return again

    def take(self, name: str, kind: str, schema: Mapping[str, Any]) -> Any:
        """The best value for a parameter, or `None` where the text holds none."""
        if kind in ("integer", "number"):
            return self._number(name, kind, schema)
        if kind == "boolean":
            return self._boolean(name)
        if kind == "null":
            return None
        return self._string(name, schema)

    def can_fill(self, name: str, kind: str, schema: Mapping[str, Any]) -> bool:
        """Whether `take` would find something of its own for it, so that nobody need ask."""
        if schema.get("enum") or "const" in schema or "default" in schema or kind == "boolean":
            return True
        if kind == "object":
            return True
        if kind == "array":
            return True
        return self.fresh().take(name, kind, schema) is not None

    def mentions(self, name: str, schema: Mapping[str, Any]) -> bool:
        """Whether the text speaks of an optional parameter, so that it should be filled."""
        if any(key == name for key, _ in self._known):
            return False
        if schema.get("enum"):
            return self._enum_hit(schema["enum"]) is not None
        own = {stem(part) for part in re.split(r"[_\W]+", name) if part}
        said = words(self._plain) | {stem(word) for word in re.findall(r"[A-Za-z]+", self._plain)}
        if own & said or (_is_date(name, schema) and self._dates()):
            return True
        return schema.get("type") in ("integer", "number") and bool(self._near(name))

    def all_for(self, name: str, kind: str, schema: Mapping[str, Any]) -> list[Any]:
        """Every value for a list parameter, in order."""
        if schema.get("enum"):
            return [one for one in schema["enum"] if _said(str(one), self._plain)]
        if kind in ("integer", "number"):
            return [_as_number(one, kind) for one in self._numbers()]
        if kind != "string":
            return []
        if _is_id(name, schema):
            return self._ids(name)
        if _is_path(name):
            return list(blocks.paths(self._plain))
        return self._quotes() or self._list_after_colon()

    def several(self, name: str, schema: Mapping[str, Any]) -> list[str]:
        """All ids, addresses or places that the text gives for one parameter, if that is its kind."""
        low = name.lower()
        if _is_id(name, schema):
            return self._ids(name)
        if "mail" in low:
            return list(dict.fromkeys(_EMAIL.findall(self._plain)))
        if any(word in low for word in _PLACES):
            listed = _PLACE_LIST.search(self._plain)
            return re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", listed.group(1)) if listed else []
        return []

    def one_of(self, options: Sequence[Any], name: str) -> Any:
        """The member of an enum that the text names; else the first."""
        hit = self._enum_hit(options)
        return options[0] if hit is None else hit

    def text_for(self, name: str, schema: Mapping[str, Any]) -> str | None:
        """A free text for a parameter such as `query`: what was asked, without the words that ask for it."""
        cut = _IMPERATIVE.sub("", self._plain.split("\n\n")[0], count=1).strip().rstrip("。.?？!！")
        return cut[:1000] or None

    def fallback(self, name: str, kind: str, schema: Mapping[str, Any]) -> Any:
        """Something valid where nothing was found."""
        match kind:
            case "integer" | "number":
                low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
                high = schema.get("maximum", low)
                return _as_number(str(min(max(low, 1), max(high, low))), kind)
            case "boolean":
                return True
            case "null":
                return None
        text = _of_format(schema.get("format")) or self.text_for(name, schema) or name or "text"
        shortest, longest = schema.get("minLength") or 0, schema.get("maxLength")
        return text.ljust(shortest, ".")[:longest]

    def _enum_hit(self, options: Sequence[Any]) -> Any:
        for option in options:
            if option is not None and _said(str(option), self._plain):
                return option
        return None

    def _string(self, name: str, schema: Mapping[str, Any]) -> Any:
        for found in self._candidates(name, schema):
            if found in self._used or not _fits(found, schema):
                continue
            self._used.add(found)
            return found
        return None

    def _candidates(self, name: str, schema: Mapping[str, Any]) -> Iterator[str]:
        low = name.lower()
        if isinstance(pattern := schema.get("pattern"), str):
            yield from self._matching(pattern)
        if _is_date(name, schema) and (self._dates() or not _CURRENCY.search(self._plain)):
            yield from self._dates()
        elif schema.get("format") == "email" or "email" in low or "mail" in low:
            yield from _EMAIL.findall(self._plain)
        elif schema.get("format") in ("uri", "url") or "url" in low or low in ("link", "href"):
            yield from _URL.findall(self._plain)
        elif _is_id(name, schema):
            yield from self._ids(name)
            yield from (str(value) for key, value in self._known if _same_id(key, name))
            return
        elif _is_path(name):
            yield from blocks.paths(self._plain)
        elif "currency" in low or low in ("from", "to", "base", "symbol", "ticker"):
            yield from _CURRENCY.findall(self._plain)
        yield from (str(value) for key, value in self._known if key == name)
        if any(word in low for word in _PLACES):
            yield from self._places()
            return
        yield from self._quotes()
        if low.endswith("name") or low in ("person", "who", "author", "company", "customer", "user"):
            yield from _PROPER.findall(self._plain)
            return
        if low in _SEQUENCE or low.endswith(("_query", "_text")):
            found = self.text_for(name, schema)
            if found:
                yield found

    def _matching(self, pattern: str) -> list[str]:
        fits = patterns.asked(pattern)
        if fits is None:
            return []
        tokens = [token for token in re.split(r"[\s,，。;；]+", self._plain) if token]
        return [token for token in tokens[:_MOST_TOKENS] if fits(token)]

    def _ids(self, name: str) -> list[str]:
        found = list(dict.fromkeys(_ID.findall(self._plain)))
        thing = re.sub(r"_?ids?$", "", name.lower())
        own = [one for one in found if thing and one.lower().startswith((thing[0] + "_", thing[0] + "-", thing[:3]))]
        if own:
            return own
        if thing:
            # An id that plainly belongs to something else (ord_7 for user_id) is not taken.
            return [one for one in found if not re.match(r"[a-z]{1,12}[_-]", one)]
        return found

    def _dates(self) -> list[str]:
        if "dates" not in self._cached:
            found = []
            for year, month, day, time in _DATE.findall(self._plain):
                found.append(f"{year}-{int(month):02}-{int(day):02}" + (f"T{time}" if time else ""))
            found += [f"{year}-{int(month):02}-{int(day):02}" for year, month, day in _DATE_HAN.findall(self._plain)]
            self._cached["dates"] = found
        return self._cached["dates"]

    def _quotes(self) -> list[str]:
        return ["".join(groups) for groups in _QUOTED.findall(self._plain)]

    def _places(self) -> list[str]:
        found = [*_PLACE.findall(self._plain), *_PROPER.findall(self._plain)]
        if chinese(self._plain):
            found += [place for place in _PLACE_HAN.findall(self._plain) if place not in CHINESE]
        return found

    def _numbers(self) -> list[str]:
        plain = _DATE_HAN.sub(" ", _DATE.sub(" ", self._plain))
        for pattern in (_EMAIL, _URL, _ID):
            plain = pattern.sub(" ", plain)
        for path in blocks.paths(plain):
            plain = plain.replace(path, " ")
        found = [one.replace(",", "") for one in _NUMBER.findall(plain)]
        return found + [str(_HAN_DIGITS[one]) for one in _HAN_NUMBER.findall(plain)]

    def _number(self, name: str, kind: str, schema: Mapping[str, Any]) -> int | float | None:
        for key, value in self._known:
            if key == name and isinstance(value, int | float) and not isinstance(value, bool):
                return value if kind == "number" else int(value)
        ordered = self._near(name) + self._numbers()
        for found in ordered:
            if f"#{found}" in self._used:
                continue
            number = _as_number(found, kind)
            if kind == "integer" and "." in found:
                continue
            if number < schema.get("minimum", number) or number > schema.get("maximum", number):
                continue
            self._used.add(f"#{found}")
            return number
        if _is_id(name, schema) and (digits := re.findall(r"[_-](\d+)\b", " ".join(self._ids(name)))):
            return int(digits[0])
        return None

    def _near(self, name: str) -> list[str]:
        """Numbers that stand beside the parameter's own name: `days` in “the last 30 days”."""
        part = re.escape(stem(re.split(r"_", name)[-1]))
        after = re.findall(rf"(?<![\d.])(-?\d{{1,18}}(?:\.\d{{1,18}})?)\s{{0,5}}{part}", self._plain, re.I)
        beside = rf"{part}\w{{0,20}}\s{{0,5}}(?:is|of|=|:|to)?\s{{0,5}}(-?\d{{1,18}}(?:\.\d{{1,18}})?)"
        before = re.findall(beside, self._plain, re.I)
        if name.lower() in ("days", "n_days") or name.lower().endswith("_days"):
            after += re.findall(r"(?<!\d)(\d{1,6})\s{0,5}天", self._plain)
        return before + after

    def _boolean(self, name: str) -> bool | None:
        spaced = name.replace("_", " ")
        refused = r"\b(?:no|not|without|don't|exclude|不要?|无需)\s{0,5}(?:\w{1,40}\s{1,5})?" + re.escape(spaced)
        if re.search(refused, self._plain, re.I):
            return False
        return True if self.mentions(name, {}) else None

    def _list_after_colon(self) -> list[str]:
        found = re.search(r"[:：]\s{0,5}([^\n:：]{2,300})$", self._plain, re.M)
        parts = re.split(r"\s{0,5}[,，、;；]\s{0,5}|\s{1,5}and\s{1,5}|和", found.group(1)) if found else []
        return [part.strip(" .。") for part in parts if part.strip(" .。")] if len(parts) > 1 else []


def named_values(text: str) -> list[tuple[str, Any]]:
    """Named scalars in a tool's result: from JSON, or from `name: value` lines; of a nested name the last part."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        pairs = re.findall(
            r"^\s*[\"']?([A-Za-z_]\w{0,40})[\"']?\s*[:=]\s*[\"']?([\w.@+-]{1,100})[\"']?,?\s*$", text[:20_000], re.M
        )
        return list(pairs)
    return list(_scalars("", data, 0))[:500]


def _scalars(name: str, data: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > 6:
        return
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _scalars(str(key), value, depth + 1)
    elif isinstance(data, list):
        for value in data[:50]:
            yield from _scalars(name, value, depth + 1)
    elif data is not None and name:
        yield name, data


def _same_id(key: str, name: str) -> bool:
    """`id` of a result, or an `…_id` of the same thing, can fill `user_id`."""
    key, name = key.lower(), name.lower()
    return key == name or key == "id" or (name == "id" and key.endswith("id"))


def _said(option: str, text: str) -> bool:
    spaced = re.escape(option.replace("_", " ").replace("-", " ").strip())
    if not spaced:
        return False
    edge = r"(?<![A-Za-z])" if option[:1].isascii() else ""
    end = r"(?![a-z])" if option[-1:].isascii() else ""
    return bool(re.search(edge + spaced.replace(r"\ ", r"[\s_-]") + end, text, re.I))


def _is_id(name: str, schema: Mapping[str, Any]) -> bool:
    low = name.lower()
    return (
        low == "id"
        or (low.endswith(("_id", "_ids", "id")) and not low.endswith(("paid", "valid", "void")))
        or low == "sku"
    )


def _is_date(name: str, schema: Mapping[str, Any]) -> bool:
    if schema.get("format") in ("date", "date-time"):
        return True
    low = name.lower()
    return schema.get("type") == "string" and bool(
        re.search(r"(^|_)(date|day|since|until|start|end|from|to|before|after)$|date", low)
    )


def _is_path(name: str) -> bool:
    return bool(re.search(r"(^|_)(path|paths|file|files|filename|dir|directory|folder)$", name.lower()))


def _fits(found: str, schema: Mapping[str, Any]) -> bool:
    if len(found) < (schema.get("minLength") or 0) or len(found) > (schema.get("maxLength") or len(found)):
        return False
    fits = patterns.asked(pattern) if isinstance(pattern := schema.get("pattern"), str) else None
    return fits is None or fits(found)


def _as_number(text: str, kind: str) -> int | float:
    value = float(text)
    return int(value) if kind == "integer" or value.is_integer() else value


def _of_format(kind: object) -> str | None:
    return {
        "date": "2026-01-01",
        "date-time": "2026-01-01T00:00:00Z",
        "time": "00:00:00Z",
        "duration": "P1D",
        "email": "someone@example.com",
        "uri": "https://example.com/",
        "hostname": "example.com",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "uuid": "00000000-0000-4000-8000-000000000000",
    }.get(str(kind))
