"""The course of a training: its metrics by epoch, the learning rate, the best epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skillrun.report.subject import Told

_SCORES = ("ap", "iou_1", "miou", "acc")


def numbers(training: Told) -> dict[str, Any] | None:
    """Curves by epoch (1-based), or None where no epoch ended."""
    epochs = list(_epochs(training.folder.events))
    if not epochs:
        return None
    best = _best(training)
    return {
        "run_id": training.run_id,
        "epochs": [int(event["epoch"]) for event in epochs],
        "loss": _curves(epochs, ("train_loss", "val_loss")),
        "score": _score(epochs),
        "lr": [_number(event.get("lr")) for event in epochs],
        "best_epoch": best["epoch"] + 1 if best and isinstance(best.get("epoch"), int) else None,
        "checkpoint": {key: best.get(key) for key in ("path", "sha256")} if best else None,
        "seconds": training.result.get("seconds"),
        "device": (training.result.get("environment") or {}).get("device"),
    }


def _epochs(path: Path) -> Iterator[dict[str, Any]]:
    """The last word on each epoch, in order: a resumed training tells some twice."""
    found: dict[int, dict[str, Any]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if '"epoch"' not in line or '"metrics"' not in line:
                    continue
                try:
                    event = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    continue
                if event.get("event") == "epoch" and isinstance(event.get("epoch"), int):
                    found[event["epoch"]] = event
    yield from (found[epoch] for epoch in sorted(found))


def _curves(epochs: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, list[float | None]]:
    told = {name: [_number((event.get("metrics") or {}).get(name)) for event in epochs] for name in names}
    return {name: values for name, values in told.items() if any(value is not None for value in values)}


def _score(epochs: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """The first score that the training told of its validation, beside the same of its training pairs."""
    for name in _SCORES:
        found = _curves(epochs, (f"train_{name}", f"val_{name}"))
        if found:
            return found
    return {}


def _best(training: Told) -> dict[str, Any] | None:
    listed = training.result.get("checkpoints") or []
    return next((entry for entry in listed if entry.get("best")), listed[-1] if listed else None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
