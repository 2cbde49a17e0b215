"""Check a segment data set: folders, lists, the pictures of each name, and the values of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from skillrun.data.folders import FolderIndex
from skillrun.data.partners import check_partners
from skillrun.data.probe import Probe, Progress, probe_images
from skillrun.data.report import DatasetReport
from skillrun.data.samples import Sample
from skillrun.data.segment_lists import Entry, read_lists
from skillrun.data.segment_masks import MaskRule, check_masks
from skillrun.data.shifts import check_shifts
from skillrun.data.twins import check_twins

# Splits whose names need no mask.
UNLABELLED = ("predict",)


@dataclass(frozen=True)
class SegmentFolders:
    """Names below the root, as in ``dataset.segment``."""

    golden: str = "A"
    test: str = "B"
    label: str = "label"
    lists: str = "list"
    label_suffix: str = ".png"

    def label_names(self, name: str) -> tuple[str, str]:
        """Names that the mask of ``name`` may have: as published, where only ``.jpg`` is replaced, or any ending."""
        path = PurePosixPath(name)
        return name.replace(".jpg", self.label_suffix), str(path.parent / f"{path.stem}{self.label_suffix}")


def check_segment(
    root: str | Path,
    *,
    splits: Sequence[str] | None = None,
    folders: SegmentFolders | None = None,
    unlabelled: Sequence[str] = UNLABELLED,
    masks: MaskRule | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Check ``<root>/{A,B,label,list}``.

    Args:
        root: the data set.
        splits: lists without their ending (``.txt`` or ``.csv``); None takes all.
        folders: other names of the folders.
        unlabelled: those of the splits whose names need no mask.
        masks: what the values of the masks mean; None for two classes, 0 and 255 or 0 and 1.
        progress: called with (images done, images in all).

    Returns:
        The report; nothing is raised for bad data.
    """
    place, names = Path(root), folders or SegmentFolders()
    report = DatasetReport(place, "segment")
    entries = read_lists(report, place / names.lists, place / names.golden, splits)
    report.rows = len(entries)
    _check_overlap(report, entries)
    files = _find_files(report, place, names, entries, unlabelled)
    probes = probe_images(chain.from_iterable(files.values()), progress)
    report.samples = [Sample(e.source, e.line, e.split, "", f[0], f[1], *f[2:]) for e, f in files.items()]
    report.digests = {s.test: probes[s.test].digest for s in report.samples if not probes[s.test].problem}
    good = _check_files(report, files, probes)
    labels = sorted({f[2] for f in files.values() if len(f) == 3 and not probes[f[2]].problem})
    check_masks(report, labels, probes, masks or MaskRule())
    for split in dict.fromkeys(sample.split for sample in report.samples):
        check_twins(report, [sample for sample in report.samples if sample.split == split], probes)
    check_shifts(report, list({s.test: s for s in good}.values()), "dataset.segment.align")
    check_partners(report, [place / names.golden, place / names.test, place / names.label])
    report.images = len(probes)
    return report


def _check_overlap(report: DatasetReport, entries: list[Entry]) -> None:
    trained = {entry.name: entry for entry in entries if entry.split == "train"}
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        place = f"{entry.place}: {entry.name}"
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
    report: DatasetReport, root: Path, names: SegmentFolders, entries: list[Entry], unlabelled: Sequence[str]
) -> dict[Entry, tuple[Path, ...]]:
    """Golden, test and (where the split has one) mask of every entry whose files exist."""
    index, found = FolderIndex(), {}
    for entry in entries:
        wanted = [root / names.golden / entry.name, root / names.test / entry.name]
        if entry.split not in unlabelled:
            masks = [root / names.label / name for name in names.label_names(entry.name)]
            wanted.append(next(filter(index.has, masks), masks[-1]))
        if ".." in Path(entry.name).parts or Path(entry.name).is_absolute():
            report.error(
                "E_DATA_PATH_ESCAPES",
                f"{entry.place}: {entry.name!r} leaves {root}.",
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


def _report_missing(report: DatasetReport, entry: Entry, path: Path, others: list[str]) -> None:
    report.missing += 1
    hint = f"; {others[0]} does" if others else ""
    report.error(
        "E_DATA_IMAGE_EXT" if others else "E_DATA_IMAGE_MISSING",
        f"{entry.place}: {path} does not exist{hint}.",
        file=entry.source,
        line=entry.line,
        fix=f"Write {others[0]} in line {entry.line}, or rename the file" if others else f"Put the image at {path}",
    )


def _check_files(
    report: DatasetReport, files: dict[Entry, tuple[Path, ...]], probes: dict[Path, Probe]
) -> list[Sample]:
    """Count the files and report those that can not be read; the pairs of readable files of one size."""
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
                f"{entry.place}: {entry.name} has sizes {sorted(sizes)}.",
                file=paths[0],
                line=entry.line,
                fix="Cut golden, test and mask to the same size",
            )
    readable = (s for s in report.samples if not probes[s.golden].problem and not probes[s.test].problem)
    return [sample for sample in readable if probes[sample.golden].size == probes[sample.test].size]
