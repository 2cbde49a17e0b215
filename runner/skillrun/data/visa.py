"""VisA (pictures of objects listed in CSV files, masks with one value a defect kind) into the documented layouts.

The lists have the columns ``image`` and ``label``, and may have ``object``, ``split`` and ``mask``; paths are relative
to the data set's root.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.extras import require
from skillrun.data.layout import PASS, DatasetSummary, keep_apart, known_task
from skillrun.data.matching import Unpaired, pair_with_goldens
from skillrun.data.pairs import Names, Progress, write_pairs
from skillrun.data.sides import HELD_OUT
from skillrun.errors import DataError, NotFoundError

# Lists of a whole data set, best first: the first two have defects on both sides.
SPLITS = ("2cls_highshot.csv", "2cls_fewshot.csv", "1cls.csv")
ANNOTATION = "image_anno.csv"
NORMAL = "normal"


@dataclass(frozen=True)
class Line:
    """One picture of a list; ``split`` is ``train``, ``test`` or empty, ``mask`` None where the cell is empty."""

    kind: str
    split: str
    label: str
    image: Path
    mask: Path | None


def convert_visa(
    source: str | Path,
    destination: str | Path,
    *,
    task: str = "classify",
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Convert VisA.

    Normal pictures of the training side are goldens. Where that side has defects too, its pictures become ``train``
    and the others ``eval``; else the other side is divided, a quarter of each label held out. A list without a split
    gives every other normal picture as a golden and divides the rest.

    Args:
        source: the root of the data set, or one of its lists.
        destination: new or empty folder.
        task: ``classify`` or ``segment``; every mask value but 0 is a change.
        seed: of the division.
        force: replace a data set that lies at ``destination``.
        progress: called with (pairs done, pairs in all).

    Raises:
        UsageError: unknown task.
        NotFoundError: ``E_VISA_NOT_FOUND``, no list at ``source``.
        DataError: ``E_VISA_LIST`` with file and line; or a picture is missing or can not be read.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Converting VisA", "numpy", "cv2")
    task_name, out = known_task(task), Path(destination)
    root, lists = find_lists(Path(source))
    keep_apart(root, out)
    lines = [line for path in lists for line in read_list(root, path)]
    samples, pools = _divide(lines, task_name == "segment")
    pairs, picked = pair_with_goldens(samples, pools, HELD_OUT, seed)
    origin = {"name": "VisA", "lists": [path.relative_to(root).as_posix() for path in lists], "golden": picked}
    return write_pairs(out, pairs, origin, task=task_name, seed=seed, force=force, progress=progress)


def find_lists(source: Path) -> tuple[Path, list[Path]]:
    """The root that paths in the lists are relative to, and the lists.

    Raises:
        NotFoundError: ``E_VISA_NOT_FOUND``.
    """
    if source.is_file():
        beside = source.parent
        return (beside.parent if beside.name == "split_csv" else beside), [source]
    for path in (*(source / "split_csv" / name for name in SPLITS), source / ANNOTATION):
        if path.is_file():
            return source, [path]
    each = sorted(source.glob(f"*/{ANNOTATION}"))
    if not each:
        raise NotFoundError(
            "E_VISA_NOT_FOUND",
            f"{source} holds no VisA list: looked for split_csv/{SPLITS[0]}, {SPLITS[1]} and {SPLITS[2]}, "
            f"{ANNOTATION} and OBJECT/{ANNOTATION}.",
            "Name the root of VisA, or a CSV with the columns object,split,label,image,mask",
        )
    return source, each


def read_list(root: Path, path: Path) -> list[Line]:
    """All lines of one list.

    Raises:
        DataError: ``E_VISA_LIST``, a column is missing, a cell is empty or a path leaves ``root``.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except UnicodeDecodeError as cause:
        raise DataError("E_VISA_LIST", f"{path} is not UTF-8 text.", f"Save {path} as UTF-8") from cause
    return [_line(root, path, number, row) for number, row in enumerate(rows, start=2)]


def _line(root: Path, path: Path, number: int, row: dict[str | None, str | None]) -> Line:
    cell = {name: (row.get(name) or "").strip() for name in ("object", "split", "label", "image", "mask")}
    missing = [name for name in ("label", "image") if not cell[name]]
    if missing:
        raise DataError(
            "E_VISA_LIST",
            f"{path}, line {number}: {' and '.join(missing)} is empty (columns object,split,label,image,mask).",
            f"Correct line {number} of {path}",
        )
    image, mask = (root / cell[name] for name in ("image", "mask"))
    for place in (image, mask):
        if not place.resolve().is_relative_to(root.resolve()):
            raise DataError(
                "E_VISA_LIST", f"{path}, line {number}: {place} leaves {root}.", f"Correct line {number} of {path}"
            )
    split = cell["split"] if cell["split"] in ("", "train") else "test"
    kind = cell["object"] or Path(cell["image"]).parts[0]
    return Line(kind, split, cell["label"], image, mask if cell["mask"] else None)


def _divide(lines: Sequence[Line], masks: bool) -> tuple[list[Unpaired], dict[str, list[Path]]]:
    """Samples and, for each object, the normal pictures to pick goldens from."""
    samples: list[Unpaired] = []
    pools: dict[str, list[Path]] = {}
    names = Names()
    for kind in sorted({line.kind for line in lines}):
        mine = sorted((line for line in lines if line.kind == kind), key=lambda line: line.image)
        normal = [line for line in mine if line.label == NORMAL]
        known = any(line.split for line in mine)
        pool = [line for line in normal if line.split == "train"] if known else normal[::2]
        pools[kind] = [line.image for line in pool]
        both = any(line.split == "train" and line.label != NORMAL for line in mine)
        taken = mine if both else [line for line in mine if line not in pool]
        samples += [_sample(line, names, both=both, masks=masks) for line in taken]
    return samples, pools


def _sample(line: Line, names: Names, *, both: bool, masks: bool) -> Unpaired:
    name = names.take(line.kind, line.image.parent.name, line.image.stem)
    normal = line.label == NORMAL
    if masks and not normal and line.mask is None:
        raise DataError("E_VISA_LIST", f"{line.image} is {line.label!r} but has no mask.", "Fill its cell mask")
    split = {"train": "train", "test": "eval"}.get(line.split, "") if both else ""
    mask = line.mask if masks and not normal else None
    return Unpaired(line.kind, name, PASS if normal else line.label, line.image, mask, split)
