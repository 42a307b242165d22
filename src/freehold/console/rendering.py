"""From a template and values to HTML. Everything is escaped; a template decides nothing that a page could decide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined

from freehold import __version__
from freehold.console.words import translated
from freehold.money import show_dollars


class Preferred(Protocol):
    """How whoever looks wants a page."""

    @property
    def language(self) -> str:
        """`en` or `zh`."""
        ...

    @property
    def theme(self) -> str:
        """`light`, `dark`, or as the system has it."""
        ...


class Viewed(Protocol):
    """What a page needs to know of the visit it is for."""

    @property
    def preferences(self) -> Preferred:
        """Language and theme."""
        ...

    @property
    def told(self) -> str:
        """A message for the top of the page."""
        ...


class Rendering:
    """The templates, compiled once."""

    def __init__(self, css: str, script: str, icon: str) -> None:
        """The addresses of what every page links."""
        self._environment = Environment(
            loader=PackageLoader("freehold.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._environment.filters.update(
            dollars=dollars, count=count, when=when, day=day, size=size, pretty=pretty, share=share, ms=ms
        )
        self._environment.globals.update(css=css, script=script, icon=icon, version=__version__)

    def page(self, template: str, visit: Viewed, values: Mapping[str, Any]) -> str:
        """A whole page, or the part of one that a template names."""
        language = visit.preferences.language

        def say(text: str) -> str:
            return translated(text, language)

        return self._environment.get_template(template).render(
            visit=visit, _=say, language=language, theme=visit.preferences.theme, told=visit.told, **values
        )

    def part(self, template: str, language: str, values: Mapping[str, Any]) -> str:
        """A part of a page, for what is sent after it."""
        return self._environment.get_template(template).render(_=lambda text: translated(text, language), **values)


def dollars(nanodollars: int | None) -> str:
    """`$0.0123`, or a dash."""
    return "—" if nanodollars is None else show_dollars(nanodollars)


def count(number: int | None) -> str:
    """`12,345`, or a dash."""
    return "—" if number is None else f"{number:,}"


def when(stamp: str | int | None) -> str:
    """`2026-11-28 21:26:47` in UTC, from RFC 3339 text or seconds."""
    if stamp in (None, ""):
        return "—"
    if isinstance(stamp, int):
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return str(stamp)[:19].replace("T", " ")


def day(stamp: str) -> str:
    """`21:26:47`: within a page that is about one day."""
    return str(stamp)[11:19]


def size(size_bytes: int | None) -> str:
    """`1.2 MB`."""
    if size_bytes is None:
        return "—"
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def pretty(value: object) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def share(part: int, whole: int) -> str:
    """`12.3 %`, or a dash."""
    return f"{100 * part / whole:.1f} %" if whole else "—"


def ms(value: int | None) -> str:
    """`250 ms` or `2.5 s`, or a dash."""
    if value is None:
        return "—"
    return f"{value:,} ms" if value < 1000 else f"{value / 1000:.1f} s"
