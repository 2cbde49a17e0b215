"""Throughput where a run measured it: nothing is derived."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from skillrun.card.family import EVALUATE, Member
from skillrun.inspection.threshold import measured_model
from skillrun.watch import read_events

_QUANTIZED = re.compile(r"latency_p50_ms_batch(\d+)_(before|after)")
_FORMATS = {".onnx": "ONNX", ".engine": "TensorRT engine"}


@dataclass(frozen=True)
class Speed:
    """One measurement.

    Attributes:
        model: what computed, in words. device: as the run recorded it.
        pairs_per_s: None where only times of steps were recorded. p50_ms, p95_ms: of one step of ``batch`` pairs.
        scope: what the time covers.
    """

    model: str
    device: str
    batch: int | None
    pairs_per_s: float | None
    p50_ms: float | None
    p95_ms: float | None
    scope: str
    run_id: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def speeds(runs: tuple[Member, ...]) -> list[Speed]:
    """All that these runs measured, oldest first."""
    return [speed for run in runs for speed in _of(run)]


def _of(run: Member) -> Iterator[Speed]:
    metrics = run.result.get("metrics") or {}
    if run.kind == "quantize":
        yield from _quantised(run, metrics)
    elif run.kind == EVALUATE and "latency_batch" in metrics:
        batch, speed = int(metrics["latency_batch"]), metrics.get("pairs_per_s")
        times = metrics.get("latency_p50_ms"), metrics.get("latency_p95_ms")
        yield Speed(_format(run), device_of(run), batch, speed, *times, "the model alone, arrays to arrays", run.name)
    elif run.kind == EVALUATE and (told := _last_speed(run)):
        scope = "the whole evaluation, with reading the images"
        yield Speed(_format(run), device_of(run), _batch(run), told, None, None, scope, run.name)


def _quantised(run: Member, metrics: dict[str, Any]) -> Iterator[Speed]:
    for name, value in metrics.items():
        if found := _QUANTIZED.fullmatch(name):
            p95 = metrics.get(name.replace("p50", "p95"))
            model = f"{found[2]} quantisation"
            yield Speed(model, device_of(run), int(found[1]), None, value, p95, "the model alone", run.name)


def _format(run: Member) -> str:
    file = measured_model(run.run)
    return next((name for ending, name in _FORMATS.items() if file.endswith(ending)), "checkpoint, PyTorch")


def _batch(run: Member) -> int | None:
    told = run.get("evaluate.batch_size") or run.get(f"dataset.{run.task}.batch_size")
    return told if isinstance(told, int) else None


def _last_speed(run: Member) -> float | None:
    events, _ = read_events(run.run.events)
    told = [event.get("pairs_per_s") for event in events if event.get("event") == "progress"]
    return next((float(value) for value in reversed(told) if isinstance(value, int | float) and value > 0), None)


def device_of(run: Member) -> str:
    """The device with what else the run recorded of it, e.g. ``cpu, 2 threads``."""
    told = run.result.get("environment") or {}
    parts = [str(told.get("device") or "device not recorded")]
    if told.get("device") == "cpu" and told.get("threads"):
        parts.append(f"{told['threads']} threads")
    parts += [str(told[name]) for name in ("runtime", "model_precision") if told.get(name)]
    return ", ".join(parts)
