"""The record of a quantization, its table, and the gate."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from visual_changenet.atomic import write_text_atomic
from visual_changenet.errors import RejectedError
from visual_changenet.events import finite
from visual_changenet.latency import Latency
from visual_changenet.quantize.measure import Quality

FILE = "quantize.json"
GATED = ("accuracy", "average_precision", "miou", "iou_change", "escape_rate")
WORSE_UP = ("escape_rate", "overkill_rate")
ROUNDING = 1e-9


@dataclass(frozen=True)
class Report:
    """What was made and how it compares.

    Attributes:
        model: file name of the quantized model. library: what quantized, with its version.
        formats: how many layers got which number format. in_float: layers that could be quantized and were not.
        calibration: where the calibration pairs are from; None without any. calibration_pairs: how many.
        evaluation: where the labelled pairs are from; None where nothing was measured.
        max_drop: the gate; None is open. bytes: of the weights in float, or of the ONNX file, and of
            the new file.
        latencies: (before, after) per batch size.
    """

    model: str
    backend: str
    library: str
    mode: str
    algorithm: str
    formats: dict[str, int]
    in_float: list[str]
    calibration: str | None
    calibration_pairs: int
    evaluation: str | None
    max_drop: float | None
    bytes: tuple[int, int]
    provider: str
    quality: Quality | None = None
    latencies: list[tuple[Latency, Latency]] = field(default_factory=list)

    def losses(self) -> dict[str, float]:
        """By how much each number became worse; negative where it became better."""
        if self.quality is None:
            return {}
        before, after = self.quality.before, self.quality.after
        return {name: after[name] - before[name] if name in WORSE_UP else before[name] - after[name] for name in before}

    @property
    def failed(self) -> list[str]:
        """The gated numbers that became worse by more than ``max_drop``, or are no numbers."""
        if self.max_drop is None:
            return []
        limit = self.max_drop + ROUNDING
        return [name for name, loss in self.losses().items() if name in GATED and not loss <= limit]

    def metrics(self) -> dict[str, float]:
        """Flat numbers for the result of an action."""
        found = {"size_bytes_before": float(self.bytes[0]), "size_bytes_after": float(self.bytes[1])}
        if self.quality is not None:
            found |= {f"{name}_before": value for name, value in self.quality.before.items()}
            found |= {f"{name}_after": value for name, value in self.quality.after.items()}
            found |= {"agreement": self.quality.agreement, "score_max_abs": self.quality.score_max_abs}
            found["num_samples"] = float(self.quality.pairs)
        for pair in self.latencies:
            for side, latency in zip(("before", "after"), pair, strict=True):
                found[f"latency_p50_ms_batch{latency.batch}_{side}"] = latency.p50_ms
                found[f"latency_p95_ms_batch{latency.batch}_{side}"] = latency.p95_ms
        return found

    def write(self, path: Path, sha256: str) -> None:
        """As JSON, with the digest of the model's file; what is no number becomes null."""
        content: dict[str, Any] = {"schema_version": 1, "passed": not self.failed, "sha256": sha256} | asdict(self)
        content["losses"], content["failed"] = self.losses(), self.failed
        write_text_atomic(path, json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def table(self) -> list[str]:
        """Lines for the terminal."""
        rows = [("", "before", "after", "change")]
        if self.quality is not None:
            for name, before in self.quality.before.items():
                after = self.quality.after[name]
                rows.append((name.replace("_", " "), f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"))
        for old, new in self.latencies:
            for name in ("p50", "p95"):
                before, after = (getattr(side, f"{name}_ms") for side in (old, new))
                rows.append(
                    (f"latency {name}, batch {old.batch}", f"{before:.1f} ms", f"{after:.1f} ms", _ratio(before, after))
                )
        before, after = (size / 1e6 for size in self.bytes)
        rows.append(("size", f"{before:.1f} MB", f"{after:.1f} MB", _ratio(before, after)))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            for row in rows
        ]

    def check(self, rejected: Path) -> None:
        """Raise where the model became worse by more than is allowed.

        Raises:
            RejectedError: ``E_QUANTIZE_DROP`` with the numbers.
        """
        if not self.failed or self.quality is None:
            return
        told = ", ".join(
            f"{name.replace('_', ' ')} {self.quality.before[name]:.4f} -> {self.quality.after[name]:.4f}"
            for name in self.failed
        )
        raise RejectedError(
            "E_QUANTIZE_DROP",
            f"{self.model} decides worse than the model it was made from: over {self.quality.pairs} pairs "
            f"({self.evaluation}) {told}; allowed is a loss of {self.max_drop:g}.",
            f"do not use {rejected}; calibrate on pairs of the line, keep layers in float with quantize.skip_names, "
            "or raise quantize.max_drop",
        )


def _ratio(before: float, after: float) -> str:
    return f"x {after / before:.2f}" if before and math.isfinite(after) else ""
