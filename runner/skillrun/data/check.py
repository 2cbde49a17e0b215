"""``data check``: find out what a path holds, and check all of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from skillrun.archives import extract
from skillrun.data.check_classify import check_classify
from skillrun.data.check_segment import SegmentFolders, check_segment
from skillrun.data.leaks import check_leaks, sides_of
from skillrun.data.probe import Progress
from skillrun.data.report import DatasetReport
from skillrun.data.segment_masks import MaskRule, mask_rule
from skillrun.errors import DataError, NotFoundError
from skillrun.findings import Finding

__all__ = [
    "DatasetReport",
    "Finding",
    "MaskRule",
    "SegmentFolders",
    "check_classify",
    "check_dataset",
    "check_segment",
    "mask_rule",
]

CSV_NAME = "dataset.csv"
IMAGES = "images"
ARCHIVES = ("images.tar.gz", "images.tgz", "images.tar", "images.tar.xz", "images.zip")
# Sections of the spec by the usual name of the folder; other folders count as training data.
SPLIT_FIELDS = {
    "val": "validation_dataset",
    "eval": "test_dataset",
    "test": "test_dataset",
    "infer": "infer_dataset",
}


def check_dataset(
    paths: str | Path | Sequence[str | Path],
    *,
    image_ext: str | None = None,
    masks: MaskRule | None = None,
    cache_root: str | Path | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Check whatever lies at one or more paths.

    A path is a CSV beside its images, a folder with ``dataset.csv`` and ``images/`` or an archive of them, a
    segment root (``A/ B/ label/ list/``), or a folder of such folders (``train/ eval/``).

    Args:
        paths: one path or several.
        image_ext: classify only; None takes what most files have.
        masks: segment only; what the values of the masks mean.
        cache_root: where archives are unpacked; None unpacks into a temporary folder.
        progress: called with (images done, images in all) of each data set.

    Splits and data sets are compared with each other: nothing that is held out should be trained on.

    Raises:
        NotFoundError: ``E_DATA_NOT_FOUND``, a path does not exist.
        DataError: ``E_DATA_LAYOUT``, a path holds no data set; or an archive is refused (``E_ARCHIVE_…``).
    """
    if cache_root is None:
        with tempfile.TemporaryDirectory(prefix="skillrun-check-") as folder:
            return check_dataset(paths, image_ext=image_ext, masks=masks, cache_root=folder, progress=progress)
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    reports = {str(path): _check_one(Path(path), image_ext, masks, cache_root, progress) for path in listed}
    whole = next(iter(reports.values())) if len(reports) == 1 else _joined(Path(), reports)
    check_leaks(whole, sides_of(whole.parts or {"": whole}))
    return whole


def _check_one(
    path: Path,
    image_ext: str | None,
    masks: MaskRule | None,
    cache_root: str | Path,
    progress: Progress | None,
) -> DatasetReport:
    if not path.exists():
        raise NotFoundError("E_DATA_NOT_FOUND", f"{path} does not exist.", "Name a data set folder or a CSV")
    csv_path = path if path.is_file() else path / CSV_NAME
    if csv_path.is_file():
        return _check_csv(csv_path, image_ext, cache_root, progress)
    if (path / "A").is_dir() and (path / "B").is_dir():
        return check_segment(path, masks=masks, progress=progress)
    children = [c for c in sorted(path.iterdir()) if c.is_dir() and (c / CSV_NAME).is_file()]
    if not children:
        raise DataError(
            "E_DATA_LAYOUT",
            f"{path} is no data set: it holds no {CSV_NAME}, no A/ and B/, and no folder with a {CSV_NAME}.",
            "skillrun data synth --out DIR",
        )
    found = {c.name: _check_csv(c / CSV_NAME, image_ext, cache_root, progress) for c in children}
    return _joined(path, found)


def _check_csv(
    csv_path: Path, image_ext: str | None, cache_root: str | Path, progress: Progress | None
) -> DatasetReport:
    images = csv_path.parent / IMAGES
    archive = next((a for name in ARCHIVES if (a := csv_path.parent / name).is_file()), None)
    if not images.is_dir() and archive is not None:
        images = extract(archive, cache_root)
    field = SPLIT_FIELDS.get(csv_path.parent.name, "train_dataset")
    return check_classify(csv_path, images, image_ext=image_ext, field=field, progress=progress)


def _joined(path: Path, parts: dict[str, DatasetReport]) -> DatasetReport:
    whole = DatasetReport(path, "folder", parts=parts)
    for part in parts.values():
        for name in ("rows", "images", "missing", "unreadable", "hidden", "duplicates", "unused"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
        whole.twins += part.twins
        whole.shifts += part.shifts
        for name in ("labels", "sizes", "extensions"):
            getattr(whole, name).update(getattr(part, name))
    whole.shifts.sort(key=lambda shift: -shift.pixels)
    return whole
