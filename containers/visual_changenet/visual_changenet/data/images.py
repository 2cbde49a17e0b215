"""Decoding images to RGB arrays of a fixed size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visual_changenet.errors import DataInvalidError

Pixels = NDArray[np.uint8]


def load_rgb(path: Path, size: tuple[int, int], resample: Image.Resampling) -> Pixels:
    """Decode, convert to RGB and resize with PIL (antialiased) to (height, width).

    Returns:
        uint8 (height, width, 3). An image that already has the size is not resampled.

    Raises:
        DataInvalidError: ``E_DATA_IMAGE`` where PIL can not read the file.
    """
    try:
        with Image.open(path) as image:
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            if rgb.size != (size[1], size[0]):
                rgb = rgb.resize((size[1], size[0]), resample)
            return np.array(rgb, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataInvalidError(
            "E_DATA_IMAGE",
            f"{path} can not be read as an image: {error}.",
            "replace the file or remove its row",
        ) from error
