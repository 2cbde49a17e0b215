"""``result.json`` of a run in the published container, made from what the container left.

Success needs all of: exit code 0, the files that the action must leave, newer than the start, and a status file that
does not say otherwise. The published launcher exits with 0 after Ctrl-C; such a run is cancelled.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from skillrun.tao.checkpoints import Checkpoint, checkpoints_in
from skillrun.tao.failures import explain
from skillrun.tao.status import StatusSummary, summarise

STATUS_FILE = "status.json"
CANCEL_CODES = frozenset({130, 143})
DEFAULT_MONITOR = "val_loss"
# Clocks of network file systems differ from ours, and some count whole seconds.
CLOCK_SLACK_S = 2.0
# Commands in a fix that are about the run itself; they get its name.
_NEEDS_RUN = re.compile(r"skillrun runs (?:resume|logs)")
# What the published container leaves, as glob below the action's folder → kind in result.json.
KINDS: Mapping[str, str] = {
    "experiment.yaml": "spec",
    STATUS_FILE: "status",
    "inference.csv": "table",
    "evaluate.csv": "table",
    "combined_visualisation": "pictures",
    "*.jpg": "mask",
    "*.onnx": "onnx",
    "quantized_model*.pth": "model",
    "nvds*config*.yaml": "deepstream",
    "labels.txt": "deepstream",
    "lightning_logs": "tensorboard",
}


def result_from(
    results_dir: Path,
    run_dir: Path,
    *,
    action: str,
    task: str,
    exit_code: int,
    started: str,
    finished: str,
    seconds: float,
    last_log_lines: Sequence[str],
    stopped: bool,
    outputs: Sequence[Path] = (),
) -> dict[str, Any]:
    """The content of ``result.json``.

    Args:
        results_dir: the results folder of the spec on the host, or the action's own folder in or outside it (then
            ``<action>.results_dir`` of the spec); may be missing.
        run_dir: where ``result.json`` goes; paths in it are relative to this folder.
        action: subcommand, e.g. ``train`` (``segment_train`` is read as ``train``).
        started, finished: ISO 8601 with zone; a start that is no time, or in year 1 as engines write for a container
            that never started, leaves no file that proves anything. seconds: between them.
        last_log_lines: of the container, oldest first; they word an error and decide nothing.
        stopped: the user stopped the run.
        outputs: files on the host that the spec names as outputs, e.g. ``export.onnx_file``.
    """
    action = action.removeprefix("segment_")
    if (results_dir / action).is_dir():
        results_dir = results_dir / action
    since = _since(started)
    status = summarise(results_dir / STATUS_FILE)
    if not _is_new(results_dir / STATUS_FILE, since):
        status = StatusSummary(status.epochs)  # of an earlier run in this folder
    found = checkpoints_in(results_dir) if action == "train" else []
    artifacts = [*_artifacts(results_dir), *((path, "onnx") for path in outputs if path.is_file())]
    proof = [entry.path for entry in found] if action == "train" else _proof(action, task, artifacts, status)
    left = any(_is_new(path, since) for path in proof)
    state = _state(exit_code, stopped, status, left)
    lines = [*last_log_lines, *([status.message] if status.outcome == "failed" else [])]
    error = None if state == "succeeded" else _error(state, action, task, exit_code, status, left, lines)
    return {
        "schema_version": 1,
        "status": state,
        "action": action,
        "task": task,
        "started": started,
        "finished": finished,
        "seconds": round(seconds, 3),
        "checkpoints": _entries(found, status, run_dir, _monitor(results_dir)),
        "metrics": _metrics(action, status),
        "artifacts": [{"path": path, "kind": kind} for path, kind in _unique(artifacts, run_dir)],
        "environment": {"container": "tao", "device": "gpu"},
        "error": error and {**error, "fix": _NEEDS_RUN.sub(rf"\g<0> {run_dir.name}", error["fix"])},
    }


def _since(started: str) -> float:
    """The moment (seconds since 1970) from which on files are of this run."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return math.inf
    return math.inf if moment.year == 1 else moment.timestamp() - CLOCK_SLACK_S


def _state(exit_code: int, stopped: bool, status: StatusSummary, left: bool) -> str:
    if stopped or status.outcome == "interrupted" or exit_code in CANCEL_CODES:
        return "cancelled"
    if exit_code != 0 or status.outcome == "failed" or not left:
        return "failed"
    # Every run that reaches its end says so; exit code 0 without it is what Ctrl-C leaves.
    return "succeeded" if status.outcome == "finished" else "cancelled"


def _error(
    state: str, action: str, task: str, exit_code: int, status: StatusSummary, left: bool, lines: Sequence[str]
) -> dict[str, Any]:
    if state == "cancelled":
        again = "skillrun runs resume" if action == "train" else "start it again"
        return _as_error("E_CANCELLED", f"{action} was interrupted.", again, retryable=False)
    if exit_code == 0 and status.outcome != "failed" and not left:
        return _as_error(
            "E_TAO_NO_OUTPUT",
            f"NVIDIA's container ended with exit code 0, but {action} left no new {_needed(action, task)}.",
            "skillrun runs logs",
        )
    told = explain(lines, task)
    if told is not None and (told["code"] != "E_TAO_FAILED" or status.outcome != "failed"):
        return told
    if status.outcome == "failed":
        return _as_error("E_TAO_FAILED", status.message, "skillrun runs logs")
    return _as_error("E_TAO_FAILED", f"NVIDIA's container ended with exit code {exit_code}.", "skillrun runs logs")


def _as_error(code: str, message: str, fix: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"code": code, "message": message, "fix": fix, "retryable": retryable}


def _needed(action: str, task: str) -> str:
    names = {"train": "checkpoint", "evaluate": "test metrics in status.json", "export": ".onnx file"}
    return names.get(action, "picture" if task == "segment" and action == "inference" else "result file")


def _proof(action: str, task: str, artifacts: Sequence[tuple[Path, str]], status: StatusSummary) -> list[Path]:
    """The files that show that an action other than training did its work."""
    if action == "evaluate":
        return [path for path, kind in artifacts if kind == "status"] if status.tested else []
    kinds = {"export": {"onnx"}, "quantize": {"model", "onnx"}, "inference": {"table"}}.get(action, set())
    if task == "segment" and action == "inference":
        kinds = {"mask", "pictures"}
    return [path for path, kind in artifacts if kind in kinds and (path.is_dir() or path.stat().st_size > 0)]


def _is_new(path: Path, since: float) -> bool:
    """Whether a file, or a file in a folder, was written since a moment (seconds since 1970)."""
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False


def _artifacts(results_dir: Path) -> Iterator[tuple[Path, str]]:
    """Files and folders with their kinds; links that lead out of the folder are left out."""
    root = results_dir.resolve()
    for pattern, kind in KINDS.items():
        for path in sorted(results_dir.glob(pattern)):
            if path.exists() and path.resolve().is_relative_to(root):
                yield path, kind


def _unique(artifacts: Sequence[tuple[Path, str]], run_dir: Path) -> Iterator[tuple[str, str]]:
    known: set[str] = set()
    for path, kind in artifacts:
        name = _relative(path, run_dir)
        if path.exists() and name not in known:
            known.add(name)
            yield name, kind


def _relative(path: Path, run_dir: Path) -> str:
    return Path(os.path.relpath(path.resolve(), run_dir.resolve())).as_posix()


def _entries(found: Sequence[Checkpoint], status: StatusSummary, run_dir: Path, monitor: str) -> list[dict[str, Any]]:
    metrics = [status.epochs.get(entry.epoch, {}) if entry.epoch is not None else {} for entry in found]
    best = _best(metrics, monitor)
    return [
        {
            "path": _relative(entry.path, run_dir),
            "epoch": entry.epoch,
            "step": entry.step,
            "metrics": numbers,
            "sha256": _sha256(entry.path),
            "best": index == best,
            "last": index == len(found) - 1,
        }
        for index, (entry, numbers) in enumerate(zip(found, metrics, strict=True))
    ]


def _best(metrics: Sequence[Mapping[str, float]], monitor: str) -> int | None:
    """Index of the best by the monitored number, the earliest of equals; None where nobody has it."""
    sign = 1 if monitor.endswith(("_loss", "_fpr", "_fnr")) else -1
    scored = [(sign * numbers[monitor], index) for index, numbers in enumerate(metrics) if monitor in numbers]
    return min(scored)[1] if scored else None


def _monitor(results_dir: Path) -> str:
    """``train.optim.monitor_name`` of the spec that the container wrote down."""
    import yaml

    try:
        spec = yaml.safe_load((results_dir / "experiment.yaml").read_text(encoding="utf-8"))
        return str(spec["train"]["optim"]["monitor_name"] or DEFAULT_MONITOR)
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return DEFAULT_MONITOR


def _metrics(action: str, status: StatusSummary) -> dict[str, float]:
    """Numbers of the whole run: of a training those of its last epoch."""
    if action == "train" and status.epochs:
        return status.epochs[max(status.epochs)]
    return status.tested


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
