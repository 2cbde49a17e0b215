"""DeepPCB (aligned golden/test pairs of bare boards, annotated boxes) into the documented layouts.

A DeepPCB folder holds ``groupX/X/NNN_temp.jpg`` (golden), ``groupX/X/NNN_test.jpg`` (test) and
``groupX/X_not/NNN.txt`` with one defect a line: ``x1 y1 x2 y2 type``, pixels, separated by blanks or commas.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skillrun.data.crops import REACH, Box, Point, clean_origins, crop_at, defect_origin, tile_origins, tile_reach
from skillrun.data.differences import difference_mask
from skillrun.data.extras import require
from skillrun.data.layout import (
    PASS,
    ClassifyWriter,
    DatasetSummary,
    SegmentWriter,
    Task,
    known_task,
    new_dataset,
    write_manifest,
)
from skillrun.data.pictures import Picture, read_grey
from skillrun.errors import DataError, NotFoundError, UsageError

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int], None]

DEFECT_NAMES = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pinhole"}
# Longest side of a box that a crop of the default size still holds with a rim around it.
MAX_BOX = 60
# One whole board type, 29 % of the annotated defects of the four published training groups used here.
DEFAULT_EVAL_GROUPS = ("group77000",)
DEFAULT_CROP = {"classify": 64, "segment": 0}


@dataclass(frozen=True)
class ConvertSummary(DatasetSummary):
    """A `DatasetSummary`; ``source`` holds boards, groups of both sides and the count of boxes left out."""


@dataclass(frozen=True)
class Board:
    """One annotated pair of pictures."""

    group: str
    name: str
    golden: Path
    test: Path
    annotation: Path


@dataclass(frozen=True)
class _Options:
    eval_groups: tuple[str, ...]
    centred: bool
    crop: int
    seed: int

    def split(self, board: Board) -> str:
        return "eval" if board.group in self.eval_groups else "train"


def convert_deeppcb(
    source: str | Path,
    destination: str | Path,
    *,
    task: str = "classify",
    centred: bool = False,
    crop: int | None = None,
    eval_groups: Sequence[str] = DEFAULT_EVAL_GROUPS,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> ConvertSummary:
    """Convert DeepPCB; the two sides of the split never share a board group.

    Args:
        source: the folder that holds the ``groupX`` folders, or its parent.
        destination: new or empty folder.
        task: ``classify`` writes crops of single defects and as many of defect-free places;
            ``segment`` writes whole boards or tiles with a mask of the difference inside the annotated boxes.
        centred: put each defect in the middle of its crop instead of up to 20 px (classify) or 20/64 of the
            side (segment) beside it.
        crop: side of a crop in pixels, 16..640; classify: 64 if not given; segment: whole boards if not given
            or 0, else tiles that show every defect, and as many without one.
        eval_groups: names of the groups held out, e.g. ``("group77000",)``; ``77000`` works too.
        seed: of the places of the crops; the same seed gives the same bytes.
        force: replace a data set that lies at ``destination``.
        progress: called with (boards done, boards in all).

    Raises:
        UsageError: unknown task, crop size or group; or a split that leaves one side empty.
        NotFoundError: ``source`` holds no DeepPCB board.
        DataError: an annotation or an image can not be read; the message names file and line.
        ConflictError: ``destination`` is not empty.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Converting DeepPCB", "numpy", "cv2")
    task_name = known_task(task)
    boards = find_boards(Path(source))
    side = _known_crop(crop, task_name)
    options = _Options(_known_groups(boards, eval_groups), centred, side, seed)
    with new_dataset(Path(destination), force=force) as folder:
        if task_name == "classify":
            counts, skipped = _write_classify(folder, boards, options, progress)
        else:
            counts, skipped = _write_segment(folder, boards, options, progress), 0
        origin = {
            "name": "DeepPCB",
            "boards": len(boards),
            "train_groups": sorted({b.group for b in boards} - set(options.eval_groups)),
            "eval_groups": list(options.eval_groups),
        }
        if side:
            origin |= {"crop_px": side, "centred": centred}
        if task_name == "classify":
            origin |= {"max_box_px": MAX_BOX, "skipped_large": skipped}
        summary = ConvertSummary(Path(destination), task_name, seed, counts, origin)
        write_manifest(folder, summary)
    return summary


def find_boards(source: Path) -> list[Board]:
    """All annotated pairs below ``source``, sorted by group and name.

    Raises:
        NotFoundError: ``E_DEEPPCB_NOT_FOUND`` if there is none.
    """
    boards = []
    for golden in sorted([*source.glob("group*/*/*_temp.jpg"), *source.glob("*/group*/*/*_temp.jpg")]):
        name, folder = golden.name.removesuffix("_temp.jpg"), golden.parent
        annotation = folder.with_name(f"{folder.name}_not") / f"{name}.txt"
        boards.append(Board(folder.parent.name, name, golden, golden.with_name(f"{name}_test.jpg"), annotation))
    if not boards:
        raise NotFoundError(
            "E_DEEPPCB_NOT_FOUND",
            f"{source} holds no DeepPCB pair (groupX/X/NNN_temp.jpg).",
            "Name the PCBData folder of DeepPCB",
        )
    return boards


def read_boxes(path: Path) -> list[Box]:
    """The annotated defects of one board.

    Raises:
        DataError: ``E_DEEPPCB_ANNOTATION`` with file and line number.
    """
    if not path.is_file():
        raise DataError("E_DEEPPCB_ANNOTATION", f"The annotation {path} does not exist.", f"Put it at {path}")
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    return [_read_box(path, number, line) for number, line in lines if line.strip()]


def _read_box(path: Path, number: int, line: str) -> Box:
    words = line.replace(",", " ").split()
    try:
        x1, y1, x2, y2, kind = (int(word) for word in words)
        return Box(x1, y1, x2, y2, DEFECT_NAMES[kind]).checked()
    except (ValueError, KeyError) as cause:
        raise DataError(
            "E_DEEPPCB_ANNOTATION",
            f"{path}, line {number}: {line!r} is not 'x1 y1 x2 y2 type' with x1 < x2, y1 < y2 and type 1..6.",
            f"Correct line {number} of {path}",
        ) from cause


def _known_groups(boards: Sequence[Board], wanted: Sequence[str]) -> tuple[str, ...]:
    groups = sorted({board.group for board in boards})
    chosen = tuple(sorted({name if name.startswith("group") else f"group{name}" for name in wanted}))
    unknown = [name for name in chosen if name not in groups]
    names = ", ".join(groups)
    if unknown:
        raise UsageError("E_DATA_GROUPS", f"No group {', '.join(unknown)} among {names}.", f"Use some of {names}")
    if not chosen or len(chosen) == len(groups):
        raise UsageError(
            "E_DATA_GROUPS",
            f"Holding out {len(chosen)} of {len(groups)} groups leaves one side empty.",
            f"Hold out at least one and not all of {names}",
        )
    return chosen


def _known_crop(crop: int | None, task: Task) -> int:
    """The side of a crop in pixels; 0 stands for whole boards."""
    side = DEFAULT_CROP[task] if crop is None else crop
    if not 16 <= side <= 640 and (side, task) != (0, "segment"):
        raise UsageError("E_DATA_CROP", f"A crop of {side} px is outside 16..640.", "--crop 64")
    return side


def _board_rng(board: Board, seed: int) -> np.random.Generator:
    """A generator of its own for each board, so that adding a board changes no other one."""
    import numpy as np

    return np.random.default_rng([seed, zlib.crc32(f"{board.group}/{board.name}".encode())])


def _write_classify(
    folder: Path, boards: Sequence[Board], options: _Options, progress: Progress | None
) -> tuple[dict[str, dict[str, int]], int]:
    writer = ClassifyWriter(folder)
    skipped = 0
    owed: dict[str, int] = {}
    for done, board in enumerate(boards, start=1):
        golden, test = _read_pair(board, minimum=options.crop)
        boxes = _boxes_of(board, golden.shape)
        rng = _board_rng(board, options.seed)
        defects = _defect_crops(boxes, golden.shape, options, rng)
        # A board without enough free places leaves the rest of its share to the next one of its group.
        wanted = len(defects) + owed.get(board.group, 0)
        clean = clean_origins(golden, boxes, options.crop, wanted, rng)
        owed[board.group] = wanted - len(clean)
        skipped += len(boxes) - len(defects)
        _add_crops(writer, board, (golden, test), [*defects, *((at, PASS) for at in clean)], options)
        if progress:
            progress(done, len(boards))
    return writer.close(), skipped


def _defect_crops(
    boxes: Sequence[Box], shape: tuple[int, ...], options: _Options, rng: np.random.Generator
) -> list[tuple[Point, str]]:
    reach = 0 if options.centred else REACH
    kept = [box for box in boxes if box.longest <= MAX_BOX]
    return [(defect_origin(box, shape, options.crop, rng, reach), box.label) for box in kept]


def _add_crops(
    writer: ClassifyWriter,
    board: Board,
    pair: tuple[Picture, Picture],
    crops: Sequence[tuple[Point, str]],
    options: _Options,
) -> None:
    golden, test = pair
    for number, (at, label) in enumerate(crops):
        writer.add(
            options.split(board),
            board.name,
            f"{board.name}_{number:02d}_x{at[0]}_y{at[1]}",
            test=crop_at(test, at, options.crop),
            golden=crop_at(golden, at, options.crop),
            label=label,
        )


def _write_segment(
    folder: Path, boards: Sequence[Board], options: _Options, progress: Progress | None
) -> dict[str, dict[str, int]]:
    writer = SegmentWriter(folder)
    names: dict[str, list[list[str]]] = {"train": [], "eval": []}
    owed: dict[str, int] = {}
    for done, board in enumerate(boards, start=1):
        golden, test = _read_pair(board, minimum=options.crop or 1)
        boxes = _boxes_of(board, golden.shape)
        pictures = (golden, test, difference_mask(golden, test, boxes))
        if options.crop:
            names[options.split(board)].append(_add_tiles(writer, board, pictures, boxes, options, owed))
        else:
            writer.add(board.name, golden=golden, test=test, mask=pictures[2])
            names[options.split(board)].append([board.name])
        if progress:
            progress(done, len(boards))
    return writer.close([name for group in names["train"] for name in group], names["eval"])


def _add_tiles(
    writer: SegmentWriter,
    board: Board,
    pictures: tuple[Picture, Picture, Picture],
    boxes: Sequence[Box],
    options: _Options,
    owed: dict[str, int],
) -> list[str]:
    """Write the tiles of one board; returns their names. ``owed`` is what each group lacks in clean tiles."""
    golden, test, mask = pictures
    rng, side = _board_rng(board, options.seed), options.crop
    reach = 0 if options.centred else tile_reach(side)
    tiles = tile_origins(boxes, golden.shape, side, rng, reach)
    wanted = len(tiles) + owed.get(board.group, 0)
    clean = clean_origins(golden, boxes, side, wanted, rng)
    owed[board.group] = wanted - len(clean)
    names = []
    for number, at in enumerate([*tiles, *clean]):
        names.append(f"{board.name}_{number:02d}_x{at[0]}_y{at[1]}")
        cut = (crop_at(picture, at, side) for picture in (golden, test, mask))
        writer.add(names[-1], **dict(zip(("golden", "test", "mask"), cut, strict=True)))
    return names


def _read_pair(board: Board, *, minimum: int) -> tuple[Picture, Picture]:
    golden, test = read_grey(board.golden), read_grey(board.test)
    if golden.shape != test.shape or min(golden.shape) < minimum:
        raise DataError(
            "E_DATA_SIZE",
            f"{board.golden} is {golden.shape} and {board.test} is {test.shape} (height, width): "
            f"both must be equal and at least {minimum} px.",
            f"Replace {board.test} by the picture of the same size",
        )
    return golden, test


def _boxes_of(board: Board, shape: tuple[int, ...]) -> list[Box]:
    boxes = read_boxes(board.annotation)
    for number, box in enumerate(boxes, start=1):
        if box.x2 > shape[1] or box.y2 > shape[0]:
            raise DataError(
                "E_DEEPPCB_ANNOTATION",
                f"{board.annotation}, box {number} is not inside the picture of {shape[1]} x {shape[0]} px.",
                f"Correct box {number} of {board.annotation}",
            )
    return boxes
