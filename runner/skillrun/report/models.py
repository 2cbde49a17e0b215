"""What an export, a quantization or an engine says about the model it made: parity, losses, size, latency."""

from __future__ import annotations

from typing import Any

from skillrun.report.subject import Told
from skillrun.runfolder import read_json


def parity(run: Told) -> dict[str, Any] | None:
    """``parity.json`` of an export, with its worst batch size first."""
    path = run.artifact("parity.json")
    told = read_json(path) if path else None
    if not told or not told.get("batches"):
        return None
    keys = ("passed", "tolerance", "pairs", "source", "provider", "model", "sha256", "batches")
    return {key: told.get(key) for key in keys}


def quantized(run: Told) -> dict[str, Any] | None:
    """``quantize.json`` of a quantization: qualities before and after, latencies by batch size, bytes."""
    path = run.artifact("quantize.json")
    told = read_json(path) if path else None
    if not told:
        return None
    quality = told.get("quality") or {}
    before, after = quality.get("before") or {}, quality.get("after") or {}
    return {
        "passed": told.get("passed"),
        "model": told.get("model"),
        "sha256": told.get("sha256"),
        "library": told.get("library"),
        "formats": told.get("formats") or {},
        "bytes": told.get("bytes"),
        "provider": told.get("provider"),
        "pairs": quality.get("pairs"),
        "agreement": quality.get("agreement"),
        "max_drop": told.get("max_drop"),
        "quality": [{"name": name, "before": value, "after": after.get(name)} for name, value in before.items()],
        "latency": [{"before": pair[0], "after": pair[1]} for pair in told.get("latencies") or []],
    }


def engine(run: Told) -> dict[str, Any] | None:
    """Size and build time of an engine."""
    names = ("engine_mib", "build_s")
    return {name: run.metrics[name] for name in names} if all(name in run.metrics for name in names) else None
