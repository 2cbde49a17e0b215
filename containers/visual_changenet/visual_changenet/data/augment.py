"""Training augmentation: one random draw for an object, applied alike to test, golden and all lights."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visual_changenet.data.colour import ColourChange, draw_colour
from visual_changenet.data.images import Pixels

CROP_PROBABILITY = 0.5
BLUR_PROBABILITY = 0.5
CROP_AREA = (0.8, 1.2)


@dataclass(frozen=True)
class Window:
    """The part of the source that fills the output: its top left corner and size in pixels."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class Draw:
    """The outcome of all random decisions for one object; ``Draw()`` changes nothing."""

    hflip: bool = False
    vflip: bool = False
    angle: float = 0.0
    window: Window | None = None
    blur_sigma: float = 0.0
    colour: ColourChange | None = None

    def apply(self, image: Pixels) -> Pixels:
        """uint8 (H, W, 3) -> uint8 (H, W, 3)."""
        if self.hflip:
            image = image[:, ::-1]
        if self.vflip:
            image = image[::-1]
        if self.angle:
            image = rotate(image, self.angle)
        image = np.ascontiguousarray(image)
        if self.window is not None:
            image = cut_window(image, self.window)
        if self.blur_sigma > 0.05:
            image = cv2.GaussianBlur(image, (0, 0), self.blur_sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        return image if self.colour is None else self.colour.apply(image)


def rotate(image: Pixels, degrees: float) -> Pixels:
    """Rotate counter-clockwise about the centre, nearest, same size, black outside."""
    if degrees % 90 == 0 and (image.shape[0] == image.shape[1] or degrees % 180 == 0):
        return np.rot90(image, int(degrees // 90) % 4)
    return np.array(Image.fromarray(np.ascontiguousarray(image)).rotate(degrees), dtype=np.uint8)


def cut_window(image: Pixels, window: Window) -> Pixels:
    """Stretch the window to the whole image, bicubic; outside the source the border is replicated."""
    height, width = image.shape[:2]
    scale_y, scale_x = window.height / height, window.width / width
    # Pixel centres: source = start + (target + 0.5) * scale - 0.5.
    matrix: NDArray[np.float64] = np.array(
        [
            [scale_x, 0.0, window.left + 0.5 * scale_x - 0.5],
            [0.0, scale_y, window.top + 0.5 * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


class Augmenter:
    """Draws augmentations from ``dataset.classify.augmentation_config``.

    Args:
        options: that section as a dict.
        size: (height, width) of one light in pixels.
    """

    def __init__(self, options: dict[str, Any], size: tuple[int, int]) -> None:
        self.options = options
        self.size = size

    def draw(self, rng: random.Random) -> Draw:
        """One independent draw."""
        flip, turn = self.options["random_flip"], self.options["random_rotate"]
        blur = self.options["with_random_blur"] and rng.random() < BLUR_PROBABILITY
        angles = turn["angle_list"]
        turned = turn["enable"] and angles and rng.random() < turn["rotate_probability"]
        return Draw(
            hflip=flip["enable"] and rng.random() < flip["hflip_probability"],
            vflip=flip["enable"] and rng.random() < flip["vflip_probability"],
            angle=float(rng.choice(angles)) if turned else 0.0,
            window=self._window(rng),
            blur_sigma=rng.random() if blur else 0.0,
            colour=draw_colour(self.options["random_color"], rng),
        )

    def _window(self, rng: random.Random) -> Window | None:
        height, width = self.size
        crop = None
        if self.options["with_random_crop"] and rng.random() < CROP_PROBABILITY:
            crop = self._crop(rng)
        reach = int(self.options.get("random_shift") or 0)
        if reach == 0:
            return crop
        window = crop or Window(0, 0, height, width)
        dy, dx = rng.randint(-reach, reach), rng.randint(-reach, reach)
        return Window(window.top + dy, window.left + dx, window.height, window.width)

    def _crop(self, rng: random.Random) -> Window | None:
        """A square of 0.8 to 1.2 times the image's area; none where ten draws do not fit into the image."""
        height, width = self.size
        for _ in range(10):
            side = round((height * width * rng.uniform(*CROP_AREA)) ** 0.5)
            if side <= height and side <= width:
                return Window(rng.randint(0, height - side), rng.randint(0, width - side), side, side)
        return None
