"""Two pictures of a search as inline SVG: its history, and its trials as lines over the searched keys."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from skillrun.automl.ledger import Row
from skillrun.automl.param import Param, show
from skillrun.automl.settings import Settings

_WIDTH, _HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 16, 40
# Of the parallel lines: the ends of an axis, and where a line passes below it.
_AXIS_TOP, _AXIS_BOTTOM, _BELOW = 36, 216, 12
_SHOWN_KEYS = 12


def history(settings: Settings, rows: Sequence[Row]) -> str:
    """Value over trial number: a dot for each trial, a line for the best so far."""
    found = [(row.number, row.value, row.state) for row in rows if row.value is not None and math.isfinite(row.value)]
    if not found:
        return ""
    x = _scale(0, max(number for number, _, _ in found) or 1, _LEFT, _WIDTH - _RIGHT)
    low, high = _ends([value for _, value, _ in found])
    y = _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = _axes(low, high, y)
    best: float | None = None
    line: list[tuple[float, float]] = []
    for number, value, state in found:
        if settings.better(value, best):
            line += [(x(number), y(best))] if best is not None else []
            best = value
        line.append((x(number), y(best if best is not None else value)))
        parts.append(
            f'<circle class="{state}" cx="{x(number):.1f}" cy="{y(value):.1f}" r="4">'
            f"<title>trial {number}: {value:.6g} ({state})</title></circle>"
        )
    parts.append(f'<polyline class="best" points="{_points(line)}"/>')
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, "trial", "middle"))
    return _svg(parts, f"{settings.metric} over trials")


def parallel_coordinates(settings: Settings, rows: Sequence[Row], keys: Sequence[str]) -> str:
    """One line a trial over the first keys and the metric; the better, the stronger. Below an axis: no matter."""
    done = [row for row in rows if row.value is not None and math.isfinite(row.value)]
    params = {param.key: param for param in settings.space.params}
    shown = [params[key] for key in keys if key in params][:_SHOWN_KEYS]
    if len(done) < 2 or not shown:
        return ""
    x = _scale(0, len(shown), _LEFT + 90, _WIDTH - 60)
    low, high = _ends([float(row.value or 0) for row in done])
    metric_y = _scale(low, high, _AXIS_BOTTOM, _AXIS_TOP)
    parts = [_axis(x(place), param.key, *_end_texts(param)) for place, param in enumerate(shown)]
    parts.append(_axis(x(len(shown)), settings.metric, f"{low:.4g}", f"{high:.4g}"))
    order = sorted(done, key=lambda row: float(row.value or 0), reverse=not settings.more_is_better)
    for rank, row in enumerate(order):
        spots = [(x(place), _height(param, row.values.get(param.key))) for place, param in enumerate(shown)]
        spots.append((x(len(shown)), metric_y(float(row.value or 0))))
        strength = 0.15 + 0.85 * rank / max(len(order) - 1, 1)
        title = f"<title>trial {row.number}: {row.value:.6g}</title>"
        parts.append(f'<polyline class="trial" opacity="{strength:.2f}" points="{_points(spots)}">{title}</polyline>')
    return _svg(parts, "trials over the searched keys")


def _height(param: Param, value: object) -> float:
    """Where a value lies on its axis, in pixels; below it where the key did not matter."""
    to = _scale(0, 1, _AXIS_BOTTOM, _AXIS_TOP)
    if param.kind == "choice" and value in param.choices:
        return to(param.choices.index(value) / max(len(param.choices) - 1, 1))
    if param.kind == "choice" or value is None:
        return _AXIS_BOTTOM + _BELOW
    number, low, high = float(str(value)), param.low, param.high
    if param.log:
        number, low, high = math.log(number), math.log(low), math.log(high)
    return to(min(max((number - low) / (high - low), 0), 1))


def _end_texts(param: Param) -> tuple[str, str]:
    if param.kind == "choice":
        return show(param.choices[0]), show(param.choices[-1])
    return show(param.low), show(param.high)


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    return lambda value: first + (value - low) / ((high - low) or 1) * (last - first)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1
    return low - room, high + room


def _axes(low: float, high: float, y: Callable[[float], float]) -> list[str]:
    marks = [low + (high - low) * step / 4 for step in range(5)]
    lines = [f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>' for at in marks]
    return lines + [_text(_LEFT - 8, y(at) + 4, f"{at:.4g}", "end") for at in marks]


def _axis(across: float, name: str, low: str, high: str) -> str:
    short, below = ".".join(name.split(".")[-2:]), _AXIS_BOTTOM + _BELOW + 14
    return (
        f"<g><title>{html.escape(name)}</title>"
        f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{_AXIS_TOP}" y2="{_AXIS_BOTTOM}"/>'
        f"{_text(across, below, low, 'middle')}{_text(across, _AXIS_TOP - 6, high, 'middle')}"
        f'<text x="{across:.1f}" y="{below + 16}" text-anchor="end" '
        f'transform="rotate(-14 {across:.1f} {below + 16})">{html.escape(short)}</text></g>'
    )


def _text(across: float, down: float, words: str, anchor: str) -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _points(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in spots)


def _svg(parts: Sequence[str], label: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label)}">'
    return head + "".join(parts) + "</svg>"
