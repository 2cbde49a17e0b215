"""Reading change masks: from the many ways they are stored to class indices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visual_changenet.data.images import Pixels
from visual_changenet.errors import DataInvalidError

IGNORED = 255
# Colours of the data set LandSCD, class 0 (no change) to 9.
LANDSCD = (
    (255, 255, 255),
    (255, 165, 0),
    (230, 30, 100),
    (70, 140, 0),
    (218, 112, 214),
    (0, 170, 240),
    (127, 235, 170),
    (230, 80, 0),
    (205, 220, 57),
    (218, 165, 32),
)
ONES_KEPT, PARTLY_GREY = "ones", "grey"
REMARKS = {
    ONES_KEPT: "{path} holds 0 and 1 instead of 0 and 255; label_transform 'norm' takes such masks' 1 as class 1.",
    PARTLY_GREY: "{path} holds values between 0 and 255; label_transform 'norm' takes them as class 0.",
}


@dataclass(frozen=True)
class MaskRule:
    """How mask values become classes.

    ``norm``: 255 is class 1, all below class 0. ``colours``: RGB of class 0, 1, …; None without a colour table.
    """

    norm: bool
    num_classes: int
    colours: tuple[tuple[int, ...], ...] | None = None

    @staticmethod
    def of(data: dict[str, Any]) -> MaskRule:
        """From the resolved ``dataset.segment`` section.

        Colour tables belong to masks of more than two classes, as in the drawings of predictions.
        """
        count: int = data["num_classes"]
        table = data.get("color_map")
        colours = None
        if count > 2 and table:
            colours = tuple(tuple(table[str(index)]) for index in range(count) if str(index) in table)
        elif count > 2 and data["data_name"] == "LandSCD":
            colours = LANDSCD[:count]
        return MaskRule(data["label_transform"] == "norm", count, colours)


@dataclass(frozen=True)
class Mask:
    """Class indices uint8 (H, W), 255 is ignored; ``remark`` names what was unusual, "" for nothing."""

    classes: Pixels
    remark: str = ""


def read_mask(path: Path, rule: MaskRule) -> Mask:
    """Decode a mask at its own size.

    Single-channel and palette masks give their values as stored, colour masks go through the colour table,
    grey images stored as colour give their grey level.

    Raises:
        DataInvalidError: ``E_DATA_MASK`` where the file can not be read or a value is no class.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("L", "P", "1"):
                values = np.array(image, dtype=np.uint8)
            elif image.mode in ("LA", "PA"):
                values = np.array(image, dtype=np.uint8)[:, :, 0]
            elif image.mode in ("RGB", "RGBA"):
                return _from_colour(path, np.array(image.convert("RGB"), dtype=np.uint8), rule)
            else:
                values = _narrowed(path, np.array(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _bad(path, f"can not be read as a mask: {error}", "replace the file or remove its line") from error
    return _from_values(path, values, rule)


def load_classes(path: Path, rule: MaskRule, size: tuple[int, int]) -> Pixels:
    """Class indices uint8 of ``size`` (height, width), resized to the nearest pixel; raises as ``read_mask``."""
    classes = read_mask(path, rule).classes
    if classes.shape == size:
        return classes
    return np.array(Image.fromarray(classes).resize(size[::-1], Image.Resampling.NEAREST), dtype=np.uint8)


def mask_notices(paths: list[Path], rule: MaskRule, sample: int = 32) -> list[str]:
    """One notice per unusual kind of mask, from up to ``sample`` masks spread over the data set.

    Raises:
        DataInvalidError: one of these masks can not be used.
    """
    step = max(1, -(-len(paths) // sample))
    found: dict[str, Path] = {}
    for path in paths[::step]:
        remark = read_mask(path, rule).remark
        if remark:
            found.setdefault(remark, path)
    return [REMARKS[remark].format(path=path) for remark, path in found.items()]


def _narrowed(path: Path, values: NDArray[Any]) -> Pixels:
    if values.ndim != 2 or values.min() < 0 or values.max() > 255:
        raise _bad(path, "has values outside 0 to 255", "save it with 8 bits and one channel")
    return values.astype(np.uint8)


def _from_values(path: Path, values: Pixels, rule: MaskRule) -> Mask:
    found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if not rule.norm:
        wrong = [int(v) for v in found if v >= rule.num_classes and v != IGNORED]
        if wrong:
            what = f"holds {_shown(found)}, but with dataset.segment.num_classes {rule.num_classes} only values "
            what += f"below it and {IGNORED} (ignored) are classes"
            raise _bad(path, what, f"set dataset.segment.num_classes to {max(wrong) + 1}, or correct the mask")
        return Mask(values)
    if found[-1] <= 1:
        return Mask(values, ONES_KEPT if found[-1] else "")
    if found[-1] != 255:
        what = f"holds {_shown(found)}; label_transform 'norm' knows 0 and 255 (or 0 and 1)"
        fix = f"set dataset.segment.label_transform to None and num_classes to {int(found[-1]) + 1}"
        raise _bad(path, what, fix)
    return Mask(values // 255, PARTLY_GREY if len(found) > 2 or 0 < found[0] < 255 else "")


def _from_colour(path: Path, rgb: Pixels, rule: MaskRule) -> Mask:
    unknown = None
    if rule.colours:
        classes, unknown = _look_up(rgb, rule.colours)
        if unknown is None:
            return Mask(classes)
    if np.array_equal(rgb[:, :, 0], rgb[:, :, 1]) and np.array_equal(rgb[:, :, 0], rgb[:, :, 2]):
        return _from_values(path, np.ascontiguousarray(rgb[:, :, 0]), rule)
    if rule.colours:
        fix = "correct the mask, or dataset.segment.color_map"
        raise _bad(path, f"holds the colour {unknown}, which is not in the colour table", fix)
    raise _bad(
        path,
        "is a colour image, and there is no colour table",
        "save it with one channel, or give dataset.segment.num_classes and color_map",
    )


def _look_up(rgb: Pixels, colours: tuple[tuple[int, ...], ...]) -> tuple[Pixels, list[int] | None]:
    """Class per pixel, and the first colour that is not in the table."""
    weights = np.array([1 << 16, 1 << 8, 1])
    codes, known = rgb.astype(np.int64) @ weights, np.array(colours) @ weights
    order = np.argsort(known, kind="stable")
    place = np.clip(np.searchsorted(known[order], codes), 0, len(known) - 1)
    wrong = np.argwhere(known[order][place] != codes)
    unknown = rgb[tuple(wrong[0])].tolist() if len(wrong) else None
    return order[place].astype(np.uint8), unknown


def _shown(values: NDArray[np.intp], limit: int = 8) -> str:
    text = ", ".join(str(value) for value in values[:limit])
    return f"the values {text}{', …' if len(values) > limit else ''}"


def _bad(path: Path, what: str, fix: str) -> DataInvalidError:
    return DataInvalidError("E_DATA_MASK", f"{path} {what}.", fix)
