"""Are there enough samples of each class to learn from, and to measure with?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skillrun.data.layout import PASS
from skillrun.data.report import DatasetReport
from skillrun.data.rows import Row

# Of fewer samples nothing can be learned, nor a rate be told.
FEWEST = 10
# Fewer rows than this are a try-out: that they are few is plain.
TRY_OUT = 2 * FEWEST
SMALLEST_SHARE = 0.01
# From this share on classes are not out of balance, there are only few of all.
BALANCED_SHARE = 0.2
UNLABELLED_FIELD = "infer_dataset"
TRAINING_FIELD = "train_dataset"


def is_rare(count: int, total: int) -> bool:
    """Whether a class that is there has too few samples; `TRY_OUT` sets are not judged."""
    return total >= TRY_OUT and 0 < count < max(FEWEST, total * SMALLEST_SHARE)


def check_balance(report: DatasetReport, csv_file: Path, rows: Sequence[Row], field: str) -> None:
    """Warn of a class of which there are under `FEWEST` samples or `SMALLEST_SHARE` of all.

    Args:
        report: takes the finding ``W_DATA_BALANCE``.
        csv_file: for the message.
        rows: labels other than PASS are defects.
        field: section of the spec that names the data; decides what can be done.
    """
    if field == UNLABELLED_FIELD:
        return
    passed = sum(row.label == PASS for row in rows)
    for name, count in ((PASS, passed), ("defects", len(rows) - passed)):
        if not is_rare(count, len(rows)):
            continue
        if field != TRAINING_FIELD:
            end, fix = "a rate of so few is hardly known", f"Add rows of {name} to {csv_file}"
        elif count >= len(rows) * BALANCED_SHARE:
            end, fix = "so few can hardly be learned", f"Add rows of {name} to {csv_file}"
        elif name == PASS:
            end = "training may never call one a pass (or weigh the classes with the loss ce)"
            fix = "train.classify.cls_weight=[10.0,1.0]"
        else:
            end = "draw them more often, or weigh the classes with train.classify.cls_weight and the loss ce"
            fix = "dataset.classify.fpratio_sampling=1.0"
        share = f"{count} of {len(rows)} rows ({count / len(rows):.1%})"
        report.warn("W_DATA_BALANCE", f"{csv_file}: {name} are {share}; {end}.", file=csv_file, fix=fix)
