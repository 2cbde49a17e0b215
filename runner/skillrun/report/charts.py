"""Still and moving charts as inline SVG, small enough to be read on a phone."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 40  # left: room for a label as long as 98.75%
_CORNERS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def courses(
    epochs: Sequence[int], lines: Mapping[str, Sequence[float | None]], label: str, best: int | None = None
) -> str:
    """Lines over epochs, the best epoch marked; values of any unit, gaps where a value is None or no number."""
    values = [value for line in lines.values() for value in line if value is not None and math.isfinite(value)]
    if not values:
        return ""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1
    frame = _Frame(epochs[0], max(epochs[-1], epochs[0] + 1), low - room, high + room)
    parts = frame.grid(_ticks(low, high), sorted({epochs[0], *_epoch_ticks(epochs), epochs[-1]}), "epoch")
    if best is not None and epochs[0] <= best <= epochs[-1]:
        at = frame.x(best)
        parts.append(f'<line class="mark" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for index, (name, line) in enumerate(lines.items()):
        spots = [(x, y) for x, y in zip(epochs, line, strict=True) if y is not None and math.isfinite(y)]
        points = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in spots)
        parts.append(f'<polyline class="course c{index}" points="{points}"/>')
        parts += [
            f'<circle class="dot c{index}" cx="{frame.x(x)}" cy="{frame.y(y)}" r="{5 if x == best else 2.5}">'
            f"<title>{html.escape(name)}, epoch {x}: {y:.5g}</title></circle>"
            for x, y in spots
            if len(spots) <= 80 or x == best
        ]
    return _svg(parts, label)


def trade(content: Mapping[str, Any], kind: str) -> str:
    """ROC (recall over overkill) or PR (precision over recall) of a classify evaluation, with its operating point.

    The axes show the corner that holds the operating point, as good models live there; the label says which.
    """
    defects, good = content["defects"], content["good"]
    if not defects or (kind == "roc" and not good):
        return ""
    points = _points(content["sweep"]["rows"], defects, good, kind)
    here = _point(content["escape"]["count"], content["overkill"]["count"], defects, good, kind)
    if here is None:
        return ""
    window = _corner(here, kind)
    frame = _Frame(0, window, 1 - window, 1) if kind == "roc" else _Frame(1 - window, 1, 1 - window, 1)
    names = ("overkill: good pairs called", "defects found") if kind == "roc" else ("defects found", "precision")
    across = [frame.left + (frame.right - frame.left) * step / 4 for step in range(5)]
    up = [1 - window + window * step / 4 for step in range(5)]
    parts = frame.grid(up, across, names[0], percent=True)
    path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    parts.append(f'<g clip-path="url(#clip-{kind})"><polyline class="course c0" points="{path}"/></g>')
    parts.append(f'<circle class="operating" id="dot-{kind}" cx="{frame.x(here[0])}" cy="{frame.y(here[1])}" r="6"/>')
    clip = f'<clipPath id="clip-{kind}"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
    clip += f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>'
    ends = f'data-left="{frame.left}" data-right="{frame.right}" data-low="{frame.low}" data-high="{frame.high}" '
    ends += f'data-from="{LEFT}" data-to="{WIDTH - RIGHT}" data-bottom="{HEIGHT - BOTTOM}" data-top="{TOP}"'
    title = f"{names[1]} over {names[0]}, operating point marked"
    return _svg([f"<defs>{clip}</defs>", *parts], title, f'id="plot-{kind}" {ends}')


def _points(rows: Sequence[Sequence[float]], defects: int, good: int, kind: str) -> list[tuple[float, float]]:
    found = (_point(int(row[1]), int(row[2]), defects, good, kind) for row in rows)
    return [point for point in found if point is not None]


def _point(escapes: int, false_calls: int, defects: int, good: int, kind: str) -> tuple[float, float] | None:
    caught = defects - escapes
    if kind == "roc":
        return false_calls / good, caught / defects
    called = caught + false_calls
    return (caught / defects, caught / called) if called else None


def _corner(here: tuple[float, float], kind: str) -> float:
    """The smallest window that keeps the operating point well inside."""
    far = max(here[0] if kind == "roc" else 1 - here[0], 1 - here[1])
    return next((size for size in _CORNERS if size >= 3 * far and size >= 0.05), 1.0)


class _Frame:
    """From values to pixels, as short texts."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self.left, self.right, self.low, self.high = left, right, low, high

    def x(self, value: float) -> str:
        share = (value - self.left) / ((self.right - self.left) or 1)
        return f"{LEFT + share * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, value: float) -> str:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return f"{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"

    def grid(self, up: Sequence[float], across: Sequence[float], name: str, *, percent: bool = False) -> list[str]:
        """Horizontal lines with their values, values below, and the name of the horizontal axis."""
        say = _share if percent else _value
        parts = []
        for value in up:
            at = self.y(value)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="4" text-anchor="end">{say(value)}</text>')
        for place, value in enumerate(across):
            anchor = "end" if place == len(across) - 1 and place else "middle"
            parts.append(
                f'<text x="{self.x(value)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{say(value)}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        return [
            *parts,
            f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{html.escape(name)}</text>',
        ]


def _share(value: float) -> str:
    return f"{value * 100:.4g}%"


def _value(value: float) -> str:
    """Short, as ``3.4e-6``."""
    return re.sub(r"e([+-])0*", r"e\1", f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}")


def _ticks(low: float, high: float) -> list[float]:
    """About four round values between the ends."""
    span = (high - low) or abs(high) or 1
    step = 10 ** math.floor(math.log10(span / 3))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 4)
    first = math.ceil(low / step) * step
    return [round(first + index * step, 12) for index in range(6) if first + index * step <= high + step * 0.01]


def _epoch_ticks(epochs: Sequence[int]) -> list[int]:
    step = max(1, (epochs[-1] - epochs[0] + 4) // 5)
    ticks = range(epochs[0], epochs[-1] + 1, step)
    return [tick for tick in ticks if epochs[-1] - tick >= max(1, step * 0.6)]


def _svg(parts: Sequence[str], label: str, more: str = "") -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}" {more}>'
    return head + "".join(parts) + "</svg>"
