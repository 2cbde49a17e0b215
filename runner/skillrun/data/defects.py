"""The six defects of bare boards, as outlines that add or remove copper at plausible places.

Kinds: ``open`` (a cut trace), ``short`` (a bridge between two nets), ``mousebite`` (a bite from an edge),
``spur`` (a bump on an edge), ``copper`` (an island), ``pinhole`` (a hole in copper).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skillrun.data.board import PITCH, Layout, Step
from skillrun.data.camera import RIM
from skillrun.data.painting import BITS, Layers
from skillrun.data.pictures import Floats, Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Outline = npt.NDArray[np.float64]

KINDS = ("open", "short", "mousebite", "spur", "copper", "pinhole")
TRIES = 40
# The smallest change of copper that counts, in square units: a spot of 4 x 3 pixels at 64 px.
MIN_CHANGE = 11.0
# A view ends `RIM` before the board does, and an exposure may shift it by up to two pixels more.
KEEP_OUT = RIM + 2


@dataclass(frozen=True)
class Defect:
    """An outline on the board.

    Attributes:
        kind: one of `KINDS`.
        outline: (points, 2) x and y in board pixels.
        adds: True where copper is added, False where it is removed.
    """

    kind: str
    outline: Outline
    adds: bool

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the outline in board pixels."""
        x, y = self.outline.mean(axis=0)
        return float(x), float(y)

    def changed(self, copper: Picture, origin: tuple[float, float], scale: int) -> Picture:
        """A copy of a ``copper`` mask, whose top left is ``origin`` (board pixels), with this defect."""
        import cv2
        import numpy as np

        result = copper.copy()
        points = (self.outline - np.asarray(origin)) * scale * 2**BITS
        value = 255 if self.adds else 0
        cv2.fillPoly(result, [np.round(points).astype(np.int32)], value, cv2.LINE_8, BITS)
        return result


class Board:
    """A painted layout with what is needed to find places for defects."""

    def __init__(self, layout: Layout, layers: Layers) -> None:
        import cv2
        import numpy as np

        self.layout, self.layers, self.unit = layout, layers, layout.unit
        solid = np.where(layers.hole > 0, 0, layers.copper).astype(np.uint8)
        taken = np.maximum(np.maximum(layers.copper, layers.hole), layers.opening)
        per_unit = layout.unit * layers.scale
        # Distances in units to the nearest edge, inside copper and in the empty space between it.
        self.copper_depth, self.free_depth = (
            np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 3) / per_unit, np.float32)
            for mask in (solid, 255 - taken)
        )
        self._pads = {pad.node for pad in layout.pads}
        self.plain_steps = [s for s in layout.steps if s.start not in self._pads or s.end not in self._pads]
        self.joined = {frozenset((s.start, s.end)) for s in layout.steps}

    def depth_at(self, depth: Floats, x: float, y: float) -> float:
        """A depth map's value at a board pixel; -1 outside."""
        column, row = int(x * self.layers.scale), int(y * self.layers.scale)
        inside = 0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]
        return float(depth[row, column]) if inside else -1.0

    def middle(self, step: Step) -> tuple[float, float, float, float]:
        """Middle x, y (board pixels) and the unit vector along a step."""
        x1, y1 = self.layout.at(*step.start)
        x2, y2 = self.layout.at(*step.end)
        length = math.hypot(x2 - x1, y2 - y1)
        return (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / length, (y2 - y1) / length


def find_defect(kind: str, board: Board, rng: np.random.Generator) -> Defect | None:
    """A defect of ``kind`` somewhere on the board, or None where the board has no place for one."""
    finders = {
        "open": _open,
        "short": _short,
        "mousebite": _mousebite,
        "spur": _spur,
        "copper": _island,
        "pinhole": _pinhole,
    }
    for _ in range(TRIES):
        found = finders[kind](board, rng)
        if found is not None and _is_visible(found, board):
            return found
    return None


def _is_visible(defect: Defect, board: Board) -> bool:
    """Whether copper changes by `MIN_CHANGE` where no hole or print hides it, and every view can show it."""
    import numpy as np

    low, high = np.floor(defect.outline.min(axis=0)), np.ceil(defect.outline.max(axis=0))
    if low.min() < KEEP_OUT or high.max() > board.layout.extent - KEEP_OUT:
        return False
    scale = board.layers.scale
    left, top, right, bottom = (int(v) * scale for v in (*low, *high))
    window = board.layers.copper[top:bottom, left:right]
    changed = defect.changed(window, (float(low[0]), float(low[1])), scale) != window
    hole, silk = (mask[top:bottom, left:right] for mask in (board.layers.hole, board.layers.silk))
    seen = changed & (hole == 0) & (silk == 0)
    return float(seen.sum()) >= MIN_CHANGE * (board.unit * scale) ** 2


def _open(board: Board, rng: np.random.Generator) -> Defect | None:
    if not board.plain_steps:
        return None
    step = board.plain_steps[rng.integers(len(board.plain_steps))]
    x, y, dx, dy = board.middle(step)
    gap, across = rng.uniform(3.6, 6.5) * board.unit, (step.width / 2 + 1.0) * board.unit
    slant = rng.uniform(-0.35, 0.35)
    frame = _Frame(x, y, dx, dy, -dy + slant * dx, dx + slant * dy)
    return Defect("open", frame.ragged_bar(gap, across, rng, board.unit), adds=False)


def _short(board: Board, rng: np.random.Generator) -> Defect | None:
    nodes = sorted(board.layout.nets)
    if not nodes:
        return None
    a = nodes[rng.integers(len(nodes))]
    b = (a[0] + 1, a[1]) if rng.integers(2) else (a[0], a[1] + 1)
    nets = board.layout.nets
    if b not in nets or nets[a] == nets[b] or frozenset((a, b)) in board.joined:
        return None
    (x1, y1), (x2, y2) = board.layout.at(*a), board.layout.at(*b)
    dx, dy = (x2 - x1) / (PITCH * board.unit), (y2 - y1) / (PITCH * board.unit)
    shift = rng.uniform(-0.3, 0.3) * PITCH * board.unit
    x, y = (x1 + x2) / 2 + abs(dy) * shift, (y1 + y2) / 2 + abs(dx) * shift
    width = rng.uniform(2.8, 5.0) * board.unit
    frame = _Frame(x, y, -dy, dx, dx, dy)
    return Defect("short", frame.ragged_bar(width, PITCH * 0.46 * board.unit, rng, board.unit), adds=True)


def _edge(board: Board, rng: np.random.Generator) -> tuple[Step, _Frame] | None:
    """A point on the edge of a trace; the frame's second axis points away from the copper."""
    if not board.layout.steps:
        return None
    step = board.layout.steps[rng.integers(len(board.layout.steps))]
    x, y, dx, dy = board.middle(step)
    side = 1 if rng.integers(2) else -1
    along, out = rng.uniform(-2.5, 2.5) * board.unit, step.width / 2 * board.unit
    nx, ny = -dy * side, dx * side
    return step, _Frame(x + dx * along + nx * out, y + dy * along + ny * out, dx, dy, nx, ny)


def _mousebite(board: Board, rng: np.random.Generator) -> Defect | None:
    place = _edge(board, rng)
    if place is None:
        return None
    step, frame = place
    depth = rng.uniform(0.6, 0.78) * step.width * board.unit
    outline = frame.blob(rng.uniform(2.8, 4.2) * board.unit, depth, rng)
    return Defect("mousebite", outline, adds=False)


def _spur(board: Board, rng: np.random.Generator) -> Defect | None:
    place = _edge(board, rng)
    if place is None:
        return None
    _, frame = place
    reach = rng.uniform(3.0, 4.6) * board.unit
    room = reach / board.unit + 1.4
    free = board.depth_at(board.free_depth, *frame.point(0.0, reach))
    before = board.depth_at(board.free_depth, *frame.point(0.0, 0.5 * reach))
    after = board.depth_at(board.free_depth, *frame.point(0.0, room * board.unit))
    if min(free, before, after) <= 0.4:
        return None
    return Defect("spur", frame.blob(rng.uniform(1.9, 3.0) * board.unit, reach, rng), adds=True)


def _island(board: Board, rng: np.random.Generator) -> Defect | None:
    radius = rng.uniform(2.0, 3.6)
    place = _deep_point(board.free_depth, radius * 1.15 + 1.3, board, rng)
    if place is None:
        return None
    size = radius * board.unit
    return Defect("copper", _turned(place, rng).blob(size, size * rng.uniform(0.75, 1.1), rng), adds=True)


def _pinhole(board: Board, rng: np.random.Generator) -> Defect | None:
    radius = rng.uniform(1.9, 2.7)
    place = _deep_point(board.copper_depth, radius * 1.15 + 0.5, board, rng)
    if place is None:
        return None
    size = radius * board.unit
    return Defect("pinhole", _turned(place, rng).blob(size, size * rng.uniform(0.85, 1.1), rng), adds=False)


def _deep_point(depth: Floats, minimum: float, board: Board, rng: np.random.Generator) -> tuple[float, float] | None:
    """A random board pixel that lies at least ``minimum`` units deep; looked up on whole pixels."""
    import numpy as np

    scale = board.layers.scale
    places = np.argwhere(depth[::scale, ::scale] >= minimum)
    if not len(places):
        return None
    row, column = places[rng.integers(len(places))]
    return float(column), float(row)


def _turned(place: tuple[float, float], rng: np.random.Generator) -> _Frame:
    angle = rng.uniform(0.0, math.pi)
    return _Frame(*place, math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle))


@dataclass(frozen=True)
class _Frame:
    """An origin and two axes in board pixels."""

    x: float
    y: float
    ux: float
    uy: float
    vx: float
    vy: float

    def point(self, u: float, v: float) -> tuple[float, float]:
        return self.x + u * self.ux + v * self.vx, self.y + u * self.uy + v * self.vy

    def blob(self, along: float, outward: float, rng: np.random.Generator) -> Outline:
        """A rounded, uneven shape with the two half axes."""
        import numpy as np

        angles = np.linspace(0.0, 2 * math.pi, 16, endpoint=False)
        phase = rng.uniform(0.0, 2 * math.pi, size=2)
        radii = 1.0 + 0.09 * np.sin(2 * angles + phase[0]) + 0.06 * np.sin(3 * angles + phase[1])
        corners = zip(along * radii * np.cos(angles), outward * radii * np.sin(angles), strict=True)
        return np.array([self.point(float(u), float(v)) for u, v in corners])

    def ragged_bar(self, width: float, half_length: float, rng: np.random.Generator, unit: float) -> Outline:
        """A bar along the second axis, ``width`` wide, whose two long sides are uneven."""
        import numpy as np

        stations = np.linspace(-half_length, half_length, 6)
        right = [self.point(width / 2 + float(rng.normal(0, 0.35)) * unit, float(v)) for v in stations]
        left = [self.point(-width / 2 + float(rng.normal(0, 0.35)) * unit, float(v)) for v in stations[::-1]]
        return np.array(right + left)
