"""The checkpoints of a parent with what is known of each: by its result, else by file names and status numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from skillrun.lineage.folders import Parent, listed
from skillrun.tao.checkpoints import SUFFIXES, Checkpoint, checkpoint_numbers, checkpoints_in, whole
from skillrun.tao.result import STATUS_FILE
from skillrun.tao.status import summarise

MODEL_SUFFIXES = {"onnx": (".onnx",), "engine": (".engine", ".trt", ".plan"), "quantized": (".pth",)}


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that a later run could start from.

    Attributes:
        path: absolute; links are followed.
        epoch: counted from 0, as in file names; None where nobody knows. step: of the optimiser.
        metrics: finite numbers of its epoch.
        best, last: as the run marked it; in a plain folder ``last`` is where its ``*_latest`` link leads.
        entry: the entry of ``result.json``; empty in a plain folder.
    """

    path: Path
    epoch: int | None
    step: int | None
    metrics: dict[str, float] = field(default_factory=dict)
    best: bool = False
    last: bool = False
    entry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether the file is there now."""
        return self.path.is_file()

    @property
    def position(self) -> tuple[int, int]:
        """Order in the training; unknown numbers come first."""
        return (-1 if self.epoch is None else self.epoch), (-1 if self.step is None else self.step)

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
        return {
            "file": str(self.path),
            "epoch": self.epoch,
            "step": self.step,
            "metrics": self.metrics,
            "best": self.best,
            "last": self.last,
            "exists": self.exists,
        }


def candidates(parent: Parent) -> list[Candidate]:
    """Checkpoints of a parent, oldest first. What the result lists wins over what lies in the folders."""
    told = _told(parent)
    if told:
        return told
    for folder in parent.folders:
        found = _found(folder)
        if found:
            return found
    return []


def _told(parent: Parent) -> list[Candidate]:
    known: dict[Path, Candidate] = {}
    for entry in listed(parent.result.get("checkpoints")):
        path = (parent.path / entry["path"]).absolute()
        numbers = checkpoint_numbers(path.name)
        known[path] = Candidate(
            path,
            _count(entry.get("epoch"), numbers[0]),
            _count(entry.get("step"), numbers[1]),
            finite(entry.get("metrics")),
            entry.get("best") is True,
            entry.get("last") is True,
            entry,
        )
    return sorted(known.values(), key=lambda candidate: candidate.position)


def _found(folder: Path) -> list[Candidate]:
    files = [file for file in checkpoints_in(folder) if not _is_other_model(file)]
    epochs = summarise(folder / STATUS_FILE).epochs if files else {}
    latest = _latest(folder)
    return [
        Candidate(
            file.path.absolute(),
            file.epoch,
            file.step,
            finite(epochs.get(file.epoch)) if file.epoch is not None else {},
            last=latest == {file.path},
        )
        for file in files
    ]


def _is_other_model(file: Checkpoint) -> bool:
    """Quantised and pruned models are files of their own, no step of a training."""
    return file.epoch is None and file.step is None and file.path.name.startswith(("quantized_model", "pruned_model"))


def _latest(folder: Path) -> set[Path]:
    """The files that ``*_latest`` links lead to; several where two tasks trained in one folder."""
    links = (path for path in folder.iterdir() if path.stem.lower().endswith("_latest") and path.is_symlink())
    return {path.resolve() for path in links if path.suffix.lower() in SUFFIXES and path.is_file()}


def finite(metrics: Any) -> dict[str, float]:
    """The numbers of a mapping that can be compared."""
    pairs = metrics.items() if isinstance(metrics, Mapping) else ()
    return {
        str(name): value
        for name, value in pairs
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _count(told: Any, from_name: int | None) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else from_name


def without_twins(found: Sequence[Candidate]) -> list[Candidate]:
    """The same list without links to a file that is listed under its own name; the file takes over their marks."""
    files: dict[Path, list[Candidate]] = {}
    for candidate in found:
        files.setdefault(candidate.path.resolve(), []).append(candidate)
    kept = [
        replace(
            min(twins, key=lambda twin: twin.path.is_symlink()),
            best=any(twin.best for twin in twins),
            last=any(twin.last for twin in twins),
        )
        for twins in files.values()
    ]
    return sorted(kept, key=lambda candidate: candidate.position)


def model_files(parent: Parent, kind: str) -> list[Path]:
    """Models of a parent that are no steps of a training; the listed ones before those by name.

    Args:
        kind: ``onnx``, ``engine`` (TensorRT) or ``quantized`` (checkpoints).
    """
    suffixes = MODEL_SUFFIXES[kind]
    told = [(parent.path / entry["path"]).resolve() for entry in listed(parent.result.get("artifacts"))]
    there = [path for path in told if path.suffix.lower() in suffixes and path.is_file()]
    if there:
        return list(dict.fromkeys(there))
    return sorted(
        {
            path.resolve()
            for folder in parent.folders
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and path.is_file() and path.stat().st_size > 0
        }
    )


def seen(parent: Parent) -> list[str]:
    """What lies in the folders of a parent, for a message: model files with what is wrong with them, then others."""
    names: list[str] = []
    for folder in parent.folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and not whole(path):
                names.insert(0, f"{path.name} (not whole)")
            elif path.is_file():
                names.append(path.name)
    return list(dict.fromkeys(names))
