"""How long an epoch took in an earlier training of the same kind, for an estimate before anything is started."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.automl.study import list_studies
from skillrun.errors import SkillrunError
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder, list_runs
from skillrun.specfile import read_spec
from skillrun.watch import read_events

# What decides how long an epoch takes, by task.
_ALIKE = {
    "classify": (
        "model.backbone.type",
        "train.precision",
        "dataset.classify.train_dataset.csv_path",
        "dataset.classify.image_width",
        "dataset.classify.image_height",
        "dataset.classify.num_input",
    ),
    "segment": (
        "model.backbone.type",
        "train.precision",
        "dataset.segment.root_dir",
        "dataset.segment.train_split",
        "dataset.segment.img_size",
    ),
}
_NEWEST = 40


@dataclass(frozen=True)
class Measured:
    """Seconds of an epoch, and the run that they were measured in."""

    seconds: float
    run_id: str


def earlier_epoch(spec: Mapping[str, Any], task: str, backend: str, root: Path) -> Measured | None:
    """The median epoch of the newest run of this workspace that trained the same data with the same network."""
    wanted = [get_dotted(spec, key) for key in _ALIKE[task]]
    for run in itertools.islice(_runs(root), _NEWEST):
        try:
            record = run.read_record()
            if not str(record.get("action", "")).endswith("train") or record.get("backend") != backend:
                continue
            values = read_spec(run.spec).values
        except SkillrunError:
            continue
        if [get_dotted(values, key) for key in _ALIKE[task]] == wanted and (seconds := _seconds(run)):
            return Measured(statistics.median(seconds), run.run_id)
    return None


def _runs(root: Path) -> Iterator[RunFolder]:
    """Of the workspace and of its studies, the newest first."""
    found = [*list_runs(root), *(run for study in list_studies(root) for run in list_runs(study.path))]
    yield from sorted(found, key=lambda run: run.run_id, reverse=True)


def _seconds(run: RunFolder) -> list[float]:
    if not run.events.is_file():
        return []
    events, _ = read_events(run.events, 0)
    found = [event.get("seconds") for event in events if event.get("event") == "epoch"]
    return [float(value) for value in found if isinstance(value, int | float) and value > 0]
