"""Check a classify data set: the CSV, and every image that its rows name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from skillrun.data.balance import check_balance
from skillrun.data.folders import FolderIndex, count_hidden, is_hidden
from skillrun.data.probe import Probe, Progress, probe_images
from skillrun.data.report import DatasetReport
from skillrun.data.rows import Row, read_rows
from skillrun.data.samples import Sample
from skillrun.data.shifts import check_shifts
from skillrun.data.twins import check_twins

DEFAULT_IMAGE_EXT = ".jpg"


def check_classify(
    csv_path: str | Path,
    images_dir: str | Path,
    *,
    image_ext: str | None = None,
    input_map: Mapping[str, int] | None = None,
    num_golden: int = 1,
    field: str = "train_dataset",
    progress: Progress | None = None,
) -> DatasetReport:
    """Check one CSV and its images.

    Args:
        csv_path: columns input_path, golden_path, label, object_name; others are ignored.
        images_dir: images lie at ``<images_dir>/<input_path>/<object_name>[_<light>]<image_ext>``.
        image_ext: with its dot; None takes the extension that most files in ``images_dir`` have.
        input_map: its keys are the lights, each one an image of the sample; None or empty for plain images.
        num_golden: above 1, golden_path names a folder of goldens.
        field: which section of the spec names this data, for the fixes.
        progress: called with (images done, images in all).

    Returns:
        The report; nothing is raised for bad data.
    """
    csv_file, images = Path(csv_path), Path(images_dir)
    report = DatasetReport(csv_file, "classify")
    rows = read_rows(csv_file, report)
    report.rows = len(rows)
    check_balance(report, csv_file, rows, field)
    if not images.is_dir():
        report.error(
            "E_DATA_IMAGES_DIR_MISSING",
            f"The image folder {images} does not exist.",
            file=images,
            fix=f"dataset.classify.{field}.images_dir=FOLDER",
        )
        return report
    suffixes = [f"_{light}" for light in input_map or {}] or [""]
    checker = _Checker(report, csv_file, images, image_ext or most_common_ext(images), suffixes, num_golden)
    report.samples = [sample for row in rows for sample in checker.samples(row)]
    probes = probe_images((path for sample in report.samples for path in (sample.golden, sample.test)), progress)
    report.digests = {s.test: probes[s.test].digest for s in report.samples if not probes[s.test].problem}
    good = _check_files(report, probes)
    check_twins(report, report.samples, probes)
    check_shifts(report, good, "dataset.classify.align")
    _count_folder(report, images, len(probes))
    return report


def most_common_ext(images: Path) -> str:
    """The extension of most visible files below a folder; `DEFAULT_IMAGE_EXT` where there is none."""
    found = Counter(Path(name).suffix for _, _, names in os.walk(images) for name in names if not is_hidden(name))
    found.pop("", None)
    return max(found, key=lambda ext: (found[ext], ext)) if found else DEFAULT_IMAGE_EXT


class _Checker:
    """Turns rows into pairs of existing files; what is missing goes into the report."""

    def __init__(
        self,
        report: DatasetReport,
        csv_file: Path,
        images: Path,
        image_ext: str,
        suffixes: list[str],
        num_golden: int,
    ) -> None:
        self._report, self._csv, self._images = report, csv_file, images
        self._ext, self._suffixes, self._num_golden = image_ext, suffixes, num_golden
        self._root = os.path.normpath(images.absolute())
        self._index = FolderIndex()

    def samples(self, row: Row) -> Iterator[Sample]:
        """The pair of every light of a row, where both files exist."""
        for suffix in self._suffixes:
            name = f"{row.object_name}{suffix}{self._ext}"
            test = self._existing(row, "input_path", row.input_path, name)
            golden = (
                self._existing(row, "golden_path", row.golden_path, name)
                if self._num_golden == 1
                else self._any_golden(row, suffix)
            )
            if test and golden:
                yield Sample(self._csv, row.line, "", row.label, golden, test)

    def _existing(self, row: Row, column: str, folder: str, name: str) -> Path | None:
        path = self._inside(row, column, folder, name)
        if path is None or self._index.has(path):
            return path
        self._report.missing += 1
        place = f"{self._csv}, line {row.line}: {column} image {path} does not exist"
        others = self._index.same_stem(path)
        if others:
            self._report.error(
                "E_DATA_IMAGE_EXT",
                f"{place}; {others[0]} does.",
                file=self._csv,
                line=row.line,
                fix=f"dataset.classify.image_ext={Path(others[0]).suffix}",
            )
        else:
            self._report.error(
                "E_DATA_IMAGE_MISSING",
                f"{place}.",
                file=self._csv,
                line=row.line,
                fix=f"Put the image at {path} or remove line {row.line}",
            )
        return None

    def _any_golden(self, row: Row, suffix: str) -> Path | None:
        folder = self._inside(row, "golden_path", row.golden_path, "")
        if folder is None:
            return None
        names = [n for n in self._index.names(folder) if n.endswith(f"{suffix}{self._ext}")]
        if names:
            return folder / min(names)
        self._report.missing += 1
        self._report.error(
            "E_DATA_IMAGE_MISSING",
            f"{self._csv}, line {row.line}: the golden folder {folder} holds no *{suffix}{self._ext}.",
            file=self._csv,
            line=row.line,
            fix=f"Put golden images into {folder}",
        )
        return None

    def _inside(self, row: Row, column: str, folder: str, name: str) -> Path | None:
        # Lexical on purpose: a link that the user made inside the folder may lead elsewhere.
        root = self._root
        path = os.path.normpath(os.path.join(root, folder, name))  # noqa: PTH118
        if path == root or path.startswith(root.rstrip(os.sep) + os.sep):
            return Path(path)
        self._report.error(
            "E_DATA_PATH_ESCAPES",
            f"{self._csv}, line {row.line}: {column} {folder!r} with {name!r} leaves {root}.",
            file=self._csv,
            line=row.line,
            fix=f"Write {column} in line {row.line} relative to {root}",
        )
        return None


def _check_files(report: DatasetReport, probes: dict[Path, Probe]) -> list[Sample]:
    """Count the files and report those that can not be read; the pairs of two readable files of one size."""
    lines = {path: one.line for one in reversed(report.samples) for path in (one.test, one.golden)}
    for path, probe in probes.items():
        report.extensions[path.suffix] += 1
        if not probe.problem:
            report.sizes["{}x{}".format(*probe.size)] += 1
            continue
        report.unreadable += 1
        report.error(
            "E_DATA_IMAGE_UNREADABLE",
            f"{report.path}, line {lines[path]}: {path} {probe.problem}.",
            file=path,
            line=lines[path],
            fix=f"Replace {path} or remove the rows that name it",
        )
    readable = [s for s in report.samples if not probes[s.test].problem and not probes[s.golden].problem]
    for sample in readable:
        one, two = probes[sample.test].size, probes[sample.golden].size
        if one != two:
            report.warn(
                "W_DATA_SIZE_MISMATCH",
                f"{sample.place}: {sample.test} is {one} pixels, its golden {sample.golden} {two}.",
                file=sample.test,
                line=sample.line,
                fix="Cut test and golden to the same size",
            )
    return [s for s in readable if probes[s.test].size == probes[s.golden].size]


def _count_folder(report: DatasetReport, images: Path, used: int) -> None:
    report.images = used
    report.hidden, visible = count_hidden(images)
    report.unused = max(0, visible - used)
    if report.hidden:
        report.warn(
            "W_DATA_HIDDEN",
            f"{images} holds {report.hidden} hidden file(s), such as .DS_Store; they are not read.",
            file=images,
            fix=f"Remove the hidden files from {images}",
        )
