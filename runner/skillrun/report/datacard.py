"""What was measured on and what was trained on: places, counts by label, sizes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrun.inspection import Outcomes
from skillrun.overrides import get_dotted
from skillrun.report.subject import Told

LABELS = 40


def classify_card(evaluation: Told, outcomes: Outcomes, training: Told | None) -> dict[str, Any]:
    """Counts by label of the evaluated pairs, and of the training pairs where their list is still there."""
    data = get_dotted(evaluation.spec, "dataset.classify") or {}
    place = data.get("test_dataset") or {}
    trained = get_dotted(training.spec, "dataset.classify.train_dataset.csv_path") if training else None
    labels = Counter(pair.label for pair in outcomes.pairs)
    return {
        "list": place.get("csv_path"),
        "images": place.get("images_dir"),
        "pairs": len(outcomes.pairs),
        "labels": dict(labels.most_common(LABELS)),
        "boards": len({pair.cells.get("input_path") for pair in outcomes.pairs}),
        "lights": list(data.get("input_map") or []),
        "input": f"{data.get('image_width')} × {data.get('image_height')} px" if data.get("image_width") else None,
        "trained_list": trained,
        "trained_labels": _labels(Path(str(trained))) if trained else {},
    }


def segment_card(evaluation: Told, pairs: int, changed: int) -> dict[str, Any]:
    """Counts of changed and unchanged pairs and where they lie."""
    data: Mapping[str, Any] = get_dotted(evaluation.spec, "dataset.segment") or {}
    side = data.get("img_size")
    return {
        "list": f"{data.get('list_folder_name')}/{data.get('test_split')}",
        "images": data.get("root_dir"),
        "pairs": pairs,
        "labels": {"change": changed, "no change": pairs - changed},
        "boards": None,
        "lights": [],
        "input": f"{side} × {side} px" if side else None,
        "trained_list": None,
        "trained_labels": {},
    }


def _labels(path: Path) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            found = Counter(row.get("label") or "" for row in csv.DictReader(stream))
    except (OSError, csv.Error):
        return {}
    return dict(found.most_common(LABELS))
