"""Check a segment data set: folders, lists, the pictures of each name, and the values of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from skillrun.data.folders import FolderIndex, count_hidden
from skillrun.data.probe import Probe, Progress, probe_images
from skillrun.data.report import DatasetReport

IGNORED = 255
# Splits whose names need no mask.
UNLABELLED = ("predict",)


@dataclass(frozen=True)
class SegmentFolders:
    """Names below the root, as in ``dataset.segment``; the label of ``x.jpg`` is ``x`` + ``label_suffix``."""

    golden: str = "A"
    test: str = "B"
    label: str = "label"
    lists: str = "list"
    label_suffix: str = ".png"

    def label_name(self, name: str) -> str:
        """The file name of the mask of ``name``; only ``.jpg`` is replaced."""
        return name.replace(".jpg", self.label_suffix)


@dataclass(frozen=True)
class _Entry:
    split: str
    source: Path
    line: int
    name: str


def check_segment(
    root: str | Path,
    *,
    splits: Sequence[str] | None = None,
    folders: SegmentFolders | None = None,
    num_classes: int = 2,
    label_transform: str | None = "norm",
    progress: Progress | None = None,
) -> DatasetReport:
    """Check ``<root>/{A,B,label,list}``.

    Args:
        root: the data set.
        splits: lists without their ending (``.txt``, or ``.csv`` whose first column counts); None takes all.
        folders: other names of the folders.
        num_classes: masks must hold values below it, or 255 (ignored), after the transform.
        label_transform: ``norm`` divides mask values by 255 (255 becomes class 1); anything else leaves them.
        progress: called with (images done, images in all).

    Returns:
        The report; nothing is raised for bad data.
    """
    place, names = Path(root), folders or SegmentFolders()
    report = DatasetReport(place, "segment")
    entries = _read_lists(report, place / names.lists, splits)
    report.rows = len(entries)
    _check_overlap(report, entries)
    files = _find_files(report, place, names, entries)
    probes = probe_images(chain.from_iterable(files.values()), progress)
    _check_files(report, files, probes)
    masks = sorted({f[2] for f in files.values() if len(f) == 3 and not probes[f[2]].problem})
    _check_masks(report, masks, probes, num_classes, label_transform == "norm")
    report.images = len(probes)
    report.hidden = sum(count_hidden(place / part)[0] for part in (names.golden, names.test, names.label))
    return report


def _read_lists(report: DatasetReport, folder: Path, splits: Sequence[str] | None) -> list[_Entry]:
    if not folder.is_dir():
        report.error(
            "E_DATA_FOLDER_MISSING",
            f"The folder {folder} does not exist.",
            file=folder,
            fix=f"Make {folder} with train.txt, val.txt and test.txt",
        )
        return []
    wanted = (
        splits if splits is not None else sorted({p.stem for p in folder.iterdir() if p.suffix in (".txt", ".csv")})
    )
    found: dict[str, list[_Entry]] = {split: _read_list(report, folder, split) for split in wanted}
    report.splits = {split: len(entries) for split, entries in found.items()}
    if not wanted:
        report.error("E_DATA_LIST_MISSING", f"{folder} holds no list.", file=folder, fix="Add train.txt")
    return [entry for entries in found.values() for entry in entries]


def _read_list(report: DatasetReport, folder: Path, split: str) -> list[_Entry]:
    path = next((p for ext in (".txt", ".csv") if (p := folder / f"{split}{ext}").is_file()), None)
    if path is None:
        report.error(
            "E_DATA_LIST_MISSING",
            f"{folder} holds neither {split}.txt nor {split}.csv.",
            file=folder,
            fix=f"Write one file name a line into {folder / f'{split}.txt'}",
        )
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        report.error("E_DATA_CSV_ENCODING", f"{path} is not UTF-8 text.", file=path, fix=f"Save {path} as UTF-8")
        return []
    entries = []
    for number, line in enumerate(lines, start=1):
        words = line.split(",") if path.suffix == ".csv" else line.split()
        if words and words[0].strip():
            entries.append(_Entry(split, path, number, words[0].strip()))
    if not entries:
        report.error("E_DATA_EMPTY", f"{path} lists no image.", file=path, fix=f"Add file names to {path}")
    return entries


def _check_overlap(report: DatasetReport, entries: list[_Entry]) -> None:
    trained = {entry.name: entry for entry in entries if entry.split == "train"}
    seen: dict[tuple[str, str], _Entry] = {}
    for entry in entries:
        place = f"{entry.source}, line {entry.line}: {entry.name}"
        if seen.setdefault((entry.split, entry.name), entry) is not entry:
            report.duplicates += 1
            report.warn(
                "W_DATA_DUPLICATE",
                f"{place} is listed twice.",
                file=entry.source,
                line=entry.line,
                fix=f"Remove line {entry.line}",
            )
        elif entry.split in ("val", "test") and entry.name in trained:
            report.warn(
                "W_DATA_SPLIT_OVERLAP",
                f"{place} is also in train.",
                file=entry.source,
                line=entry.line,
                fix="Keep each name on one side, or the measured quality is too good",
            )


def _find_files(
    report: DatasetReport, root: Path, names: SegmentFolders, entries: list[_Entry]
) -> dict[_Entry, tuple[Path, ...]]:
    """Golden, test and (where the split has one) mask of every entry whose files exist."""
    index, found = FolderIndex(), {}
    for entry in entries:
        wanted = [root / names.golden / entry.name, root / names.test / entry.name]
        if entry.split not in UNLABELLED:
            wanted.append(root / names.label / names.label_name(entry.name))
        if ".." in Path(entry.name).parts or Path(entry.name).is_absolute():
            report.error(
                "E_DATA_PATH_ESCAPES",
                f"{entry.source}, line {entry.line}: {entry.name!r} leaves {root}.",
                file=entry.source,
                line=entry.line,
                fix=f"Write a file name in line {entry.line}",
            )
            continue
        missing = [path for path in wanted if not index.has(path)]
        for path in missing:
            _report_missing(report, entry, path, index.same_stem(path))
        if not missing:
            found[entry] = tuple(wanted)
    return found


def _report_missing(report: DatasetReport, entry: _Entry, path: Path, others: list[str]) -> None:
    report.missing += 1
    hint = f"; {others[0]} does" if others else ""
    report.error(
        "E_DATA_IMAGE_EXT" if others else "E_DATA_IMAGE_MISSING",
        f"{entry.source}, line {entry.line}: {path} does not exist{hint}.",
        file=entry.source,
        line=entry.line,
        fix=f"Write {others[0]} in line {entry.line}, or rename the file" if others else f"Put the image at {path}",
    )


def _check_files(report: DatasetReport, files: dict[_Entry, tuple[Path, ...]], probes: dict[Path, Probe]) -> None:
    for path, probe in probes.items():
        report.extensions[path.suffix] += 1
        if probe.problem:
            report.unreadable += 1
            report.error("E_DATA_IMAGE_UNREADABLE", f"{path} {probe.problem}.", file=path, fix=f"Replace {path}")
        else:
            report.sizes["{}x{}".format(*probe.size)] += 1
    for entry, paths in files.items():
        sizes = {probes[path].size for path in paths if not probes[path].problem}
        if len(sizes) > 1:
            report.error(
                "E_DATA_SIZE_MISMATCH",
                f"{entry.source}, line {entry.line}: {entry.name} has sizes {sorted(sizes)}.",
                file=paths[0],
                line=entry.line,
                fix="Cut golden, test and mask to the same size",
            )


def _check_masks(
    report: DatasetReport, masks: list[Path], probes: dict[Path, Probe], num_classes: int, norm: bool
) -> None:
    changed = False
    for path in masks:
        if probes[path].mode not in ("L", "P", "1", "I;16", "I"):
            report.error(
                "E_DATA_MASK_CHANNELS",
                f"The mask {path} has mode {probes[path].mode}; it needs a single channel.",
                file=path,
                fix=f"Save {path} as 8-bit grey",
            )
            continue
        values = _mask_values(path)
        report.labels.update(str(value) for value in values)
        classes = {v // 255 if norm else v for v in values}
        changed = changed or bool(classes - {0, IGNORED})
        _check_values(report, path, values, classes, num_classes, norm=norm)
    if masks and not changed and not report.counts["E_DATA_MASK_VALUES"]:
        report.warn(
            "W_DATA_ONE_CLASS",
            f"No mask of {report.path} marks a change.",
            file=report.path,
            fix="Add pairs with a change",
        )


def _check_values(
    report: DatasetReport, path: Path, values: list[int], classes: set[int], num_classes: int, *, norm: bool
) -> None:
    listed = ", ".join(str(value) for value in values[:8])
    if norm and values[-1] not in (0, 255):
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds {listed}; label_transform=norm makes all below 255 'no change'.",
            file=path,
            fix="dataset.segment.label_transform=None" if values[-1] < num_classes else f"Save {path} with 0 and 255",
        )
    elif any(num_classes <= value != IGNORED for value in classes):
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds {listed}, but there are {num_classes} classes.",
            file=path,
            fix=f"dataset.segment.num_classes={max(classes - {IGNORED}) + 1}",
        )
    elif not norm and num_classes == 2 and values in ([0, 255], [255]):
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds {listed}, and 255 would be ignored.",
            file=path,
            fix="dataset.segment.label_transform=norm",
        )


def _mask_values(path: Path) -> list[int]:
    """The different values of a mask, rising."""
    from PIL import Image

    with Image.open(path) as image:
        colours = (image.convert("L") if image.mode == "1" else image).getcolors(maxcolors=65536) or []
    return sorted(value for _, value in colours if isinstance(value, int))
