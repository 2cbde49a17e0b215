"""Training augmentation: one random draw for an object, applied alike to test, golden, all lights and the mask."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from visual_changenet.data.colour import ColourChange, draw_colour
from visual_changenet.data.images import Pixels
from visual_changenet.data.moves import Move, Window

CROP_PROBABILITY = 0.5
BLUR_PROBABILITY = 0.5
CROP_AREA = (0.8, 1.2)
# Below this many pixels a blur changes no uint8 value.
SMALLEST_SIGMA = 0.05
# Top, left, height and width of a window while it is still being composed.
Frame = tuple[float, float, float, float]


@dataclass(frozen=True)
class Draw:
    """The outcome of all random decisions for one object; ``Draw()`` changes nothing."""

    move: Move = field(default_factory=Move)
    blur_sigma: float = 0.0
    colour: ColourChange | None = None

    def apply(self, image: Pixels) -> Pixels:
        """uint8 (H, W, 3) -> uint8 (H, W, 3)."""
        image = self.move.image(image)
        if self.blur_sigma > SMALLEST_SIGMA:
            border = cv2.BORDER_REPLICATE
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur_sigma, borderType=border), np.uint8)
        return image if self.colour is None else self.colour.apply(image)

    def apply_mask(self, mask: Pixels) -> Pixels:
        """Class indices uint8 (H, W), moved as ``apply`` moves images; 255 (ignored) where there was nothing."""
        return self.move.mask(mask)


class Augmenter:
    """Draws augmentations from ``augmentation_config`` (classify) or ``augmentation`` (segment).

    Args:
        options: that section as a dict.
        size: (height, width) of one image in pixels.
    """

    def __init__(self, options: dict[str, Any], size: tuple[int, int]) -> None:
        self.options = options
        self.size = size

    def draw(self, rng: random.Random) -> Draw:
        """One independent draw."""
        flip, turn = self.options["random_flip"], self.options["random_rotate"]
        angles = turn["angle_list"]
        move = Move(
            hflip=flip["enable"] and rng.random() < flip["hflip_probability"],
            vflip=flip["enable"] and rng.random() < flip["vflip_probability"],
            angle=float(rng.choice(angles))
            if turn["enable"] and angles and rng.random() < turn["rotate_probability"]
            else 0.0,
            window=self._window(rng),
        )
        blur = self.options["with_random_blur"] and rng.random() < BLUR_PROBABILITY
        return Draw(
            move,
            blur_sigma=rng.random() if blur else 0.0,
            colour=draw_colour(self.options["random_color"], rng),
        )

    def _window(self, rng: random.Random) -> Window | None:
        """Crop, scaled crop and shift as one window; None where it is the whole image."""
        height, width = self.size
        frame: Frame = (0.0, 0.0, height, width)
        if self.options["with_random_crop"] and rng.random() < CROP_PROBABILITY:
            frame = self._crop(rng)
        scaled = self.options["with_scale_random_crop"]
        if scaled["enable"]:
            frame = self._within(frame, self._scaled(rng, *scaled["scale_range"]))
        reach = int(self.options.get("random_shift") or 0)
        if reach:
            move = rng.randint(-reach, reach), rng.randint(-reach, reach)
            frame = self._within(frame, (*move, height, width))
        top, left, rows, columns = (round(value) for value in frame)
        window = Window(top, left, max(1, rows), max(1, columns))
        return None if window == Window(0, 0, height, width) else window

    def _within(self, outer: Frame, inner: Frame) -> Frame:
        """The frame in the source that ``inner`` shows of the output of ``outer``."""
        y, x = outer[2] / self.size[0], outer[3] / self.size[1]
        return outer[0] + inner[0] * y, outer[1] + inner[1] * x, inner[2] * y, inner[3] * x

    def _scaled(self, rng: random.Random, low: float, high: float) -> Frame:
        """What remains after enlarging by a factor in [low, high] and cropping back; a factor below 1 pads."""
        factor = max(rng.uniform(low, high), 0.01)
        height, width = self.size[0] / factor, self.size[1] / factor
        return rng.random() * (self.size[0] - height), rng.random() * (self.size[1] - width), height, width

    def _crop(self, rng: random.Random) -> Frame:
        """A square of 0.8 to 1.2 times the image's area; the whole image where ten draws do not fit into it."""
        height, width = self.size
        for _ in range(10):
            side = round((height * width * rng.uniform(*CROP_AREA)) ** 0.5)
            if side <= height and side <= width:
                return rng.randint(0, height - side), rng.randint(0, width - side), side, side
        return 0.0, 0.0, height, width
