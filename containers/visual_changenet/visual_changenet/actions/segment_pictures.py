"""Drawings of predicted masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visual_changenet.data.images import Pixels
from visual_changenet.data.masks import LANDSCD

GAP = 10
CAPTION = 16
UNKNOWN = (128, 128, 128)
BACKGROUND = "#d9dde3"


def class_colours(data: dict[str, Any]) -> Pixels:
    """RGB per class, uint8 (num_classes, 3).

    Two classes: black and white. More: ``color_map``, else the table of LandSCD, else evenly spread hues with
    white for class 0.
    """
    count: int = data["num_classes"]
    table = data.get("color_map")
    if count == 2:
        return np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    if table:
        chosen = [tuple(table.get(str(index), UNKNOWN)) for index in range(count)]
    elif data["data_name"] == "LandSCD" and count <= len(LANDSCD):
        chosen = list(LANDSCD[:count])
    else:
        hues = [colorsys.hsv_to_rgb(index / max(count - 1, 1), 0.75, 0.9) for index in range(count - 1)]
        chosen = [(255, 255, 255), *(tuple(round(255 * part) for part in hue) for hue in hues)]
    return np.array(chosen, np.uint8)


def painted(classes: Pixels, colours: Pixels) -> Pixels:
    """uint8 (S, S) of class indices -> RGB (S, S, 3); values beyond the table are grey."""
    table: NDArray[np.uint8] = np.full((256, 3), UNKNOWN, np.uint8)
    table[: len(colours)] = colours
    return table[classes]


def side_by_side(golden: Pixels, test: Pixels, found: Pixels, truth: Pixels | None, colours: Pixels) -> Image.Image:
    """golden | test | prediction [| truth], ten black pixels between them."""
    parts = [golden, test, painted(found, colours), *([painted(truth, colours)] if truth is not None else [])]
    gap = np.zeros((golden.shape[0], GAP, 3), np.uint8)
    row = [piece for part in parts for piece in (part, gap)][:-1]
    return Image.fromarray(np.concatenate(row, axis=1))


def worst_cases(cases: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """One row per case with its caption; the columns are golden, test, prediction and truth."""
    width = max((picture.width for picture, _ in cases), default=200) + 2 * GAP
    height = sum(picture.height + CAPTION + GAP for picture, _ in cases) + GAP + CAPTION
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP // 2), "golden | test | prediction | truth", fill="black")
    top = GAP + CAPTION
    for picture, caption in cases:
        pen.text((GAP, top), caption, fill="black")
        sheet.paste(picture, (GAP, top + CAPTION))
        top += picture.height + CAPTION + GAP
    return sheet
