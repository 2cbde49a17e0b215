"""Rules of ``--resume``: what a training that goes on may change, beyond what its weights were made for.

What the weights were made for (backbone, sizes, lights, classes, difference module) is refused when the plan is made:
``E_PARENT_CONTRADICTS``. Number of epochs (upwards), devices, workers, precision and intervals may change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.errors import SkillrunError
from skillrun.overrides import get_dotted
from skillrun.preflight.rule import Case, Problem, rule
from skillrun.runfolder import RunFolder
from skillrun.specfile import read_spec
from skillrun.watch import status

# What a checkpoint brings with it: the optimiser's state holds these, and takes them from nowhere else.
IN_THE_OPTIMISER = ("lr", "weight_decay", "betas", "momentum")
DATA_KEYS = {
    "classify": ("dataset.classify.train_dataset.csv_path", "dataset.classify.train_dataset.images_dir"),
    "segment": ("dataset.segment.root_dir", "dataset.segment.train_split"),
}
EPOCH = re.compile(r"_epoch_(\d+)_")


@rule("E_SPEC_RESUME", "resume", "The training has reached its last epoch already", waivable=False)
def epochs(case: Case) -> Iterator[Problem]:
    """The checkpoint's epoch, counted from 0, is done where its run reached its end."""
    parent = _resumed(case)
    found = EPOCH.search(Path(parent["checkpoint"]).name) if parent else None
    wanted = case.get("train.num_epochs")
    if parent is None or found is None or wanted is None:
        return
    run = _run_of(parent)
    whole = run is not None and status(run).state == "succeeded"
    done = int(found[1]) + whole
    if wanted <= done:
        yield Problem(
            f"{Path(parent['checkpoint']).name} of {parent['run_id']} has trained {done} epochs, and "
            f"train.num_epochs={wanted} counts them too",
            f"train.num_epochs={done + 1}",
        )


@rule("E_RESUME_OPTIMISER", "resume", "Another optimiser than the checkpoint's", waivable=False, safe=True)
def optimiser(case: Case) -> Iterator[Problem]:
    """The state of one optimiser means nothing to another."""
    before, now = _before(case, "train.optim.optim"), case.get("train.optim.optim")
    if before not in (None, now):
        yield Problem(
            f"train.optim.optim={now}, but the checkpoint holds the state of {before}", f"train.optim.optim={before}"
        )


@rule("W_RESUME_RATE", "resume", "The checkpoint brings this setting of the optimiser with it", safe=True)
def rate(case: Case) -> Iterator[Problem]:
    """What was asked for has no effect."""
    for name in IN_THE_OPTIMISER:
        key = f"train.optim.{name}"
        before, now = _before(case, key), case.get(key)
        if before not in (None, now):
            yield Problem(
                f"{key}={now} has no effect: the optimiser's state in the checkpoint has {before}",
                f"{key}={_written(before)}",
            )


@rule("W_RESUME_BATCH", "resume", "Another batch size than before")
def batch(case: Case) -> Iterator[Problem]:
    """Steps are counted in batches."""
    key = f"{case.data}.batch_size"
    before, now = _before(case, key), case.get(key)
    if before not in (None, now):
        yield Problem(
            f"{key}={now}, was {before}: an epoch has another number of steps from here on, and the learning rate "
            "was chosen for the old one",
            f"{key}={before}",
        )


@rule("W_RESUME_DATA", "resume", "Other training data than before")
def data(case: Case) -> Iterator[Problem]:
    """A training that goes on with other pairs is a new one."""
    for key in DATA_KEYS.get(case.plan.task, ()):
        before, now = _before(case, key), case.get(key)
        if before and now and before != now:
            yield Problem(
                f"{key}={now}, was {before}: validation scores before and after can not be compared",
                f"{key}={_written(before)}",
            )


@rule("W_RESUME_MONITOR", "resume", "Another metric decides which checkpoint is best")
def monitor(case: Case) -> Iterator[Problem]:
    """Checkpoints of before are ranked by the metric of before."""
    key = "train.optim.monitor_name"
    before, now = _before(case, key), case.get(key)
    if before not in (None, now):
        yield Problem(
            f"{key}={now}, was {before}: earlier checkpoints are compared by a metric that was not watched then",
            f"{key}={before}",
        )


def _resumed(case: Case) -> Mapping[str, Any] | None:
    """What the plan records of the training that goes on."""
    parent = case.plan.parent
    return parent if parent and parent.get("relation") == "resume" and case.section == "train" else None


def _run_of(parent: Mapping[str, Any]) -> RunFolder | None:
    """The run folder around a checkpoint."""
    above = Path(str(parent["checkpoint"])).parents
    return next((RunFolder(folder) for folder in above if (folder / "run.json").is_file()), None)


def _before(case: Case, key: str) -> Any:
    """What the training that goes on was started with; None where that can not be told."""
    parent = _resumed(case)
    run = _run_of(parent) if parent else None
    if run is None:
        return None
    try:
        return get_dotted(read_spec(run.spec).values, key)
    except SkillrunError:
        return None


def _written(value: Any) -> str:
    """A value as an override spells it, quoted for a shell."""
    import json
    from shlex import quote

    return quote(value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
