"""Golden and test pictures of imaginary boards with known defects, in the documented layouts.

Made for trying things out, teaching and tests. The same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skillrun.data.board import PITCH, draw_layout
from skillrun.data.camera import RIM, expose, random_exposure, see_layer
from skillrun.data.defects import KINDS, Board, Defect, find_defect
from skillrun.data.extras import require
from skillrun.data.layout import (
    PASS,
    ClassifyWriter,
    DatasetSummary,
    SegmentWriter,
    known_task,
    new_dataset,
    write_manifest,
)
from skillrun.data.painting import Theme, paint_layers, random_theme
from skillrun.data.pictures import Picture
from skillrun.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int], None]

PAIRS_PER_BOARD = 8
# A board is this many pictures wide.
VIEWS_ACROSS = 4
SIZES = (32, 512)


@dataclass(frozen=True)
class Pair:
    """One sample.

    Attributes:
        board: name of the layout it was cut from.
        name: unique on the board.
        label: `PASS` or the kind of the defect.
        golden: (size, size, 3) uint8 blue-green-red.
        test: the same shape.
        mask: (size, size) uint8, 255 where the test picture's copper differs.
    """

    board: str
    name: str
    label: str
    golden: Picture
    test: Picture
    mask: Picture


def synth(
    out: str | Path,
    *,
    task: str = "classify",
    pairs: int = 200,
    seed: int = 0,
    size: int = 64,
    eval_fraction: float = 0.25,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Draw a data set: half of the pairs have a defect; train and eval never share a board.

    Args:
        out: new or empty folder.
        task: ``classify`` or ``segment``.
        pairs: number of golden/test pairs, at least 4.
        seed: 0 or more.
        size: side of a picture in pixels, 32..512.
        eval_fraction: share of the boards held out, between 0 and 1 (neither of them).
        force: replace a data set that lies at ``out``.
        progress: called with (pairs done, pairs in all).

    Raises:
        UsageError: a value outside its range.
        ConflictError: ``out`` is not empty.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Drawing boards", "numpy", "cv2")
    task_name = known_task(task)
    _check_ranges(pairs, seed, size, eval_fraction)
    shares = _pairs_of_boards(pairs)
    held_out = min(max(round(len(shares) * eval_fraction), 1), len(shares) - 1)
    splits = ["train"] * (len(shares) - held_out) + ["eval"] * held_out
    with new_dataset(Path(out), force=force) as folder:
        samples = _reported(_all_pairs(shares, splits, seed, size), pairs, progress)
        counts = _write_classify(folder, samples) if task_name == "classify" else _write_segment(folder, samples)
        source = {"name": "synth", "boards": len(shares), "size_px": size, "pairs": pairs}
        summary = DatasetSummary(Path(out), task_name, seed, counts, source)
        write_manifest(folder, summary)
    return summary


def board_pairs(seed: int, number: int, count: int, *, size: int = 64) -> Iterator[Pair]:
    """Draw board ``number`` of a seed and cut ``count`` pairs from it, every other one with a defect."""
    import numpy as np

    rng = np.random.default_rng([seed, number])
    unit = 2.0 * (size / 64) ** 0.5
    # Mask pixels to a picture pixel: fine pictures need fewer, and would take four times the memory.
    scale = 4 if size <= 128 else 2
    layout = draw_layout(rng, nodes=round(VIEWS_ACROSS * size / (PITCH * unit)), unit=unit)
    board = Board(layout, paint_layers(layout, scale))
    theme = random_theme(rng)
    kinds = [KINDS[index] for index in rng.permutation(len(KINDS))]
    for index in range(count):
        first = index // 2 + number * (PAIRS_PER_BOARD // 2)
        defect = _any_defect(board, [kinds[(first + turn) % len(KINDS)] for turn in range(len(KINDS))], rng)
        yield _draw_pair(board, theme, defect, index, size=size, board_name=f"board_{number:04d}", rng=rng)


def _any_defect(board: Board, kinds: list[str], rng: np.random.Generator) -> Defect:
    for kind in kinds:
        found = find_defect(kind, board, rng)
        if found is not None:
            return found
    raise DataError("E_SYNTH_BOARD", "A drawn board has no place for any defect.", "Choose another --seed")


def _draw_pair(
    board: Board,
    theme: Theme,
    defect: Defect,
    index: int,
    *,
    size: int,
    board_name: str,
    rng: np.random.Generator,
) -> Pair:
    """Odd pairs show the defect; even ones only look where it would be, so that places tell nothing."""
    import numpy as np

    shown = index % 2 == 1
    origin = _view_origin(defect, board.layout.extent, size, rng)
    scale = board.layers.scale
    left, top = ((value - RIM) * scale for value in origin)
    side = (size + 2 * RIM) * scale
    cut = {
        name: np.ascontiguousarray(getattr(board.layers, name)[top : top + side, left : left + side])
        for name in ("copper", "opening", "hole", "silk")
    }
    corner = (float(origin[0] - RIM), float(origin[1] - RIM))
    tested = cut | ({"copper": defect.changed(cut["copper"], corner, scale)} if shown else {})
    pictures: list[Picture] = []
    for parts in (cut, tested):
        exposure = random_exposure(rng)
        seen = {n: see_layer(m, size, scale, exposure, silk=n == "silk") for n, m in parts.items()}
        pictures.append(expose(seen, theme, exposure, rng))
    visible = np.where(cut["hole"] > 0, 0, np.bitwise_xor(cut["copper"], tested["copper"])).astype(np.uint8)
    mask = np.where(see_layer(visible, size, scale, exposure) > 0.5, 255, 0).astype(np.uint8)
    golden, test = pictures
    return Pair(board_name, f"{board_name}_{index:02d}", defect.kind if shown else PASS, golden, test, mask)


def _view_origin(defect: Defect, extent: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner of a view that shows the defect up to 0.3 of its side beside the middle."""
    offsets = rng.uniform(-0.3, 0.3, size=2) * size
    places = (round(c - size / 2 + float(o)) for c, o in zip(defect.centre, offsets, strict=True))
    x, y = (min(max(place, RIM), extent - size - RIM) for place in places)
    return x, y


def _all_pairs(shares: list[int], splits: list[str], seed: int, size: int) -> Iterator[tuple[str, Pair]]:
    for number, (count, split) in enumerate(zip(shares, splits, strict=True)):
        for pair in board_pairs(seed, number, count, size=size):
            yield split, pair


def _reported(samples: Iterator[tuple[str, Pair]], total: int, progress: Progress | None) -> Iterator[tuple[str, Pair]]:
    for done, sample in enumerate(samples, start=1):
        yield sample
        if progress:
            progress(done, total)


def _write_classify(folder: Path, samples: Iterator[tuple[str, Pair]]) -> dict[str, dict[str, int]]:
    writer = ClassifyWriter(folder)
    for split, pair in samples:
        writer.add(split, pair.board, pair.name, test=pair.test, golden=pair.golden, label=pair.label)
    return writer.close()


def _write_segment(folder: Path, samples: Iterator[tuple[str, Pair]]) -> dict[str, dict[str, int]]:
    writer = SegmentWriter(folder)
    boards: dict[str, dict[str, list[str]]] = {"train": {}, "eval": {}}
    for split, pair in samples:
        writer.add(pair.name, golden=pair.golden, test=pair.test, mask=pair.mask)
        boards[split].setdefault(pair.board, []).append(pair.name)
    held_out = [*boards["eval"].values()]
    if len(held_out) == 1:  # one board for both lists: pairs by twos, one of them with a defect
        held_out = [held_out[0][i : i + 2] for i in range(0, len(held_out[0]), 2)]
    return writer.close([name for names in boards["train"].values() for name in names], held_out)


def _pairs_of_boards(pairs: int) -> list[int]:
    """How many pairs each board gives: an even number but for the last, 2 to `PAIRS_PER_BOARD`."""
    each = min(PAIRS_PER_BOARD, max(2, pairs // 4 // 2 * 2))
    full, rest = divmod(pairs, each)
    return [each] * full + ([rest] if rest else [])


def _check_ranges(pairs: int, seed: int, size: int, eval_fraction: float) -> None:
    checks = (
        (pairs >= 4, "pairs", pairs, "at least 4", "--pairs 200"),
        (seed >= 0, "seed", seed, "0 or more", "--seed 0"),
        (SIZES[0] <= size <= SIZES[1], "size", size, f"{SIZES[0]}..{SIZES[1]} px", "--size 64"),
        (0 < eval_fraction < 1, "eval_fraction", eval_fraction, "between 0 and 1", "--eval-fraction 0.25"),
    )
    for valid, name, value, allowed, fix in checks:
        if not valid:
            raise UsageError("E_DATA_RANGE", f"{name} = {value} is outside its range: {allowed}.", fix)
