"""The margin chosen on an evaluation, kept in that run's folder for everything that follows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skillrun.errors import DataError
from skillrun.inspection.margins import best_gap, margin_in, margin_interval
from skillrun.inspection.outcomes import Outcomes
from skillrun.inspection.rates import Rate
from skillrun.inspection.rules import Rule
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder, read_json, write_atomic
from skillrun.specfile import read_spec

FILE = "threshold.json"
_MODELS = ("evaluate.checkpoint", "evaluate.trt_engine")


@dataclass(frozen=True)
class Threshold:
    """A chosen margin: a score above it is a defect.

    Attributes:
        run_id: of the evaluation. rule: as asked, e.g. ``max-escape 0.1%``.
        margin: in the unit of the scores. interval: 95 % of resamples choose between these.
        escape, overkill: at the margin, on the evaluation's pairs.
        checkpoint: the model file that was measured. sha256: its digest then, empty where nobody knows it any more.
        at: ISO 8601, UTC.
    """

    run_id: str
    rule: str
    margin: float
    interval: tuple[float, float]
    escape: Rate
    overkill: Rate
    pairs: int
    checkpoint: str
    sha256: str
    at: str

    def to_json(self) -> dict[str, Any]:
        """The content of ``threshold.json``."""
        return {
            "schema_version": 1,
            "run_id": self.run_id,
            "rule": self.rule,
            "margin": self.margin,
            "interval": list(self.interval),
            "escape": self.escape.to_json(),
            "overkill": self.overkill.to_json(),
            "pairs": self.pairs,
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "at": self.at,
        }


def read_threshold(run: RunFolder) -> Threshold | None:
    """The margin chosen on a run; None where none was.

    Raises:
        DataError: ``E_THRESHOLD_FILE``: the file can not be read; a chosen margin is never dropped in silence.
    """
    path = run.path / FILE
    if not path.exists():
        return None
    try:
        return _threshold(read_json(path) or {})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "E_THRESHOLD_FILE",
            f"{path} is no threshold as skillrun threshold writes it: {type(error).__name__} {error}",
            f"skillrun threshold {run.run_id} --max-escape 0.1%",
        ) from error


def _threshold(told: Mapping[str, Any]) -> Threshold:
    low, high = (float(end) for end in told["interval"])
    escape, overkill = (Rate(int(told[name]["count"]), int(told[name]["total"])) for name in ("escape", "overkill"))
    run_id, rule, checkpoint, sha256, at = (
        str(told[name]) for name in ("run_id", "rule", "checkpoint", "sha256", "at")
    )
    margin, pairs = float(told["margin"]), int(told["pairs"])
    return Threshold(run_id, rule, margin, (low, high), escape, overkill, pairs, checkpoint, sha256, at)


def write_threshold(run: RunFolder, chosen: Threshold) -> Path:
    """Keep it in the run's folder, whole or not at all; one that is there is replaced."""
    path = run.path / FILE
    write_atomic(path, json.dumps(chosen.to_json(), indent=2, ensure_ascii=False) + "\n")
    return path


def calibrate(run: RunFolder, outcomes: Outcomes, rule: Rule) -> Threshold:
    """The margin that a rule prefers on an evaluation's pairs. Nothing is written.

    Raises:
        DataError: ``E_THRESHOLD_CLASS_MISSING``, or ``E_THRESHOLD_UNREACHABLE`` where no margin keeps the rule.
    """
    defects = [pair.score for pair in outcomes.pairs if pair.defect]
    good = [pair.score for pair in outcomes.pairs if not pair.defect]
    _require_both(run, len(defects), len(good))
    gap = best_gap(defects, good, rule)
    if gap is None:
        raise _unreachable(run, outcomes, defects, good, rule)
    margin = margin_in(*gap)
    file = measured_model(run)
    return Threshold(
        run_id=run.run_id,
        rule=rule.text,
        margin=margin,
        interval=margin_interval(defects, good, rule) or (margin, margin),
        escape=outcomes.escapes(margin),
        overkill=outcomes.overkill(margin),
        pairs=len(outcomes.pairs),
        checkpoint=file,
        sha256=_digest_then(run, file),
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _require_both(run: RunFolder, defects: int, good: int) -> None:
    for name, count, there in (("a defect", defects, good), ("labelled PASS", good, defects)):
        if not count:
            raise DataError(
                "E_THRESHOLD_CLASS_MISSING",
                f"{run.run_id} scored {there} pairs, and none is {name}: a margin needs rows of both classes",
                f"skillrun visual_changenet evaluate --parent {run.run_id} --eval-data FOLDER",
            )


def _unreachable(run: RunFolder, outcomes: Outcomes, defects: list[float], good: list[float], rule: Rule) -> DataError:
    nearest = best_gap(defects, good, Rule("cost", "", escape=1 + len(good), overkill=1))
    if rule.kind == "max-overkill":
        nearest = best_gap(defects, good, Rule("cost", "", escape=1, overkill=1 + len(defects)))
    if nearest is None:
        return DataError(
            "E_THRESHOLD_UNREACHABLE",
            f"all {len(outcomes.pairs)} scores of {run.run_id} are equal: no margin tells defects from good pairs",
            "skillrun data check FOLDER",
        )
    escape, overkill = outcomes.escapes(margin_in(*nearest)), outcomes.overkill(margin_in(*nearest))
    reached = escape if rule.kind == "max-escape" else overkill
    told = f"{100 * reached.count / reached.total + 5e-5:.4f}%"  # rounded up: what is offered is kept
    return DataError(
        "E_THRESHOLD_UNREACHABLE",
        f"no margin keeps {rule.text} on {run.run_id}: the nearest has {escape.count} of {escape.total} escapes with "
        f"{overkill.count} of {overkill.total} false calls",
        f"skillrun threshold {run.run_id} --{rule.kind} {told}",
    )


def measured_model(run: RunFolder) -> str:
    """The model file that an evaluation read, as its spec on this host names it; empty where it names none."""
    spec = read_spec(run.spec).values if run.spec.is_file() else {}
    named = (get_dotted(spec, key) for key in _MODELS)
    return next((value for value in named if isinstance(value, str) and value), "")


def _digest_then(run: RunFolder, file: str) -> str:
    """The digest of the model when it was measured: as recorded, else of the file if it is no younger than that."""
    parent = (read_json(run.record) or {}).get("parent")
    if isinstance(parent, Mapping) and parent.get("checkpoint") == file and parent.get("sha256"):
        return str(parent["sha256"])
    path = Path(file)
    try:
        started = datetime.fromisoformat(str((read_json(run.result) or {}).get("started"))).timestamp()
        return digest(path) if file and path.stat().st_mtime <= started else ""
    except (OSError, ValueError):
        return ""


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
