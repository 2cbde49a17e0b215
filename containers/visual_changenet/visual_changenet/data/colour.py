"""Colour jitter as at most two 3 x 4 colour matrices around one hue rotation."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.images import Pixels

# ITU-R BT.601 luma, the weights PIL uses for mode L.
LUMA = np.array([0.299, 0.587, 0.114])
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class ColourChange:
    """Factors (1.0 = unchanged; hue in turns, -0.5..0.5) and the order in which the four steps run."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    order: tuple[str, ...] = ("brightness", "contrast", "saturation", "hue")

    def apply(self, image: Pixels) -> Pixels:
        """uint8 RGB (H, W, 3) -> uint8 RGB (H, W, 3), clipped to 0..255 after each run of linear steps."""
        cut = self.order.index("hue")
        image = self._linear(image, self.order[:cut])
        image = turn_hue(image, self.hue)
        return self._linear(image, self.order[cut + 1 :])

    def _linear(self, image: Pixels, steps: tuple[str, ...]) -> Pixels:
        if not steps:
            return image
        matrix: Matrix = np.concatenate([np.eye(3), np.zeros((3, 1))], axis=1)
        grey = float(LUMA @ np.asarray(cv2.mean(image)[:3])) if "contrast" in steps else 0.0
        for step in steps:
            change, grey = self._step(step, grey)
            matrix = np.concatenate([change[:, :3] @ matrix[:, :3], change[:, :3] @ matrix[:, 3:] + change[:, 3:]], 1)
        return np.asarray(cv2.transform(image, matrix), np.uint8)

    def _step(self, step: str, grey: float) -> tuple[Matrix, float]:
        """The 3 x 4 matrix of one step, and the mean grey level after it."""
        offset = np.zeros((3, 1))
        if step == "brightness":
            return np.concatenate([np.eye(3) * self.brightness, offset], 1), grey * self.brightness
        if step == "contrast":
            return np.concatenate([np.eye(3) * self.contrast, offset + (1 - self.contrast) * grey], 1), grey
        mixed = np.eye(3) * self.saturation + (1 - self.saturation) * np.tile(LUMA, (3, 1))
        return np.concatenate([mixed, offset], 1), grey


def turn_hue(image: Pixels, turns: float) -> Pixels:
    """Rotate the hue by ``turns`` of a full circle (steps of 1/256)."""
    step = round(turns * 256) % 256
    if step == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[:, :, 0] += np.uint8(step)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


def draw_colour(options: dict[str, Any], rng: random.Random) -> ColourChange | None:
    """A change with probability ``color_probability``, else None.

    ``options`` is ``random_color``; strength s: factor in [max(0, 1-s), 1+s]; hue h: turn in [-h, h].
    """
    if not options["enable"] or rng.random() >= options["color_probability"]:
        return None
    factors = {
        name: rng.uniform(max(0.0, 1.0 - options[name]), 1.0 + options[name])
        for name in ("brightness", "contrast", "saturation")
    }
    order = ["brightness", "contrast", "saturation", "hue"]
    rng.shuffle(order)
    return ColourChange(**factors, hue=rng.uniform(-options["hue"], options["hue"]), order=tuple(order))
