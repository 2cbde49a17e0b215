"""A copy of a data set whose test pictures lie on their goldens, with a report of how far they were off."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from skillrun.data.check import CSV_NAME, IMAGES
from skillrun.data.extras import require
from skillrun.data.layout import LISTS, MANIFEST, keep_apart, new_dataset
from skillrun.data.pairs import Progress
from skillrun.data.pictures import Picture
from skillrun.data.registration import Move, can_turn, find_move, likeness, moved
from skillrun.data.report import DatasetReport
from skillrun.data.segment_lists import read_lists
from skillrun.data.tables import images_of_rows, read_table
from skillrun.data.trees import copy_file, find_sets, visible_files
from skillrun.errors import DataError

REPORT = "align.csv"
# A picture that lies closer is left as it is: moving it would only blur it.
CLOSE_PIXELS, CLOSE_ANGLE = 0.5, 0.1
# A larger shift, as a share of the shorter side, is taken for a wrong answer: small crops of straight lines slide.
MOST_SHARE = 0.1
# Correlation that a move must gain: resampling blurs, and a move along a line gains nothing.
LEAST_GAIN = 0.005
JPEG_QUALITY = 95
MOVED, CLOSE, LEFT = "moved", "close", "left"


@dataclass(frozen=True)
class Pair:
    """Files of one sample, relative to the source: each light's golden and test, and the masks in test geometry."""

    lights: tuple[tuple[Path, Path], ...]
    masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Aligned:
    """What became of one test picture.

    Attributes:
        test: its path below the data set.
        state: ``moved``, ``close`` (left as it was, since it lies well) or ``left`` (``why`` says what hindered).
        dx, dy, angle: how it lay against its golden: pixels right and down, degrees; 0 where unknown.
        before, after: correlation with the golden, -1 to 1.
    """

    test: str
    state: str
    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    before: float = 0.0
    after: float = 0.0
    why: str = ""

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return Move(self.dx, self.dy).pixels


def align_dataset(
    source: str | Path, destination: str | Path, *, force: bool = False, progress: Progress | None = None
) -> list[Aligned]:
    """Copy a data set and register each test picture to its golden; a mask moves with its test picture.

    Pictures keep names and formats (JPEG is written anew at quality 95); what can not be registered is copied as it
    is. The lights of a sample move together. ``align.csv`` in the destination holds what is returned.

    Args:
        source: a folder with ``dataset.csv``, a folder of such, or a segment root.
        destination: new or empty folder.
        force: replace a data set that lies at ``destination``.
        progress: called with (pairs done, pairs in all).

    Raises:
        NotFoundError: ``source`` does not exist.
        DataError: the data set has an error that ``data check`` names.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
        BackendError: numpy is not installed.
    """
    require("Aligning", "numpy")
    place, out = Path(source), Path(destination)
    keep_apart(place, out)
    task, folders = find_sets(place)
    pairs = list(_classify_pairs(place, folders) if task == "classify" else _segment_pairs(place))
    with new_dataset(out, force=force) as folder:
        for inside in visible_files(place):
            copy_file(place / inside, folder / inside)
        found: list[Aligned] = []
        for done, pair in enumerate(pairs, start=1):
            found += _align(place, folder, pair)
            if progress:
                progress(done, len(pairs))
        _write_report(folder / REPORT, found)
        _write_manifest(place, folder, task, summary_of(found))
    return found


def summary_of(found: list[Aligned]) -> dict[str, Any]:
    """Counts of each state; median, 95th percentile and largest of the shifts in pixels, over those that are known."""
    known = sorted((one for one in found if one.state != LEFT), key=lambda one: one.pixels)
    states = {state: sum(one.state == state for one in found) for state in (MOVED, CLOSE, LEFT)}
    shifts: dict[str, Any] = {"median": None, "p95": None, "worst": None, "worst_picture": None}
    if known:
        at = {"median": (len(known) - 1) // 2, "p95": -(-len(known) * 95 // 100) - 1, "worst": -1}
        shifts = {name: round(known[place].pixels, 2) for name, place in at.items()}
        shifts["worst_picture"] = known[-1].test
    return {**states, "turns_measured": can_turn(), "shift_px": shifts}


def _classify_pairs(source: Path, folders: list[Path]) -> Iterator[Pair]:
    seen: set[Path] = set()
    for folder in folders:
        rows = read_table(folder / CSV_NAME).rows
        files = images_of_rows(folder / IMAGES, rows)
        below = folder.relative_to(source) / IMAGES
        for row in rows:
            tests, goldens = files.test(row), files.golden(row)
            named = {path.name: path for path in goldens}
            lights = [(below / named.get(test.name, goldens[0]), below / test) for test in tests]
            # A test picture of several rows moves once, to the golden of the first.
            fresh = tuple(pair for pair in lights if pair[1] not in seen and pair[0] != pair[1])
            seen.update(test for _, test in fresh)
            if fresh:
                yield Pair(fresh)


def _segment_pairs(source: Path) -> Iterator[Pair]:
    report = DatasetReport(source, "segment")
    entries = read_lists(report, source / LISTS, source / "A", None)
    report.raise_first()
    labels = source / "label"
    masks = {path.stem: path for path in sorted(labels.iterdir())} if labels.is_dir() else {}
    for name in dict.fromkeys(entry.name for entry in entries):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError("E_DATA_PATH_ESCAPES", f"{name!r} leaves {source}.", "Correct the list")
        mask = masks.get(PurePosixPath(name).stem)
        yield Pair(((Path("A", name), Path("B", name)),), () if mask is None else (mask.relative_to(source),))


def _align(source: Path, folder: Path, pair: Pair) -> list[Aligned]:
    results = [_measure(source, golden, test) for golden, test in pair.lights]
    best = max(results, key=lambda one: (one.state != LEFT, one.after))
    if best.state == LEFT:
        return results
    move = Move(best.dx, best.dy, best.angle)
    for inside in (*(test for _, test in pair.lights), *pair.masks) if best.state == MOVED else ():
        _rewrite(source / inside, folder / inside, move, nearest=inside in pair.masks)
    return [replace(one, state=best.state, dx=best.dx, dy=best.dy, angle=best.angle, why="") for one in results]


def _measure(source: Path, golden: Path, test: Path) -> Aligned:
    one, two = _grey(source / golden), _grey(source / test)
    name = test.as_posix()
    if one.shape != two.shape:
        return Aligned(
            name, LEFT, why=f"golden is {one.shape[1]} x {one.shape[0]}, test {two.shape[1]} x {two.shape[0]}"
        )
    before = likeness(one, two)
    move = find_move(one, two)
    if move is None:
        return Aligned(name, LEFT, before=before, after=before, why="no clear peak")
    if move.pixels > MOST_SHARE * min(one.shape):
        return Aligned(name, LEFT, before=before, after=before, why=f"{move.pixels:.0f} px apart")
    if move.pixels < CLOSE_PIXELS and abs(move.angle) < CLOSE_ANGLE:
        return Aligned(name, CLOSE, move.dx, move.dy, move.angle, before, before)
    after = likeness(one, moved(two, move))
    if after - before < LEAST_GAIN:
        return Aligned(name, LEFT, before=before, after=before, why="no move makes it more alike")
    return Aligned(name, MOVED, move.dx, move.dy, move.angle, before, after)


def _grey(path: Path) -> Any:
    """(height, width) float32."""
    import numpy as np

    with _opened(path) as image:
        return np.asarray(image.convert("L"), dtype=np.float32)


def _opened(path: Path) -> Any:
    from PIL import Image

    if not path.is_file():
        raise DataError("E_DATA_IMAGE_MISSING", f"The image {path} does not exist.", f"Put the file at {path}")
    try:
        image = Image.open(io.BytesIO(path.read_bytes()))
        image.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
        raise DataError("E_DATA_IMAGE_UNREADABLE", f"The image {path} can not be read.", f"Replace {path}") from cause
    return image


def _rewrite(source: Path, target: Path, move: Move, *, nearest: bool) -> None:
    """Write the moved picture in the format of the source."""
    import numpy as np
    from PIL import Image

    with _opened(source) as image:
        kind, palette = image.format, image.getpalette() if nearest and image.mode == "P" else None
        plain = image if nearest or image.mode != "P" else image.convert("RGB")
        pixels: Picture = np.asarray(plain)
    result = Image.fromarray(moved(pixels, move, nearest=nearest))
    if palette is not None:
        result.putpalette(palette)
    quality = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    result.save(target, format=kind, **quality)


def _write_report(path: Path, found: list[Aligned]) -> None:
    columns = ("test", "state", "dx", "dy", "angle", "before", "after", "why")
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for one in found:
            writer.writerow({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in asdict(one).items()})


def _write_manifest(source: Path, folder: Path, task: str, summary: dict[str, Any]) -> None:
    """The manifest of the source, if it has one, and what was aligned."""
    base: dict[str, Any] = {"schema_version": 1, "task": task, "source": {"name": source.name}}
    if (folder / MANIFEST).is_file():
        base = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    text = json.dumps(base | {"aligned": summary}, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
