"""The data rules that stand between a plan and its launch: the same checks as ``skillrun data check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrun.overrides import get_dotted

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


def check_data(spec: Mapping[str, Any], action: str) -> None:
    """Look at every data set that the spec names and the action reads.

    Raises:
        DataError: the first finding that would stop or spoil the run, with file, line and fix.
    """
    _check_classify(get_dotted(spec, "dataset.classify") or {})
    _check_segment(get_dotted(spec, "dataset.segment") or {}, action.removeprefix("segment_").removeprefix("trt_"))


def _check_classify(classify: Mapping[str, Any]) -> None:
    from skillrun.data.check import check_classify

    seen: set[tuple[str, str]] = set()
    for field in CLASSIFY_SETS:
        chosen = classify.get(field) or {}
        pair = (chosen.get("csv_path") or "", chosen.get("images_dir") or "")
        if not all(pair) or pair in seen:
            continue
        seen.add(pair)
        check_classify(
            Path(pair[0]),
            Path(pair[1]),
            image_ext=classify.get("image_ext"),
            input_map=classify.get("input_map"),
            num_golden=int(classify.get("num_golden") or 1),
            field=field,
        ).raise_first()


def _check_segment(segment: Mapping[str, Any], action: str) -> None:
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
    check_segment(root, splits=splits, folders=folders, unlabelled=unlabelled, masks=rule).raise_first()
