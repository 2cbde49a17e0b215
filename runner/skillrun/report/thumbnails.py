"""Small pictures as data URIs: a pair's golden, test, their difference, its mask over the test picture."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 224
QUALITY = 82
GAIN = 3
FOUND, MISSED, EXTRA = (0, 158, 115), (213, 94, 0), (240, 228, 66)


@dataclass(frozen=True)
class Thumb:
    """One picture of a case; ``kind`` is golden, test, difference, mask or overlay. ``uri`` is a JPEG."""

    kind: str
    uri: str


@dataclass(frozen=True)
class Files:
    """Where the pictures of a pair lie; None where there is none."""

    golden: Path | None = None
    test: Path | None = None
    found: Path | None = None
    truth: Path | None = None


def thumbs(files: Files) -> list[Thumb]:
    """What can be read of a pair, at most `SIDE` pixels a side; the difference is amplified by `GAIN`."""
    golden, test = _open(files.golden), _open(files.test)
    found, truth = _open(files.found), _open(files.truth)
    made = [("golden", golden), ("test", test)]
    if golden is not None and test is not None:
        made.append(("difference", _difference(golden, test)))
    if found is not None:
        made.append(("mask", found.convert("L").point(lambda value: 255 if value else 0)))
        if test is not None:
            made.append(("overlay", _overlay(test, found, truth)))
    return [Thumb(kind, _uri(image)) for kind, image in made if image is not None]


def _open(path: Path | None) -> Image.Image | None:
    """A picture in 8 bits, shrunk to fit; None where the file can not be read."""
    from PIL import Image

    if path is None:
        return None
    try:
        with Image.open(path) as image:
            image.draft(None, (SIDE, SIDE))
            wide = image.mode.startswith("I")
            small = image.convert("I").point(lambda value: value / 256).convert("L") if wide else image
            small = small if small.mode in ("L", "RGB") else small.convert("RGB")
            small.load()
            mask = small.mode == "L" and path.suffix.lower() == ".png"
            small.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST if mask else Image.Resampling.LANCZOS)
            return small.copy()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _difference(golden: Image.Image, test: Image.Image) -> Image.Image:
    from PIL import ImageChops

    other = golden if golden.size == test.size else golden.resize(test.size)
    return ImageChops.difference(other.convert("L"), test.convert("L")).point(lambda value: min(255, value * GAIN))


def _overlay(test: Image.Image, found: Image.Image, truth: Image.Image | None) -> Image.Image:
    """The mask in colours over the test picture: found, missed, called too much; one colour without a truth."""
    from PIL import Image, ImageChops

    called = found.convert("L").resize(test.size, Image.Resampling.NEAREST).point(lambda value: 150 if value else 0)
    painted = test.convert("RGB")
    if truth is None:
        painted.paste(FOUND, mask=called)
        return painted
    real = truth.convert("L").resize(test.size, Image.Resampling.NEAREST).point(lambda value: 150 if value else 0)
    for colour, where in (
        (FOUND, ImageChops.darker(called, real)),
        (MISSED, ImageChops.subtract(real, called)),
        (EXTRA, ImageChops.subtract(called, real)),
    ):
        painted.paste(colour, mask=where)
    return painted


def _uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
