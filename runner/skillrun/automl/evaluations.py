"""The last comparison: baseline, trial 0 and the best trial on the same pairs, by ordinary evaluate runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from skillrun import bank
from skillrun.automl.settings import Settings
from skillrun.automl.study import StudyFolder
from skillrun.backends import Quiet
from skillrun.datasets import DataSources
from skillrun.errors import SkillrunError
from skillrun.overrides import get_dotted, leaves
from skillrun.runfolder import list_runs
from skillrun.specfile import read_spec
from skillrun.watch import require_success, status

if TYPE_CHECKING:
    from skillrun.prepare import Request

# Which number of an evaluation stands for which metric of a search, the first that is there.
_MEASURED_AS = {"classify": ("average_precision", "test_acc"), "segment": ("test_iou_1", "test_miou")}
# What of a training's overrides an evaluation takes as well: how its data is loaded.
_LOADING = ("batch_size", "workers")
_POLL_S = 0.2


WEIGHTS = "train.pretrained_model_path"
CHECKPOINT = "evaluate.checkpoint"


@dataclass(frozen=True)
class Contender:
    """What is compared: a parent as ``--parent`` takes it, and a checkpoint file in place of the parent's own."""

    parent: str
    checkpoint: str = ""

    @property
    def name(self) -> str:
        return self.checkpoint or self.parent


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint measured on the comparison's pairs.

    Attributes:
        who: ``baseline``, ``trial 0`` or ``best``.
        metrics: empty where ``error`` says why there are none.
    """

    who: str
    run_id: str
    metrics: Mapping[str, float]
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"who": self.who, "run_id": self.run_id, "metrics": dict(self.metrics), "error": self.error}


def headline(settings: Settings, evaluations: Mapping[str, Evaluation]) -> str:
    """The metric that tables compare: the search's own where an evaluation measures it, else the task's usual one."""
    known = [one.metrics for one in evaluations.values() if one.metrics]
    own = settings.metric.removeprefix("val_")
    names = (own, f"test_{own}", *_MEASURED_AS[settings.task])
    return next((name for name in names if known and name in known[0]), "")


def held_out(folder: StudyFolder, settings: Settings, best: str, evaluations: Mapping[str, Evaluation]) -> bool:
    """Whether the compared pairs took no part in the search: data of their own, or another list of the same data."""
    done = next((one.run_id for one in evaluations.values() if one.run_id), "")
    if settings.test_data or settings.task != "segment" or not done:
        return bool(settings.test_data)
    tested, trained = (read_spec(folder.run(run_id).spec).values["dataset"]["segment"] for run_id in (done, best))
    return bool(tested["test_split"] != trained["validation_split"])


def evaluate_all(
    folder: StudyFolder, settings: Settings, contenders: Mapping[str, Contender], say: Callable[[str], None]
) -> dict[str, Evaluation]:
    """Evaluate what each name stands for.

    One after another, because they would share a GPU; one that fails is told and does not end the others. What an
    earlier process evaluated already is taken from its run.
    """
    found: dict[str, Evaluation] = {}
    for who, contender in contenders.items():
        twin = next((one for name, one in found.items() if contenders[name] == contender), None)
        if twin is not None:
            found[who] = replace(twin, who=who)
            continue
        say(f"evaluating {who}")
        try:
            found[who] = _evaluate(folder, settings, who, contender)
        except SkillrunError as error:
            found[who] = Evaluation(who, "", {}, f"{error.code}: {error.message}")
            say(f"{who} could not be evaluated: {error.message}")
    return found


def _evaluate(folder: StudyFolder, settings: Settings, who: str, contender: Contender) -> Evaluation:
    from skillrun.launch import launch
    from skillrun.prepare import prepare

    run = next((run for run in list_runs(folder.path) if run.read_record().get("evaluates") == contender.name), None)
    if run is None or status(run).state in ("failed", "lost", "cancelled", "planned"):
        run = launch(prepare(_request(folder, settings, contender), Quiet()).plan, Quiet())
        run.write_record(study=settings.study_id, evaluates=contender.name)
    while not status(run).done:
        time.sleep(_POLL_S)
    found = require_success(status(run))
    numbers = {key: value for key, value in found.metrics.items() if isinstance(value, int | float)}
    return Evaluation(who, run.run_id, numbers)


def _request(folder: StudyFolder, settings: Settings, contender: Contender) -> Request:
    from skillrun.prepare import Request

    given = settings.request
    action = settings.action.replace("train", "evaluate")
    schema = bank.schema(settings.model, action)
    short = bank.shorthand(settings.model, action)
    keys = {key for key, _ in leaves(schema) if key.rpartition(".")[2] in _LOADING}
    own = (f"{CHECKPOINT}={contender.checkpoint}",) if contender.checkpoint else ()
    host = replace(given.host, gpus="auto") if given.host.gpus != "none" else given.host
    return Request(
        settings.model,
        action,
        overrides=(*(text for text in given.overrides if _key(text, short) in keys), *own),
        sources=DataSources(eval_dataset=settings.test_data or given.sources.eval_dataset),
        parent=contender.parent,
        offline=given.offline,
        backend=given.backend,
        container=given.container,
        image=given.image,
        host=host,
        workspace=folder.path,
    )


def _key(text: str, short: Mapping[str, str]) -> str:
    word = text.partition("=")[0].strip().lstrip("+")
    return short.get(word, word)


def contenders_of(folder: StudyFolder, settings: Settings, best: str, first: str) -> dict[str, Contender]:
    """Who is compared: the starting checkpoint where there is one, trial 0 where it has a value, and the best."""
    trials = {"trial 0": first, "best": best} if first else {"best": best}
    found = {who: Contender(str(folder.run(run_id).path)) for who, run_id in trials.items()}
    start = get_dotted(read_spec(folder.run(first or best).spec).values, WEIGHTS)
    if settings.request.parent:
        return {"baseline": Contender(settings.request.parent), **found}
    # A file alone does not tell its geometry: that of trial 0 is what its weights were loaded into.
    return {"baseline": replace(next(iter(found.values())), checkpoint=str(start)), **found} if start else found
