"""Two folders of pictures, golden and test, and perhaps one of masks, into the documented layouts.

``golden/`` (or ``A/``), ``test/`` (or ``B/``) and ``masks/`` (or ``mask/``, ``label/``) are paired by path and name,
whatever the endings; a mask may be named ``<name>_mask``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.extras import require
from skillrun.data.folders import IMAGE_SUFFIXES, is_hidden
from skillrun.data.layout import (
    PASS,
    DatasetSummary,
    SegmentWriter,
    Task,
    keep_apart,
    known_task,
    new_dataset,
    write_manifest,
)
from skillrun.data.pairs import Names, Progress, SourcePair, read_mask, read_picture, write_pairs
from skillrun.data.probe import probe_images
from skillrun.data.sides import HELD_OUT, first_of, spread
from skillrun.errors import DataError, NotFoundError

GOLDEN, TEST, MASKS = ("golden", "A"), ("test", "B"), ("masks", "mask", "label")
PASS_NAMES = ("pass", "good", "ok", "normal")
DEFECT = "defect"
# Names kept of those left out, in the manifest.
NAMED = 50


@dataclass(frozen=True)
class Found:
    """Pictures by path below their folder without ending: complete pairs and, by reason, what was left out."""

    pairs: dict[str, tuple[Path, Path, Path | None]]
    left_out: dict[str, list[str]]
    masked: bool


def convert_folders(
    source: str | Path,
    destination: str | Path,
    *,
    task: str = "classify",
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Convert two folders of pictures.

    classify takes the label from the folder below ``test/`` (``good``, ``ok``, ``pass`` and ``normal`` are `PASS`),
    else from the masks. segment without masks writes the list ``predict`` only. What has no partner is left out; the
    manifest counts and names it.

    Args:
        source: the folder of the two or three folders.
        destination: new or empty folder.
        task: ``classify`` or ``segment``.
        seed: of the split; a quarter of each label is held out.
        force: replace a data set that lies at ``destination``.
        progress: called with (pairs done, pairs in all).

    Raises:
        UsageError: unknown task.
        NotFoundError: ``E_FOLDERS_NOT_FOUND``, no such folders.
        DataError: ``E_FOLDERS_PAIRS``, nothing pairs; ``E_FOLDERS_LABELS``, classify without any label;
            ``E_DATA_SIZE``, pictures of a pair differ in size; or a picture can not be read.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Converting folders", "numpy", "cv2")
    task_name, place, out = known_task(task), Path(source), Path(destination)
    keep_apart(place, out)
    found = find_pairs(place)
    _require_sizes(found)
    left = {why: {"count": len(names), "names": names[:NAMED]} for why, names in found.left_out.items() if names}
    origin = {"name": "folders", "pairs": len(found.pairs), "left_out": left}
    if task_name == "segment" and not found.masked:
        return _write_unlabelled(out, found, origin, force=force, progress=progress)
    pairs = _labelled(place, found, task_name, seed)
    return write_pairs(out, pairs, origin, task=task_name, seed=seed, force=force, progress=progress)


def find_pairs(source: Path) -> Found:
    """Pair the pictures of the folders.

    Raises:
        NotFoundError: ``E_FOLDERS_NOT_FOUND``.
        DataError: ``E_FOLDERS_PAIRS``, no golden has a test picture (and a mask); or two files share a name.
    """
    golden_dir, test_dir = _folder(source, GOLDEN), _folder(source, TEST)
    if golden_dir is None or test_dir is None:
        raise NotFoundError(
            "E_FOLDERS_NOT_FOUND",
            f"{source} lacks a folder: looked for {' or '.join(GOLDEN)}, and for {' or '.join(TEST)}.",
            f"Put the good pictures into {source / GOLDEN[0]} and the others into {source / TEST[0]}",
        )
    mask_dir = _folder(source, MASKS)
    golden, test = _by_key(golden_dir), _by_key(test_dir)
    masks = {} if mask_dir is None else {key.removesuffix("_mask"): p for key, p in _by_key(mask_dir).items()}
    partner = {key: _golden_key(key, golden) for key in test}
    used = {key for key in partner.values() if key is not None}
    pairs = {
        key: (golden[twin], path, masks.get(key))
        for key, path in test.items()
        if (twin := partner[key]) is not None and (mask_dir is None or key in masks)
    }
    left = {
        "no golden": [key for key in test if partner[key] is None],
        "no test picture": [key for key in golden if key not in used],
        "no mask": [key for key in test if mask_dir is not None and key not in masks],
        "mask of nothing": [key for key in masks if key not in test],
    }
    if not pairs:
        raise _nothing_pairs(source, test, golden, masks if mask_dir is not None else None)
    return Found(pairs, left, mask_dir is not None)


def _golden_key(key: str, golden: Mapping[str, Path]) -> str | None:
    """The golden of a test picture: of the same path, else of the same name directly in the golden folder."""
    return next((name for name in (key, Path(key).name) if name in golden), None)


def _nothing_pairs(
    source: Path, test: Mapping[str, Path], golden: Mapping[str, Path], masks: Mapping[str, Path] | None
) -> DataError:
    parts = {"golden": golden, "test": test} | ({} if masks is None else {"masks": masks})
    shown = "; ".join(f"{part}: {first_of(list(names), 3) or 'nothing'}" for part, names in parts.items())
    return DataError(
        "E_FOLDERS_PAIRS",
        f"No picture in {source} has a partner of its name in every folder ({shown}).",
        "Give golden, test and mask of a pair the same file name",
    )


def _folder(source: Path, names: Sequence[str]) -> Path | None:
    return next((source / name for name in names if (source / name).is_dir()), None)


def _by_key(folder: Path) -> dict[str, Path]:
    """Relative path without ending -> picture.

    Raises:
        DataError: ``E_FOLDERS_PAIRS`` where two pictures differ in their ending only.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in IMAGE_SUFFIXES or any(map(is_hidden, inside.parts)) or not path.is_file():
            continue
        twin = found.setdefault(inside.with_suffix("").as_posix(), path)
        if twin is not path:
            raise DataError("E_FOLDERS_PAIRS", f"{twin} and {path} have the same name.", f"Remove one, e.g. {path}")
    return found


def _require_sizes(found: Found) -> None:
    probes = probe_images(path for pair in found.pairs.values() for path in pair if path)
    for path, probe in probes.items():
        if probe.problem:
            raise DataError("E_DATA_IMAGE_UNREADABLE", f"The image {path} {probe.problem}.", f"Replace {path}")
    wrong = []
    for golden, test, mask in found.pairs.values():
        sizes = [(path, probes[path].size) for path in (golden, test, mask) if path]
        if len({size for _, size in sizes}) > 1:
            wrong.append(", ".join(f"{path} {size[0]} x {size[1]}" for path, size in sizes))
    if wrong:
        raise DataError(
            "E_DATA_SIZE",
            f"{len(wrong)} pair(s) differ in size, in pixels: {wrong[0]}.",
            "Cut the pictures of a pair to the same size, or take them out",
            details=wrong[1:20],
        )


def _labelled(source: Path, found: Found, task: Task, seed: int) -> list[SourcePair]:
    names = Names()
    labels: dict[str, str] = {}
    keys: dict[str, str] = {}
    for key, (_, _, mask) in found.pairs.items():
        name = names.take(*Path(key).parts)
        keys[name] = key
        labels[name] = _label(source, key, mask)
    sides = spread(labels, HELD_OUT, seed)
    return [SourcePair("folders", name, labels[name], sides[name], *found.pairs[key]) for name, key in keys.items()]


def _label(source: Path, key: str, mask: Path | None) -> str:
    parts = Path(key).parts
    if len(parts) > 1:
        return PASS if parts[0].lower() in PASS_NAMES else parts[0]
    if mask is not None:
        return DEFECT if read_mask(mask).any() else PASS
    raise DataError(
        "E_FOLDERS_LABELS",
        f"{source}: nothing tells whether {key} is a defect.",
        f"Put the test pictures into folders by label, e.g. {TEST[0]}/PASS and {TEST[0]}/scratch, or add {MASKS[0]}/",
    )


def _write_unlabelled(
    out: Path, found: Found, origin: dict[str, object], *, force: bool, progress: Progress | None
) -> DatasetSummary:
    """A segment set without masks: nothing but ``predict``."""
    with new_dataset(out, force=force) as folder:
        names, listed = Names(), []
        for done, (key, (golden, test, _)) in enumerate(found.pairs.items(), start=1):
            listed.append(names.take(*Path(key).parts))
            SegmentWriter(folder).add(listed[-1], golden=read_picture(golden), test=read_picture(test), mask=None)
            if progress:
                progress(done, len(found.pairs))
        counts = SegmentWriter(folder).close_lists({"predict": listed})
        summary = DatasetSummary(out, "segment", 0, counts, origin)
        write_manifest(folder, summary)
    return summary
