"""A picture of the worst mistakes: golden and test side by side with their score."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.pixels import combine
from visual_changenet.metrics import Scores, Targets

LIMIT = 24
THUMBNAIL = 112
CAPTION = 14
GAP = 8
COLUMNS = 4
MISS, FALSE_CALL = (200, 30, 30), (200, 120, 0)


def worst_rows(scores: Scores, targets: Targets, margin: float, limit: int = LIMIT) -> list[int]:
    """Row indices of misses (lowest score first) and false calls (highest first), at most ``limit``.

    Each kind gets half of the places, and what the other kind leaves free.
    """
    misses = [i for i in np.argsort(scores, kind="stable") if targets[i] == 1 and scores[i] <= margin]
    calls = [i for i in np.argsort(-scores, kind="stable") if targets[i] == 0 and scores[i] > margin]
    kept = min(len(misses), max(limit // 2, limit - len(calls)))
    return [int(i) for i in [*misses[:kept], *calls[: limit - kept]]]


def worst_cases(dataset: ClassifyDataset, scores: Scores, targets: Targets, margin: float) -> Image.Image:
    """RGB contact sheet; each cell shows golden | test, line, score and kind."""
    rows = worst_rows(scores, targets, margin)
    cell_width, cell_height = 2 * THUMBNAIL + GAP, THUMBNAIL + CAPTION + GAP
    lines = max(1, -(-len(rows) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * cell_width + GAP, lines * cell_height + GAP), "#d9dde3")
    pen = ImageDraw.Draw(sheet)
    if not rows:
        pen.text((GAP, GAP), f"no mistake at margin {margin:g}", fill="black")
    for place, index in enumerate(rows):
        left, top = GAP + place % COLUMNS * cell_width, GAP + place // COLUMNS * cell_height
        test, goldens = dataset.pixels(index)
        for offset, lights in ((0, goldens[0]), (THUMBNAIL + 1, test)):
            image = Image.fromarray(np.ascontiguousarray(combine(lights, dataset.columns)))
            image.thumbnail((THUMBNAIL - 1, THUMBNAIL - 1))
            sheet.paste(image, (left + offset, top + CAPTION))
        kind, colour = ("miss", MISS) if targets[index] == 1 else ("false call", FALSE_CALL)
        caption = f"{kind} {scores[index]:.3f} line {dataset.table.rows[index].line}"
        pen.text((left, top), caption, fill=colour)
    return sheet
