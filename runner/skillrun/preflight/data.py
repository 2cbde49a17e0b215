"""The data rules that stand between a plan and its launch: the same checks as ``skillrun data check``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.errors import DataError
from skillrun.overrides import get_dotted

if TYPE_CHECKING:
    from skillrun.data.probe import Progress
    from skillrun.data.report import DatasetReport

CLASSIFY_SETS = ("train_dataset", "validation_dataset", "test_dataset", "infer_dataset")
# The lists that an action reads.
SEGMENT_SPLITS = {
    "train": ("train_split", "validation_split"),
    "evaluate": ("test_split",),
    "inference": ("predict_split",),
}
# Fields of `SegmentFolders` and their keys below ``dataset.segment``.
FOLDER_KEYS = {
    "golden": "image_folder_name",
    "test": "change_image_folder_name",
    "label": "annotation_folder_name",
    "lists": "list_folder_name",
    "label_suffix": "label_suffix",
}


def check_data(spec: Mapping[str, Any], action: str, waived: Collection[str] = ()) -> None:
    """Look at every data set that the spec names and the action reads.

    Raises:
        DataError: the first finding that would stop or spoil the run, with file, line and fix; not one in ``waived``.
    """
    for report in data_reports(spec, action):
        raise_first(report, waived)


def raise_first(report: DatasetReport, waived: Collection[str] = ()) -> None:
    """Raises DataError for the first error of a report that is not waived, if there is one."""
    first = next((one for one in report.findings if one.severity == "error" and one.code not in waived), None)
    if first is None:
        return
    more = sum(count for code, count in report.totals.items() if code.startswith("E_") and code not in waived) - 1
    told = f" ({more} more: skillrun data check)" if more else ""
    raise DataError(first.code, first.message + told, first.fix)


def data_reports(spec: Mapping[str, Any], action: str, progress: Progress | None = None) -> Iterator[DatasetReport]:
    """The report of each data set that the spec names and the action reads.

    Args:
        progress: called with (images done, images in all) of each data set.
    """
    yield from _classify_reports(get_dotted(spec, "dataset.classify") or {}, progress)
    segment = get_dotted(spec, "dataset.segment") or {}
    yield from _segment_reports(segment, action.removeprefix("segment_").removeprefix("trt_"), progress)


def leak_report(reports: Sequence[DatasetReport]) -> DatasetReport:
    """What is in the data to train on and in the data to measure on: compares pictures, so it takes its time."""
    from skillrun.data.leaks import TRAIN, check_leaks, sides_of
    from skillrun.data.report import DatasetReport

    whole = DatasetReport(Path(), "folder")
    if len(reports) == 1:  # a segment data set, which has splits
        check_leaks(whole, sides_of({"": reports[0]}))
    elif reports:
        check_leaks(whole, sides_of({TRAIN: reports[0], **{one.path.parent.name: one for one in reports[1:]}}))
    return whole


def _classify_reports(classify: Mapping[str, Any], progress: Progress | None) -> Iterator[DatasetReport]:
    from skillrun.data.check import check_classify

    seen: set[tuple[str, str]] = set()
    for field in CLASSIFY_SETS:
        chosen = classify.get(field) or {}
        pair = (chosen.get("csv_path") or "", chosen.get("images_dir") or "")
        if not all(pair) or pair in seen:
            continue
        seen.add(pair)
        yield check_classify(
            Path(pair[0]),
            Path(pair[1]),
            image_ext=classify.get("image_ext"),
            input_map=classify.get("input_map"),
            num_golden=int(classify.get("num_golden") or 1),
            field=field,
            progress=progress,
        )


def _segment_reports(segment: Mapping[str, Any], action: str, progress: Progress | None) -> Iterator[DatasetReport]:
    splits = [str(segment[key]) for key in SEGMENT_SPLITS.get(action, ()) if segment.get(key)]
    if not segment.get("root_dir") or not splits:
        return
    from skillrun.data.check import SegmentFolders, check_segment, mask_rule
    from skillrun.data.segment_lists import find_list

    root = Path(segment["root_dir"])
    given = {field: segment[key] for field, key in FOLDER_KEYS.items() if segment.get(key)}
    folders = SegmentFolders(**given)
    if action == "inference" and segment.get("test_split") and find_list(root / folders.lists, splits[0]) is None:
        splits = [str(segment["test_split"])]
    rule = mask_rule(
        int(segment.get("num_classes") or 2),
        segment.get("label_transform"),
        str(segment.get("data_name") or ""),
        segment.get("color_map"),
    )
    unlabelled = splits if action == "inference" else ()
    yield check_segment(root, splits=splits, folders=folders, unlabelled=unlabelled, masks=rule, progress=progress)
