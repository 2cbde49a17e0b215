"""LEVIR-CD and data sets laid out like it (large pairs A and B, masks in label) into tiles for segment.

Either ``<split>/{A,B,label}/*`` with the splits train, val and test, or ``{A,B,label}/*`` with ``list/<split>.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.extras import require
from skillrun.data.layout import LISTS, DatasetSummary, SegmentWriter, keep_apart, new_dataset, write_manifest
from skillrun.data.pairs import Names, Progress, picture_files, read_mask, read_picture
from skillrun.data.pictures import Picture
from skillrun.errors import DataError, NotFoundError, UsageError

SPLITS = ("train", "val", "test")
PARTS = ("A", "B", "label")
DEFAULT_TILE = 256
TILES = (32, 2048)


@dataclass(frozen=True)
class Large:
    """One pair before it is cut."""

    split: str
    golden: Path
    test: Path
    mask: Path


def convert_levir(
    source: str | Path,
    destination: str | Path,
    *,
    tile: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Cut LEVIR-CD into tiles; all tiles of a picture stay in its list, those without a change are kept.

    Args:
        source: the data set; a split that is not there gets no list.
        destination: new or empty folder.
        tile: side of a tile in pixels, 32..2048, 256 if not given. The last tile of a row or column that does
            not fit is moved back until it does.
        force: replace a data set that lies at ``destination``.
        progress: called with (pictures done, pictures in all).

    Raises:
        UsageError: ``E_DATA_TILE``, a side outside its range.
        NotFoundError: ``E_LEVIR_NOT_FOUND``, ``source`` is laid out otherwise.
        DataError: a picture is missing, can not be read, is smaller than a tile or not of its pair's size.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Converting LEVIR-CD", "numpy", "cv2")
    side, place, out = _known_tile(tile), Path(source), Path(destination)
    keep_apart(place, out)
    pairs = find_pairs(place)
    lists: dict[str, list[str]] = {split: [] for split in SPLITS if any(pair.split == split for pair in pairs)}
    names, changed = Names(), 0
    with new_dataset(out, force=force) as folder:
        writer = SegmentWriter(folder)
        for done, pair in enumerate(pairs, start=1):
            for name, golden, test, mask in _tiles(pair, side, names):
                writer.add(name, golden=golden, test=test, mask=mask)
                lists[pair.split].append(name)
                changed += bool(mask.any())
            if progress:
                progress(done, len(pairs))
        last = next(lists[split] for split in reversed(SPLITS) if split in lists)
        counts = writer.close_lists({**lists, "predict": last})
        origin = {"name": "LEVIR-CD", "pictures": len(pairs), "tile_px": side, "tiles_with_change": changed}
        summary = DatasetSummary(out, "segment", 0, counts, origin)
        write_manifest(folder, summary)
    return summary


def find_pairs(source: Path) -> list[Large]:
    """All pairs, by split and name.

    Raises:
        NotFoundError: ``E_LEVIR_NOT_FOUND`` if there is none.
        DataError: ``E_DATA_IMAGE_MISSING``, a picture without its pair or its mask.
    """
    pairs = []
    for split in SPLITS:
        if all((source / split / part).is_dir() for part in PARTS):
            pairs += [_pair(source / split, split, path.name) for path in picture_files(source / split / "A")]
        elif (source / LISTS / f"{split}.txt").is_file():
            lines = (source / LISTS / f"{split}.txt").read_text(encoding="utf-8-sig").splitlines()
            pairs += [_pair(source, split, line.strip()) for line in lines if line.strip()]
    if not pairs:
        raise NotFoundError(
            "E_LEVIR_NOT_FOUND",
            f"{source} is not laid out as LEVIR-CD: looked for {{train,val,test}}/{{A,B,label}}/ with pictures, and "
            f"for A/, B/, label/ with list/train.txt, val.txt or test.txt.",
            "Name the folder of LEVIR-CD; for other folders of pairs: skillrun data convert folders SRC DST",
        )
    return pairs


def _pair(root: Path, split: str, name: str) -> Large:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError("E_DATA_PATH_ESCAPES", f"{name!r} in list {split} leaves {root}.", "Write a file name there")
    found = [_twin(root / part, name) for part in PARTS]
    return Large(split, *found)


def _twin(folder: Path, name: str) -> Path:
    """The file of that name, or the one that differs in its ending only."""
    exact = folder / name
    others = [exact.with_suffix(ending) for ending in (".png", ".jpg", ".jpeg", ".tif", ".bmp")]
    found = next((path for path in (exact, *others) if path.is_file()), None)
    if found is None:
        raise DataError("E_DATA_IMAGE_MISSING", f"The image {exact} does not exist.", f"Put the file at {exact}")
    return found


def _tiles(pair: Large, side: int, names: Names) -> Iterator[tuple[str, Picture, Picture, Picture]]:
    """(name, golden, test, mask) of every tile, row by row; the name ends in its top and left."""
    golden, test, mask = read_picture(pair.golden), read_picture(pair.test), read_mask(pair.mask)
    height, width = mask.shape
    if not golden.shape[:2] == test.shape[:2] == mask.shape or min(mask.shape) < side:
        raise DataError(
            "E_DATA_SIZE",
            f"{pair.golden} is {golden.shape[:2]}, {pair.test} {test.shape[:2]} and {pair.mask} {mask.shape} (height, "
            f"width): all must be equal and at least {side} px.",
            f"Replace {pair.golden.name}, or choose smaller tiles: --tile {TILES[0]}",
        )
    stem = pair.golden.stem if pair.golden.stem.startswith(pair.split) else f"{pair.split}_{pair.golden.stem}"
    for top in _starts(height, side):
        for left in _starts(width, side):
            cut = slice(top, top + side), slice(left, left + side)
            yield names.take(stem, f"{top:04d}", f"{left:04d}"), golden[cut], test[cut], mask[cut]


def _starts(length: int, side: int) -> list[int]:
    return sorted({min(start, length - side) for start in range(0, length, side)})


def _known_tile(tile: int | None) -> int:
    side = DEFAULT_TILE if tile is None else tile
    if not TILES[0] <= side <= TILES[1]:
        raise UsageError("E_DATA_TILE", f"A tile of {side} px is outside {TILES[0]}..{TILES[1]}.", "--tile 256")
    return side
