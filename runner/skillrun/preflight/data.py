"""The data rules that stand between a plan and its launch: the same checks as ``skillrun data check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrun.overrides import get_dotted

CLASSIFY_SETS = ("train_dataset", "validation_dataset", "test_dataset", "infer_dataset")
SEGMENT_SPLITS = ("train_split", "validation_split", "test_split", "predict_split")


def check_data(spec: Mapping[str, Any]) -> None:
    """Look at every data set that the spec names.

    Raises:
        DataError: the first finding that would stop or spoil the run, with file, line and fix.
    """
    from skillrun.data.check import check_classify, check_segment

    classify = get_dotted(spec, "dataset.classify") or {}
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
    segment = get_dotted(spec, "dataset.segment") or {}
    if segment.get("root_dir"):
        splits = [segment[name] for name in SEGMENT_SPLITS if segment.get(name)]
        check_segment(Path(segment["root_dir"]), splits=splits).raise_first()
