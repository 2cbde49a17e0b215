"""Numbers as people write them; the filters of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def percent(value: float | None, digits: int = 3) -> str:
    """A share in 0..1, e.g. ``1.09 %``; a dash where nothing was counted. Only an exact 0 or 1 reads so."""
    if value is None:
        return "–"
    if value in (0, 1):
        return f"{value * 100:.0f} %"
    text = f"{value * 100:.{digits}g}"
    if text == "100":
        text = f"{value * 100:.6f}".rstrip("0")
    return f"{float(text):.{max(digits, 3) + 3}g} %"


def ppm(value: float | None) -> str:
    """A share in 0..1 as parts per million."""
    return "–" if value is None else f"{value * 1e6:,.0f}".replace(",", "\u202f") + " ppm"


def interval(rate: Mapping[str, Any]) -> str:
    """The 95 % interval of a rate."""
    return f"{percent(rate['low'])} to {percent(rate['high'])}"


def number(value: Any) -> str:
    """A score or any other value, short."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    """e.g. ``8 min 25 s``."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def plural(count: int, one: str, many: str) -> str:
    """``1 defect``, ``2 defects``."""
    return f"{number(count)} {one if count == 1 else many}"


def height(count: int, most: int) -> float:
    """Height of a bar in 0..1 on a logarithmic scale, one pair visible."""
    return math.log1p(count) / math.log1p(most)


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "ppm": ppm,
    "interval": interval,
    "number": number,
    "duration": duration,
    "plural": plural,
}
