"""Flips, turns and windows as one move of an image; only a turn by an odd angle needs a general warp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.images import Pixels
from visual_changenet.data.masks import IGNORED

TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
Size = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The part of the source that fills the output: top left corner and size in whole pixels; may reach outside."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Move:
    """Flips, then a turn by ``angle`` degrees counter-clockwise about the centre, then the window is stretched."""

    hflip: bool = False
    vflip: bool = False
    angle: float = 0.0
    window: Window | None = None

    def is_exact(self, size: Size) -> bool:
        """True where flips and turns only reorder the pixels of an image of ``size`` (height, width)."""
        return self.angle % (90 if size[0] == size[1] else 180) == 0

    def pads(self, size: Size) -> bool:
        """True where the output shows what lies outside of the source as black, not as a repeated border."""
        window = self.window
        return not self.is_exact(size) or (window is not None and (window.height > size[0] or window.width > size[1]))

    def image(self, image: Pixels) -> Pixels:
        """uint8 (H, W, 3) -> the same shape, bicubic where pixels are not just reordered."""
        border = cv2.BORDER_CONSTANT if self.pads(_size(image)) else cv2.BORDER_REPLICATE
        return self._applied(image, cv2.INTER_CUBIC, border, 0)

    def mask(self, mask: Pixels) -> Pixels:
        """Class indices uint8 (H, W), nearest; 255 (ignored) where there was nothing."""
        return self._applied(mask, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, IGNORED)

    def _applied(self, image: Pixels, interpolation: int, border: int, fill: int) -> Pixels:
        size = _size(image)
        if not self.is_exact(size):
            flags = interpolation | cv2.WARP_INVERSE_MAP
            out = cv2.warpAffine(
                image, self._matrix(size), size[::-1], flags=flags, borderMode=border, borderValue=(fill,) * 3
            )
            return np.asarray(out, np.uint8)
        image = self._reordered(image)
        return image if self.window is None else cut_window(image, self.window, interpolation, border, fill)

    def _reordered(self, image: Pixels) -> Pixels:
        if self.hflip or self.vflip:
            image = np.asarray(cv2.flip(image, -1 if self.hflip and self.vflip else int(self.hflip)), np.uint8)
        turn = TURNS.get(int(self.angle % 360))
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)

    def _matrix(self, size: Size) -> NDArray[np.float64]:
        """2 x 3, pixel of the output -> pixel of the source: window, then turn back, then flip back."""
        height, width = size
        window = self.window or Window(0, 0, height, width)
        stretch = _affine(window.width / width, 0, window.left, 0, window.height / height, window.top)
        cos, sin = (round(value, 12) for value in _cos_sin(self.angle))
        x, y = width / 2, height / 2
        turn = _affine(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)
        flip = _affine(*((-1, 0, width) if self.hflip else (1, 0, 0)), *((0, -1, height) if self.vflip else (0, 1, 0)))
        # The centre of the first pixel lies at 0.5.
        half = _affine(1, 0, 0.5, 0, 1, 0.5)
        matrix: NDArray[np.float64] = (np.linalg.inv(half) @ flip @ turn @ stretch @ half)[:2]
        return matrix


def cut_window(image: Pixels, window: Window, interpolation: int, border: int, fill: int = 0) -> Pixels:
    """Cut the window out and stretch it to the size of the image."""
    height, width = _size(image)
    top, left = max(0, -window.top), max(0, -window.left)
    bottom, right = (max(0, window.top + window.height - height), max(0, window.left + window.width - width))
    if top or left or bottom or right:
        image = np.asarray(cv2.copyMakeBorder(image, top, bottom, left, right, border, value=(fill,) * 3), np.uint8)
    y, x = window.top + top, window.left + left
    part = image[y : y + window.height, x : x + window.width]
    if _size(part) == (height, width):
        return part
    exact = cv2.INTER_NEAREST_EXACT if interpolation == cv2.INTER_NEAREST else interpolation
    return np.asarray(cv2.resize(part, (width, height), interpolation=exact), np.uint8)


def _size(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]


def _affine(*numbers: float) -> NDArray[np.float64]:
    return np.array([*numbers, 0, 0, 1], np.float64).reshape(3, 3)


def _cos_sin(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
