"""Two evaluations side by side: what changed, by how much, and which pairs are decided otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from typing import Any

from skillrun.errors import DataError, NotFoundError, UsageError
from skillrun.inspection import Rate
from skillrun.report.gallery import Gallery, filled
from skillrun.report.page import render_template
from skillrun.report.reproduce import sha256_of
from skillrun.report.scored import Scored, read_scored
from skillrun.report.subject import Told, find_subject
from skillrun.report.write import Written, write_pair
from skillrun.runfolder import RunFolder

SCHEMA_VERSION = 1
LISTED = 500
_Z = 1.959963984540054


@dataclass(frozen=True)
class Both:
    """One pair as both runs saw it."""

    before: Scored
    after: Scored

    @property
    def mended(self) -> bool:
        return not self.before.right and self.after.right

    @property
    def broken(self) -> bool:
        return self.before.right and not self.after.right


def compare(first: RunFolder, second: RunFolder) -> Written:
    """``compare-<first>.html`` and ``.json`` in the folder of the second run.

    Raises:
        NotFoundError: one of them measured nothing; UsageError: their tasks differ; DataError: no pair in common.
    """
    runs = [_evaluation(folder) for folder in (first, second)]
    if runs[0].task != runs[1].task:
        raise UsageError(
            "E_COMPARE_TASK",
            f"{runs[0].run_id} is of task {runs[0].task}, {runs[1].run_id} of {runs[1].task}",
            f"skillrun report {runs[1].run_id}",
        )
    scored = [{one.key: one for one in read_scored(run)} for run in runs]
    common = [Both(scored[0][key], scored[1][key]) for key in scored[0] if key in scored[1]]
    if not common:
        raise DataError(
            "E_COMPARE_DATA",
            f"{runs[0].run_id} and {runs[1].run_id} have no pair in common",
            f"skillrun visual_changenet evaluate --parent {runs[0].run_id} --eval-data FOLDER, then compare that run",
        )
    numbers = _numbers(runs, [len(one) for one in scored], common)
    page = render_template("compare.html.j2", numbers, gallery=_gallery(runs[1], common))
    name = f"compare-{runs[0].run_id}"
    return write_pair(second.path / f"{name}.html", second.path / f"{name}.json", page, numbers)


def _evaluation(folder: RunFolder) -> Told:
    found = find_subject(folder).evaluation
    if found is None:
        raise NotFoundError(
            "E_EVALUATION_MISSING",
            f"{folder.run_id} measured nothing that could be compared",
            f"skillrun visual_changenet evaluate --parent {folder.run_id}, then name that run",
        )
    return found


def _numbers(runs: Sequence[Told], totals: Sequence[int], common: Sequence[Both]) -> dict[str, Any]:
    mended = [one for one in common if one.mended]
    broken = [one for one in common if one.broken]
    return {
        "schema_version": SCHEMA_VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": runs[1].task,
        "runs": [_side(run, total) for run, total in zip(runs, totals, strict=True)],
        "common": len(common),
        "same_data": same_data(runs, totals, common),
        "relabelled": sum(one.before.label != one.after.label for one in common),
        "metrics": _metrics(common),
        "mended": [_flip(one) for one in mended[:LISTED]],
        "broken": [_flip(one) for one in broken[:LISTED]],
        "flips": {"mended": len(mended), "broken": len(broken)},
    }


def _side(run: Told, total: int) -> dict[str, Any]:
    checkpoint = run.parent.get("sha256")
    return {"run_id": run.run_id, "pairs": total, "margin": run.metrics.get("margin"), "checkpoint": checkpoint}


def same_data(runs: Sequence[Told], totals: Sequence[int], common: Sequence[Both]) -> bool:
    """Whether both saw the same list: by its bytes where both lists are still there, else by pairs and labels."""
    digests = [sha256_of(path) if (path := run.data_list) else None for run in runs]
    if all(digests):
        return digests[0] == digests[1]
    return list(totals) == [len(common)] * 2 and all(one.before.label == one.after.label for one in common)


def _metrics(common: Sequence[Both]) -> list[dict[str, Any]]:
    """Rates of each run over the common pairs, with the difference and its 95 % interval."""
    defects = [one for one in common if one.before.defect and one.after.defect]
    good = [one for one in common if not one.before.defect and not one.after.defect]
    wrong = [
        ("escape", "Escape rate", _rates(defects)),
        ("overkill", "Overkill rate", _rates(good)),
        ("error", "Wrong decisions", _rates(list(common))),
    ]
    found = [{"name": name, "title": title, "lower_is_better": True, **told} for name, title, told in wrong if told]
    ious = [
        (one.before.iou, one.after.iou) for one in defects if one.before.iou is not None and one.after.iou is not None
    ]
    return found + ([_mean_iou(ious)] if ious else [])


def _rates(pairs: Sequence[Both]) -> dict[str, Any] | None:
    if not pairs:
        return None
    sides = (sum(not one.before.right for one in pairs), sum(not one.after.right for one in pairs))
    mended, broken = sum(one.mended for one in pairs), sum(one.broken for one in pairs)
    low, high = paired_interval(mended, broken, len(pairs))
    rates = [Rate(count, len(pairs)).to_json() for count in sides]
    return {
        "before": rates[0],
        "after": rates[1],
        "difference": (broken - mended) / len(pairs),
        "low": low,
        "high": high,
    }


def paired_interval(mended: int, broken: int, total: int) -> tuple[float, float]:
    """95 % interval of the difference of two error rates over the same pairs.

    Wald's interval for matched pairs with half a pair added to each of the four cells (Agresti and Min, Statistics in
    Medicine 24, 2005), which holds its level for few and for no differences.
    """
    more, less, count = broken + 0.5, mended + 0.5, total + 2
    middle = (more - less) / count
    reach = _Z * sqrt((more + less) - (more - less) ** 2 / count) / count
    return max(-1.0, middle - reach), min(1.0, middle + reach)


def _mean_iou(ious: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean IoU over changed pairs; the interval is that of a mean of paired differences (normal)."""
    gaps = [after - before for before, after in ious]
    mean = sum(gaps) / len(gaps)
    spread = sqrt(sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1)) if len(gaps) > 1 else 0.0
    reach = _Z * spread / sqrt(len(gaps))
    sides = {side: {"value": sum(pair[at] for pair in ious) / len(ious)} for at, side in enumerate(("before", "after"))}
    told = {"name": "iou", "title": "Mean IoU of changed pairs", "lower_is_better": False, **sides}
    return {**told, "difference": mean, "low": mean - reach, "high": mean + reach}


def _flip(one: Both) -> dict[str, Any]:
    key = "/".join(part for part in one.after.key if part)
    return {"pair": key, "label": one.after.label, "before": one.before.score, "after": one.after.score}


def _gallery(run: Told, common: Sequence[Both]) -> Gallery:
    """What broke, then what was mended, both by how far the score moved."""
    flipped = [one for one in common if one.broken or one.mended]
    flipped.sort(key=lambda one: (one.mended, -abs(one.after.score - one.before.score)))
    cases = ((one.after.case(other=one.before.score), one.after.files) for one in flipped)
    return filled(cases, len(flipped))
