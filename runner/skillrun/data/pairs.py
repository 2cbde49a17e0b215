"""Pairs of existing picture files, written as one of the documented layouts."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.data.folders import IMAGE_SUFFIXES, is_hidden
from skillrun.data.layout import ClassifyWriter, DatasetSummary, SegmentWriter, Task, new_dataset, write_manifest
from skillrun.data.pictures import Picture
from skillrun.errors import DataError

Progress = Callable[[int, int], None]
# JPEG can not hold a hard edge; its masks are cut at half.
LOSSY = ("JPEG", "MPO", "WEBP")
HALF = 127


@dataclass(frozen=True)
class SourcePair:
    """One test picture with its golden.

    Attributes:
        group: folder of the pair below ``test/`` and ``golden/`` (classify).
        name: file name without ending, unique in the data set.
        label: ``PASS`` or the name of the defect.
        split: ``train`` or ``eval``.
        golden, test: picture files.
        mask: picture of what changed, of the size of ``test``; None where nothing did.
    """

    group: str
    name: str
    label: str
    split: str
    golden: Path
    test: Path
    mask: Path | None = None


class Names:
    """File names that lists, CSV cells and every file system take, each given once."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()

    def take(self, *parts: str) -> str:
        """``parts`` joined by ``_``, made a `safe_name`; twins get a number."""
        name = safe_name("_".join(parts))
        self._given[name.lower()] += 1
        again = self._given[name.lower()]
        return name if again == 1 else self.take(name, str(again))


def safe_name(text: str) -> str:
    """``text`` with anything but letters, digits, ``-`` and ``_`` replaced by ``_``."""
    return re.sub(r"[^\w-]+", "_", text)


def picture_files(folder: Path) -> list[Path]:
    """Visible pictures in a folder, by name; empty where it does not exist."""
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name))
    return sorted(path for path in files if path.is_file())


def read_picture(path: Path) -> Picture:
    """Read (height, width) grey or (height, width, 3) blue-green-red uint8; transparency is dropped.

    Raises:
        DataError: ``E_DATA_IMAGE_MISSING`` or ``E_DATA_IMAGE_UNREADABLE``.
    """
    import cv2
    import numpy as np

    raw = np.frombuffer(_read_bytes(path), dtype=np.uint8)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = cv2.imdecode(raw, flags) if raw.size else None
    if picture is None:
        raise _unreadable(path)
    return np.asarray(picture, dtype=np.uint8)


def read_mask(path: Path) -> Picture:
    """Read a mask as (height, width) uint8, 255 where it is not 0 (lossy formats: above half) and 0 elsewhere.

    Raises:
        DataError: ``E_DATA_IMAGE_MISSING`` or ``E_DATA_IMAGE_UNREADABLE``.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(_read_bytes(path))) as image:
            bar = HALF if image.format in LOSSY else 0
            # A palette's index is the class; its colour may well be nearly black.
            plain = image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))
            values = np.asarray(plain)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
        raise _unreadable(path) from cause
    marked = values > bar
    flat = marked.reshape(*marked.shape[:2], -1).any(axis=2)
    return np.where(flat, 255, 0).astype(np.uint8)


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise DataError("E_DATA_IMAGE_MISSING", f"The image {path} does not exist.", f"Put the file at {path}")
    return path.read_bytes()


def _unreadable(path: Path) -> DataError:
    return DataError("E_DATA_IMAGE_UNREADABLE", f"The image {path} can not be decoded.", f"Replace {path}")


def write_pairs(
    destination: Path,
    pairs: Sequence[SourcePair],
    origin: dict[str, Any],
    *,
    task: Task,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Write a data set of ``pairs`` to a new or empty folder, completely or not at all.

    A golden of another size is brought to the size of its test picture; ``origin`` goes into the manifest, with
    ``resized_goldens`` where there were such. The eval pairs of a segment set alternate between ``val`` and ``test``.

    Raises:
        DataError: a picture is missing or can not be read, or a mask is not of its picture's size.
        ConflictError: ``destination`` is not empty.
    """
    with new_dataset(destination, force=force) as folder:
        write = _write_classify if task == "classify" else _write_segment
        counts, resized = write(folder, pairs, progress)
        source = origin | ({"resized_goldens": resized} if resized else {})
        summary = DatasetSummary(destination, task, seed, counts, source)
        write_manifest(folder, summary)
    return summary


def _write_classify(
    folder: Path, pairs: Sequence[SourcePair], progress: Progress | None
) -> tuple[dict[str, dict[str, int]], int]:
    writer, resized = ClassifyWriter(folder), 0
    for done, pair in enumerate(pairs, start=1):
        golden, test, changed = _read_pair(pair)
        resized += changed
        writer.add(pair.split, pair.group, pair.name, test=test, golden=golden, label=pair.label)
        if progress:
            progress(done, len(pairs))
    return writer.close(), resized


def _write_segment(
    folder: Path, pairs: Sequence[SourcePair], progress: Progress | None
) -> tuple[dict[str, dict[str, int]], int]:
    import numpy as np

    writer, resized = SegmentWriter(folder), 0
    for done, pair in enumerate(pairs, start=1):
        golden, test, changed = _read_pair(pair)
        resized += changed
        mask = np.zeros(test.shape[:2], np.uint8) if pair.mask is None else read_mask(pair.mask)
        if mask.shape != test.shape[:2]:
            raise DataError(
                "E_DATA_SIZE",
                f"The mask {pair.mask} is {mask.shape} and {pair.test} is {test.shape[:2]} (height, width).",
                f"Replace {pair.mask} by a mask of the size of {pair.test}",
            )
        writer.add(pair.name, golden=golden, test=test, mask=mask)
        if progress:
            progress(done, len(pairs))
    # By label, so that alternating gives both lists some of each.
    held_out = sorted((p for p in pairs if p.split == "eval"), key=lambda p: (p.group, p.label, p.name))
    return writer.close([p.name for p in pairs if p.split == "train"], [[p.name] for p in held_out]), resized


def _read_pair(pair: SourcePair) -> tuple[Picture, Picture, bool]:
    """Golden, test, and whether the golden had to be resized."""
    import cv2
    import numpy as np

    golden, test = read_picture(pair.golden), read_picture(pair.test)
    if golden.shape[:2] == test.shape[:2]:
        return golden, test, False
    size = (test.shape[1], test.shape[0])
    return np.asarray(cv2.resize(golden, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), test, True
