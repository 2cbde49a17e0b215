"""Where to cut crops: around a defect, and at places without one that look just as busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skillrun.data.pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Point = tuple[int, int]

# A defect lies up to this far from the middle of its crop, on each axis, in pixels.
REACH = 20
# A defect-free crop stays this far from every annotated box, in pixels.
MARGIN = 4
TRIES_PER_CROP = 60


@dataclass(frozen=True)
class Box:
    """An annotated rectangle, half open: columns x1..x2-1, rows y1..y2-1, in pixels."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: str = ""

    @property
    def longest(self) -> int:
        """The longer side in pixels."""
        return max(self.x2 - self.x1, self.y2 - self.y1)

    def checked(self) -> Box:
        """Itself; raises ValueError for an empty or negative rectangle."""
        if not (0 <= self.x1 < self.x2 and 0 <= self.y1 < self.y2):
            raise ValueError(f"empty box {self}")
        return self

    def touches(self, origin: Point, size: int, margin: int) -> bool:
        """Whether a square crop comes closer than ``margin`` pixels to this box."""
        x, y = origin
        across = x < self.x2 + margin and x + size > self.x1 - margin
        return across and y < self.y2 + margin and y + size > self.y1 - margin


def crop_at(picture: Picture, origin: Point, size: int) -> Picture:
    """The square of ``size`` pixels whose top left corner is ``origin`` = (x, y)."""
    x, y = origin
    return picture[y : y + size, x : x + size]


def defect_origin(box: Box, shape: tuple[int, ...], size: int, rng: np.random.Generator, reach: int = REACH) -> Point:
    """Top left corner of a crop that shows ``box``.

    The centre of the box lies up to ``reach`` pixels (default `REACH`, uniform, per axis) from that of the
    crop, which is then moved to stay inside the picture of ``shape`` and to hold all of a box that fits.
    """
    height, width = shape[0], shape[1]
    dx, dy = (int(offset) for offset in rng.integers(-reach, reach, size=2, endpoint=True))
    return _place(box.x1, box.x2, width, size, dx), _place(box.y1, box.y2, height, size, dy)


def _place(low: int, high: int, extent: int, size: int, offset: int) -> int:
    start = (low + high - size) // 2 + offset
    if high - low <= size:
        start = min(max(start, high - size), low)
    return min(max(start, 0), extent - size)


def tile_reach(size: int) -> int:
    """How far a defect lies from the middle of a tile of ``size`` px: in proportion, as `REACH` is to 64 px."""
    return size * REACH // 64


def tile_origins(
    boxes: Sequence[Box], shape: tuple[int, ...], size: int, rng: np.random.Generator, reach: int
) -> list[Point]:
    """Corners of tiles of ``size`` px on a picture of ``shape`` such that each box lies whole in at least one.

    A box that an earlier tile already shows whole gets no tile of its own. A box longer than a tile is covered
    by a row of tiles instead.
    """
    tiles: list[Point] = []
    for box in boxes:
        if any(_shows(tile, size, box) for tile in tiles):
            continue
        x, y = defect_origin(box, shape, size, rng, reach)
        columns = _cover(box.x1, box.x2, shape[1], size) or [x]
        rows = _cover(box.y1, box.y2, shape[0], size) or [y]
        tiles += [(column, row) for row in rows for column in columns]
    return tiles


def _shows(tile: Point, size: int, box: Box) -> bool:
    x, y = tile
    return x <= box.x1 and y <= box.y1 and box.x2 <= x + size and box.y2 <= y + size


def _cover(low: int, high: int, extent: int, size: int) -> list[int]:
    """Evenly spread starts of spans of ``size`` that cover low..high-1; none if one span does."""
    if high - low <= size:
        return []
    count = -(-(high - low) // size)
    return [min(low + step * (high - low - size) // (count - 1), extent - size) for step in range(count)]


def clean_origins(
    golden: Picture, boxes: Sequence[Box], size: int, count: int, rng: np.random.Generator
) -> list[Point]:
    """Up to ``count`` corners of defect-free crops on a (height, width) grey board.

    Places are drawn around points on the outlines of the copper, as real defects are, so that emptiness does
    not give the answer away. A crop keeps `MARGIN` from every box and half its size from every other one.
    """
    edges = _outline_points(golden)
    chosen: list[Point] = []
    for _ in range(count * TRIES_PER_CROP if len(edges) else 0):
        if len(chosen) == count:
            break
        y, x = (int(value) for value in edges[rng.integers(len(edges))])
        origin = defect_origin(Box(x, y, x + 1, y + 1), golden.shape, size, rng)
        crowded = any(max(abs(origin[0] - a), abs(origin[1] - b)) < size // 2 for a, b in chosen)
        if not crowded and not any(box.touches(origin, size, MARGIN) for box in boxes):
            chosen.append(origin)
    return chosen


def _outline_points(golden: Picture) -> npt.NDArray[np.intp]:
    """(points, 2) rows and columns of pixels where copper meets laminate."""
    import cv2
    import numpy as np

    _, copper = cv2.threshold(golden, 127, 255, cv2.THRESH_BINARY)
    outline = cv2.morphologyEx(copper, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.argwhere(outline > 0)
