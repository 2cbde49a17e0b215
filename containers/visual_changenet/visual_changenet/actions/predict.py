"""``visual_changenet predict``: score, decision and picture of one pair or of two folders; needs no spec."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from visual_changenet.actions.predict_pairs import Pair, find_pairs
from visual_changenet.actions.segment_pictures import class_colours, side_by_side
from visual_changenet.atomic import write_text_atomic
from visual_changenet.console import complain, say
from visual_changenet.predictor import Prediction, Predictor
from visual_changenet.runtime import Device
from visual_changenet.runtime.card import Card

CAPTION = 16
GAP = 2
COLOURS = {"NO_PASS": (200, 30, 30), "PASS": (20, 120, 40)}
COLUMNS = ("name", "score", "decision", "golden", "test", "mask", "picture")


def predict(
    model: Path,
    golden: Path,
    test: Path,
    *,
    out: Path | None = None,
    as_json: bool = False,
    margin: float | None = None,
    device: Device = "auto",
) -> None:
    """Say a line per pair: name, score, decision; see ``find_pairs`` for what ``golden`` and ``test`` may be.

    Args:
        out: takes ``predictions.csv``, ``pictures/<name>.jpg`` and for segment ``masks/<name>.png``.
        as_json: lines of JSON instead, with the keys ``COLUMNS``; mask and picture are null without ``out``.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the model or an image can not be used.
    """
    predictor = Predictor(model, margin=margin, device=device)
    pairs = find_pairs(golden, test, predictor.card)
    for text in predictor.notices:
        complain(text)
    rows = []
    for row in _rows(predictor, pairs, out):
        rows.append(row)
        say(json.dumps(row, ensure_ascii=False) if as_json else f"{row['name']}  {row['score']:.6f}  {row['decision']}")
    if out is not None:
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text_atomic(out / "predictions.csv", table.getvalue())


def _rows(predictor: Predictor, pairs: list[Pair], out: Path | None) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        several = predictor.card.num_golden > 1
        found = predictor.predict(pair.golden if several else pair.golden[0], pair.test)
        mask, picture = _save(predictor, found, pair.name, out) if out is not None else (None, None)
        yield {
            "name": pair.name,
            "score": found.score,
            "decision": found.decision,
            "golden": str(pair.golden[0][0]),
            "test": str(pair.test[0]),
            "mask": mask,
            "picture": picture,
        }


def _save(predictor: Predictor, found: Prediction, name: str, out: Path) -> tuple[str | None, str]:
    """Write the files of one pair; returns their paths below ``out``."""
    mask, picture = None, f"pictures/{name}.jpg"
    if found.mask is not None:
        mask = f"masks/{name}.png"
        values = found.mask * 255 if predictor.card.classes == 2 else found.mask
        _write(Image.fromarray(values.astype(np.uint8)), out / mask)
    _write(_picture(predictor.card, found), out / picture)
    return mask, picture


def _write(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95) if path.suffix == ".jpg" else image.save(path)


def _picture(card: Card, found: Prediction) -> Image.Image:
    """segment: golden | test | mask; classify: golden | test under the score."""
    if found.mask is not None:
        colours = class_colours({"num_classes": card.classes, "color_map": None, "data_name": ""})
        return side_by_side(found.golden, found.test, found.mask, None, colours)
    height, width = found.test.shape[:2]
    sheet = Image.new("RGB", (2 * width + GAP, height + CAPTION), "white")
    sheet.paste(Image.fromarray(found.golden), (0, CAPTION))
    sheet.paste(Image.fromarray(found.test), (width + GAP, CAPTION))
    ImageDraw.Draw(sheet).text((2, 2), f"{found.score:.4f} {found.decision}", fill=COLOURS[found.decision])
    return sheet
