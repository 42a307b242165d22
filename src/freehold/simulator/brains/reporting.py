"""The answer after the tools: what each of them returned, figures as they came, in the user's language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from freehold.simulator.brains.hands import plain_name
from freehold.simulator.brains.situation import Done

_MOST_LINES = 14
_MOST_CHARACTERS = 1_200
_MOST_FIELDS = 10
_MOST_ROWS = 5
_LONGEST_VALUE = 120


def report(done: Sequence[Done], *, chinese: bool) -> str:
    """The whole answer: what came back, call by call, and what failed."""
    good = [one for one in done if not one.is_error]
    bad = [one for one in done if one.is_error and not any(other.name == one.name for other in good)]
    parts = [_opening(len(good), len(bad), chinese=chinese)]
    parts += [f"**{_title(one)}**\n{_shown(one.text, chinese=chinese)}" for one in good]
    parts += [f"**{_title(one)}** {_failed(chinese=chinese)}\n{_shown(one.text, chinese=chinese)}" for one in bad]
    return "\n\n".join(parts)


def _opening(good: int, bad: int, *, chinese: bool) -> str:
    if chinese:
        return f"已完成，共 {good} 项结果" + (f"，{bad} 项失败" if bad else "") + "："
    if not good:
        return "That did not work:"
    return (
        "Done. "
        + ("Here is what came back" if good > 1 else "This came back")
        + (f" ({bad} failed)" if bad else "")
        + ":"
    )


def _failed(*, chinese: bool) -> str:
    return "失败：" if chinese else "failed:"


def _title(one: Done) -> str:
    given = [str(value) for value in one.input.values() if isinstance(value, str | int | float)]
    short = [value for value in given[:3] if value and len(value) <= 60 and "\n" not in value]
    name = plain_name(one.name)
    return f"{name} ({', '.join(short)})" if short else name


def _shown(text: str, *, chinese: bool) -> str:
    text = text.strip()
    if not text:
        return "（没有输出）" if chinese else "(no output)"
    try:
        return _data(json.loads(text), chinese=chinese)
    except (ValueError, RecursionError):
        return _lines(text, chinese=chinese)


def _lines(text: str, *, chinese: bool) -> str:
    lines = text.splitlines()
    if len(lines) == 1 and len(text) <= 300:
        return text
    shown = "\n".join(lines[:_MOST_LINES])[:_MOST_CHARACTERS]
    left = len(lines) - _MOST_LINES
    more = (f"\n（其余 {left} 行略）" if chinese else f"\n({left} more lines)") if left > 0 else ""
    fence = "````" if "```" in shown else "```"
    return f"{fence}\n{shown}\n{fence}{more}"


def _data(data: Any, *, chinese: bool) -> str:
    if isinstance(data, dict):
        return "\n".join(_field(key, value, chinese=chinese) for key, value in list(data.items())[:_MOST_FIELDS])
    if isinstance(data, list):
        return _rows(data, chinese=chinese)
    return _brief(data)


def _field(key: str, value: Any, *, chinese: bool) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"- {key}: " + _rows(value, chinese=chinese).replace("\n", "\n  ")
    return f"- {key}: {_brief(value)}"


def _rows(rows: list[Any], *, chinese: bool) -> str:
    head = f"{len(rows)} 条" if chinese else f"{len(rows)} {'entry' if len(rows) == 1 else 'entries'}"
    shown = [f"- {_brief(row)}" for row in rows[:_MOST_ROWS]]
    left = len(rows) - _MOST_ROWS
    if left > 0:
        shown.append(f"（其余 {left} 条略）" if chinese else f"- and {left} more")
    return "\n".join([head, *shown])


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(part)}" for key, part in list(value.items())[:_MOST_FIELDS])
    if isinstance(value, list):
        return ", ".join(_brief(part) for part in value[:_MOST_ROWS]) + (" …" if len(value) > _MOST_ROWS else "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
