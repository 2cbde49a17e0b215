"""From decoded pictures to the arrays that a model reads, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.images import Pixels

Floats = NDArray[np.float32]


class Levels:
    """``(x / 255 - mean) / std`` per channel by table look-up, exact in float32."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        centre, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.tables = ((levels[None] - centre[:, None]) / spread[:, None]).astype(np.float32)

    def __call__(self, image: Pixels) -> Floats:
        """uint8 (H, W, 3) -> float32 (3, H, W)."""
        out = np.empty((3, *image.shape[:2]), np.float32)
        for plane, table, target in zip(cv2.split(image), self.tables, out, strict=True):
            cv2.LUT(plane, table, target)
        return out


def combine(lights: list[Pixels], columns: int) -> Pixels:
    """Lay images of one size out in rows of ``columns``, in order: uint8 (rows * H, columns * W, 3)."""
    if len(lights) == 1:
        return lights[0]
    rows = [lights[i : i + columns] for i in range(0, len(lights), columns)]
    return np.concatenate([np.concatenate(row, axis=1) if columns > 1 else row[0] for row in rows], axis=0)


def mean_light(lights: list[Pixels]) -> Pixels:
    """The mean of the lights of one object, uint8 (H, W, 3): what all of them show."""
    if len(lights) == 1:
        return lights[0]
    return np.asarray(np.mean(lights, axis=0), np.uint8)
