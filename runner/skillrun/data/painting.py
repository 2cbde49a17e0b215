"""From a board layout to masks of its layers, and from masks to a picture as a camera sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skillrun.data.board import PITCH, Layout, Pad
from skillrun.data.pictures import Floats, Picture

if TYPE_CHECKING:
    import numpy as np

# OpenCV draws at 1/16 pixel with this many fraction bits.
BITS = 4
# Clearance of a copper pour, in units.
CLEARANCE = 3.2


@dataclass(frozen=True)
class Layers:
    """Masks of one board, (extent*scale, extent*scale) uint8 of 0 or 255; ``scale``: mask to board pixels.

    Attributes:
        copper: conductor.
        opening: windows of the solder mask, where the finish is seen.
        hole: drilled.
        silk: printed legend.
    """

    copper: Picture
    opening: Picture
    hole: Picture
    silk: Picture
    scale: int


@dataclass(frozen=True)
class Theme:
    """Colours of a board, blue-green-red 0..255."""

    laminate: tuple[float, float, float]
    covered_copper: tuple[float, float, float]
    finish: tuple[float, float, float]
    bare: tuple[float, float, float] = (72.0, 104.0, 118.0)
    silk: tuple[float, float, float] = (222.0, 228.0, 228.0)
    hole: tuple[float, float, float] = (16.0, 18.0, 20.0)


def random_theme(rng: np.random.Generator) -> Theme:
    """Mostly green solder mask, now and then blue; gold or tin finish."""
    laminate, copper = ((26.0, 66.0, 16.0), (66.0, 142.0, 48.0))
    if rng.random() < 0.12:
        laminate, copper = ((82.0, 40.0, 14.0), (158.0, 98.0, 44.0))
    finish = (112.0, 190.0, 222.0) if rng.random() < 0.5 else (188.0, 196.0, 196.0)
    tint = rng.uniform(0.85, 1.15, size=3)

    def tinted(colour: tuple[float, float, float]) -> tuple[float, float, float]:
        blue, green, red = (float(value * share) for value, share in zip(colour, tint, strict=True))
        return blue, green, red

    return Theme(tinted(laminate), tinted(copper), finish)


def paint_layers(layout: Layout, scale: int) -> Layers:
    """Draw all layers of a layout."""
    painter = _Painter(layout, scale)
    painter.lay_copper()
    painter.pour()
    painter.print_legend()
    return painter.layers


class _Painter:
    def __init__(self, layout: Layout, scale: int) -> None:
        import numpy as np

        side = layout.extent * scale
        self._layout = layout
        self._pixels_per_unit = layout.unit * scale
        copper, opening, hole, silk = np.zeros((4, side, side), np.uint8)
        self.layers = Layers(copper, opening, hole, silk, scale)

    def lay_copper(self) -> None:
        import cv2

        for step in self._layout.steps:
            ends = (self._point(*step.start), self._point(*step.end))
            cv2.line(self.layers.copper, *ends, 255, self._thickness(step.width), cv2.LINE_8, BITS)
        for pad in self._layout.pads:
            self._land(self.layers.copper, pad, 0.0)
            if pad.exposed:
                self._land(self.layers.opening, pad, 0.9)
            if pad.hole:
                centre = self._point(*pad.node)
                cv2.circle(self.layers.hole, centre, self._length(pad.hole / 2), 255, -1, cv2.LINE_8, BITS)

    def pour(self) -> None:
        import cv2
        import numpy as np

        if not self._layout.pours:
            return
        reach = self._thickness(2 * CLEARANCE) | 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        taken = cv2.dilate(np.maximum(self.layers.copper, self.layers.opening), disc)
        area = np.zeros_like(self.layers.copper)
        for start, end in self._layout.pours:
            cv2.rectangle(area, self._point(*start), self._point(*end), 255, -1, cv2.LINE_8, BITS)
        area[taken > 0] = 0
        # Slivers thinner than the clearance could not be etched.
        area = np.asarray(cv2.morphologyEx(area, cv2.MORPH_OPEN, disc), dtype=np.uint8)
        np.maximum(self.layers.copper, area, out=self.layers.copper)

    def print_legend(self) -> None:
        import cv2

        silk, size = self.layers.silk, self._pixels_per_unit
        for item in self._layout.prints:
            if item.text:
                x, y = self._layout.at(*item.start)
                origin = (round(x * self.layers.scale), round(y * self.layers.scale))
                line, height = max(1, round(0.9 * size)), (0.27 if len(item.text) < 3 else 0.19) * size
                font = cv2.FONT_HERSHEY_SIMPLEX
                cv2.putText(silk, item.text, origin, font, height, 255, line, cv2.LINE_8)
            else:
                ends = (self._point(*item.start), self._point(*item.end))
                cv2.rectangle(silk, *ends, 255, self._thickness(1.0), cv2.LINE_8, BITS)
        for mask in (self.layers.opening, self.layers.hole):
            silk[mask > 0] = 0

    def _land(self, mask: Picture, pad: Pad, rim: float) -> None:
        import cv2

        if pad.hole:
            radius = self._length(pad.width / 2 + rim)
            cv2.circle(mask, self._point(*pad.node), radius, 255, -1, cv2.LINE_8, BITS)
            return
        across, down = (pad.width / 2 + rim) / PITCH, (pad.height / 2 + rim) / PITCH
        x, y = pad.node
        corners = self._point(x - across, y - down), self._point(x + across, y + down)
        cv2.rectangle(mask, *corners, 255, -1, cv2.LINE_8, BITS)

    def _point(self, x: float, y: float) -> tuple[int, int]:
        across, down = self._layout.at(x, y)
        scale = self.layers.scale << BITS
        return round(across * scale), round(down * scale)

    def _length(self, units: float) -> int:
        return round(units * self._pixels_per_unit * (1 << BITS))

    def _thickness(self, units: float) -> int:
        return max(1, round(units * self._pixels_per_unit))


def compose(layers: dict[str, Floats], theme: Theme) -> Floats:
    """Mix layer coverages into a picture.

    Args:
        layers: ``copper``, ``opening``, ``hole``, ``silk``; each (height, width) float32 coverage 0..1.
        theme: the colours.

    Returns:
        (height, width, 3) float32 blue-green-red, about 0..255, evenly lit and without noise.
    """
    import cv2
    import numpy as np

    def over(below: Floats, colour: tuple[float, float, float] | Floats, cover: Floats) -> Floats:
        return below + (np.asarray(colour, np.float32) - below) * cover[..., None]

    copper = layers["copper"]
    base = np.broadcast_to(np.asarray(theme.laminate, np.float32), (*copper.shape, 3))
    covered = over(base, theme.covered_copper, copper)
    # Copper stands out: edges that face the lamp at the top left are brighter, the others darker.
    slope = cv2.Sobel(copper, cv2.CV_32F, 1, 0, ksize=3) + cv2.Sobel(copper, cv2.CV_32F, 0, 1, ksize=3)
    covered = covered * (1.0 + 0.05 * np.asarray(slope, np.float32))[..., None]
    dome = np.asarray(cv2.GaussianBlur(copper, (0, 0), 2.0), np.float32)
    finish = np.asarray(theme.finish, np.float32) * (0.62 + 0.42 * dome)[..., None]
    bare = over(np.broadcast_to(np.asarray(theme.bare, np.float32), covered.shape), finish, copper)
    picture = over(covered, bare, layers["opening"])
    picture = over(picture, theme.silk, layers["silk"] * 0.92)
    return over(picture, theme.hole, layers["hole"])
