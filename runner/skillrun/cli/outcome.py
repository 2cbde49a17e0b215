"""How a run ended, for a person: its numbers, where its files are, and what to do next."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.findings import Finding
    from skillrun.watch import RunStatus

# More files of one kind in one folder than this are shown as the folder.
LISTED = 3
# Per-class numbers of segment: the class is their last part.
_CLASS_NUMBER = re.compile(r"(?:\w+_)?(iou|F1|precision|recall)_(\d+)")


def say_outcome(found: RunStatus, output: Output) -> None:
    """Metrics, where the files are, and the next command; raises RunFailedError for a run without proof of success."""
    from skillrun.runfolder import RunFolder, read_json
    from skillrun.watch import require_success

    require_success(found)
    folder = Path(found.run_dir)
    result = read_json(RunFolder(folder).result) or {}
    lines = [f"{found.run_id} succeeded in {float(result.get('seconds') or 0):.0f} s"]
    lines += [f"  {name:<32} {value:.6g}" for name, value in shown_metrics(found.metrics)]
    for entry in result.get("checkpoints") or []:
        marks = " and ".join(mark for mark in ("best", "last") if entry.get(mark))
        if marks:
            lines.append(f"  {marks + ' checkpoint':<25} {_place(folder / entry['path'])}")
    lines += [f"  {kind:<16} {place}" for kind, place in artifact_lines(result.get("artifacts") or [], folder)]
    files = {kind: result.get(kind, []) for kind in ("checkpoints", "artifacts")}
    warnings = run_warnings(found)
    told = {"warnings": [warning.to_json() for warning in warnings]}
    output.data({"run": asdict(found), **files, **told}, "\n".join(lines))
    for warning in warnings:
        output.say(f"{warning.severity}[{warning.code}]: {warning.message}\n  fix: {warning.fix}")
    kinds = ("picture", "pictures")  # a sheet of the worst cases first, then folders of all
    drawn = [_place(folder / item["path"]) for kind in kinds for item in files["artifacts"] if item.get("kind") == kind]
    output.hint(_next_step(found, drawn))


def run_warnings(found: RunStatus) -> list[Finding]:
    """What the numbers of a training or an evaluation warn of."""
    from skillrun.inspection.warnings import outcome_warnings

    labels = None
    if found.action == "train":
        classify = _spec_data(found).get("classify") or {}
        named = (classify.get("validation_dataset") or {}).get("csv_path")
        labels = Path(named) if named else None
    return outcome_warnings(found.metrics, found.run_id, found.task, labels)


def _spec_data(found: RunStatus) -> Mapping[str, Any]:
    """The data sets of a run, as its spec names them."""
    from skillrun.runfolder import RunFolder
    from skillrun.specfile import read_spec

    data = read_spec(RunFolder(Path(found.run_dir)).spec).values.get("dataset")
    return data if isinstance(data, dict) else {}


def _place(path: Path) -> Path:
    """A path without the steps up that lead from a run folder to results elsewhere."""
    return Path(os.path.normpath(path))


def shown_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Numbers for a person, those of the change classes first; the others are in ``runs show``.

    Left out: what a training repeats for its best checkpoint, what it counts on its training pairs per class,
    and class 0 (no change) of masks, which is nearly everything and therefore always close to 1.
    """
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]
    classes = {name: match for name, _ in numbers if (match := _CLASS_NUMBER.fullmatch(name))}
    change = [pair for pair in numbers if pair[0] in classes and classes[pair[0]][2] != "0"]
    whole = [pair for pair in numbers if pair[0] not in classes]
    kept = [pair for pair in change if not pair[0].startswith("train_")] + whole
    return [(name, value) for name, value in kept if not name.startswith("best_")]


def epoch_metrics(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The numbers of an epoch that fit a line: of masks the losses, and IoU and F1 of the change classes."""
    numbers = shown_metrics(metrics)
    if not any(_CLASS_NUMBER.fullmatch(name) for name in metrics):
        return numbers
    short = re.compile(r".*_(loss|iou_\d+|F1_\d+)")
    return sorted((pair for pair in numbers if short.fullmatch(pair[0])), key=lambda pair: "_loss" not in pair[0])


def artifact_lines(entries: Iterable[Mapping[str, Any]], folder: Path = Path()) -> list[tuple[str, str]]:
    """(kind, path) of the files of a run below ``folder``; many of one kind in one place are their folder."""
    places: dict[tuple[str, Path], list[Path]] = {}
    for entry in entries:
        path = _place(folder / str(entry["path"]))
        places.setdefault((str(entry.get("kind", "file")), path.parent), []).append(path)
    lines = []
    for (kind, parent), paths in places.items():
        if len(paths) > LISTED:
            lines.append((kind, f"{parent} ({len(paths)} files)"))
        else:
            lines += [(kind, str(path)) for path in paths]
    return lines


def _next_step(found: RunStatus, pictures: list[Path]) -> str:
    """What a user most likely does next, with this run's own data."""
    action = found.action.removeprefix("segment_")
    if action in ("export", "quantize", "gen_trt_engine"):
        return f"skillrun visual_changenet {found.action[: -len(action)]}evaluate --parent {found.run_id}"
    if action.endswith("evaluate"):
        return f"skillrun report {found.run_id} --open"
    if action != "train":
        return f"look at {pictures[0]}" if pictures else f"skillrun runs show {found.run_id}"
    data = _spec_data(found)
    if found.task == "segment":
        folder = data["segment"]["root_dir"]
    else:
        folder = str(Path(data["classify"]["validation_dataset"]["csv_path"]).parent)
    command = f"skillrun visual_changenet {found.action[: -len(action)]}evaluate"
    return f"{command} --parent {found.run_id} --eval-data {shlex.quote(folder)}"
