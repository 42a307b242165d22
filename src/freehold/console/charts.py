"""Pictures of figures, as SVG made on the server; a page links one as an image, which can neither run nor load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from freehold.console.spans import span_of
from freehold.console.visit import Visit
from freehold.console.words import translated

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_COLOURS = {
    "light": ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2"),
    "dark": ("#60a5fa", "#f87171", "#34d399", "#fbbf24", "#a78bfa", "#22d3ee"),
}
_INK = {"light": "#475569", "dark": "#94a3b8"}
_FAINT = {"light": "#e2e8f0", "dark": "#1e293b"}

_STYLE: Mapping[str, Any] = {
    "background": "transparent",
    "plot_background": "transparent",
    "opacity": 1,
    "font_family": "system-ui, sans-serif",
    "guide_stroke_dasharray": "1,0",
    "major_guide_stroke_dasharray": "1,0",
    "label_font_size": 11,
    "major_label_font_size": 11,
    "legend_font_size": 12,
    "no_data_font_size": 14,
}
_FORM: Mapping[str, Any] = {
    "width": 640,
    "height": 200,
    "explicit_size": True,
    "margin": 4,
    "spacing": 6,
    "legend_at_bottom": True,
    "legend_box_size": 9,
    "truncate_legend": -1,
    "truncate_label": -1,
    "show_minor_x_labels": False,
    "show_minor_y_labels": False,
    "y_labels_major_count": 3,
    "min_scale": 2,
    "max_scale": 5,
    "dots_size": 1.5,
    "js": [],
    "disable_xml_declaration": True,
}

Series = Mapping[str, Sequence[float | None]]


def _calls(buckets: Sequence[Mapping[str, Any]]) -> Series:
    good = [bucket["calls"] - bucket["failed_calls"] for bucket in buckets]
    return {"answered": good, "failed": [bucket["failed_calls"] for bucket in buckets]}


def _cost(buckets: Sequence[Mapping[str, Any]]) -> Series:
    return {"dollars": [bucket["cost_nanodollars"] / 1e9 for bucket in buckets]}


def _latency(buckets: Sequence[Mapping[str, Any]]) -> Series:
    return {f"p{p}": [_s(bucket[f"latency_ms_p{p}"]) for bucket in buckets] for p in (50, 95)}


def _tokens(buckets: Sequence[Mapping[str, Any]]) -> Series:
    names = {"input": "input_tokens", "cached": "cache_read_tokens", "output": "output_tokens"}
    return {name: [bucket[field] for bucket in buckets] for name, field in names.items()}


def _s(value_ms: int | None) -> float | None:
    return None if value_ms is None else value_ms / 1000


CHARTS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], Series]] = {
    "calls": _calls,
    "cost": _cost,
    "latency": _latency,
    "tokens": _tokens,
}


async def show(visit: Visit) -> Response:
    """One picture: `calls`, `cost`, `latency` or `tokens` over the span asked for."""
    name, theme = visit.id("name"), "dark" if visit.asked("theme") == "dark" else "light"
    if name not in CHARTS:
        return Response("no such picture", 404)
    span = span_of(visit.asked("span", "day"))
    traffic = await visit.api.get("/freehold/v1/traffic", span.query(visit))
    series = CHARTS[name](traffic["data"])
    labels = [_label(bucket["starting_at"], span.seconds) for bucket in traffic["data"]]
    drawn = draw(series, labels, theme, visit.preferences.language, stacked=name != "latency")
    headers = {"content-security-policy": _POLICY, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(drawn, 200, headers, media_type="image/svg+xml")


def draw(series: Series, labels: Sequence[str], theme: str, language: str, *, stacked: bool) -> bytes:
    """Bars on top of each other, or lines; 640 by 200, without a background."""
    import pygal
    from pygal.style import Style

    kind = pygal.StackedBar if stacked else pygal.Line
    chart = kind(
        style=Style(**_STYLE, **_colours(theme)),
        no_data_text=translated("no calls", language),
        legend_at_bottom_columns=len(series),
        **_FORM,
    )
    chart.x_labels = list(labels)
    chart.x_labels_major = list(labels[:: max(1, len(labels) // 6)])
    for name, values in series.items():
        chart.add(translated(name, language), list(values))
    drawn: bytes = chart.render()
    return drawn


def _colours(theme: str) -> dict[str, Any]:
    ink, faint = _INK[theme], _FAINT[theme]
    return {
        "colors": _COLOURS[theme],
        "foreground": ink,
        "foreground_strong": ink,
        "foreground_subtle": faint,
        "guide_stroke_color": faint,
        "major_guide_stroke_color": faint,
    }


def _label(stamp: str, seconds: int) -> str:
    return stamp[11:16] if seconds <= 86_400 else stamp[5:10] + (f" {stamp[11:13]}h" if seconds < 2_000_000 else "")
