"""Everything that decides a study, as it stands in ``study.json``; with it any process drives the study on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skillrun import __version__
from skillrun.automl import saved_request
from skillrun.automl.algorithms import DEFAULT, Effort, resolve
from skillrun.automl.budget import Budget
from skillrun.automl.space import Space
from skillrun.errors import ConflictError

if TYPE_CHECKING:
    from skillrun.automl.algorithms import Algorithm
    from skillrun.prepare import Request

SCHEMA_VERSION = 1
# What a training reports as the milliseconds of one pair (key ``train.measure_latency``).
LATENCY = "latency_ms"


@dataclass(frozen=True)
class SearchOptions:
    """What a user says of a search; 0 and the empty text mean "not said".

    Attributes:
        trials, epochs, time: the budget: trials to start, epochs over all trials, wall time (``30m``).
        metric, direction: what is optimised and which way (``minimize`` or ``maximize``); with ``,latency`` behind the
            metric the time of one pair is minimised as well.
        searches, only, freeze: as ``build_space`` takes them.
        jobs: trials at the same time; 0: one per free GPU, one on a CPU.
        first_rung: epochs before trials are compared first, for the algorithms that do; reduction: one of so many
            goes on.
        test_data: held-out data for the last comparison, a folder or an address.
        keep_all: keep the checkpoints of losing trials.
    """

    algorithm: str = DEFAULT
    seed: int = 0
    trials: int = 0
    epochs: int = 0
    time: str = ""
    metric: str = ""
    direction: str = ""
    searches: tuple[str, ...] = ()
    only: bool = False
    freeze: tuple[str, ...] = ()
    jobs: int = 0
    first_rung: int = 0
    reduction: int = 3
    test_data: str = ""
    keep_all: bool = False


@dataclass(frozen=True)
class Settings:
    """A study as it was decided.

    Attributes:
        request: what the user asked for, with absolute paths; ``cwd`` is the folder it was asked from.
        action: the training action of the request's task.
        extra: overrides of every trial that follow from the search: the metric that marks the best checkpoint, the
            shared cache of decoded data, ...
        outputs: result folders that the user chose, by spec key; each trial gets a folder of its own below.
        epoch_s, epoch_run: seconds of an epoch as an earlier run of the same data and network measured it; 0 and empty
            where there is none.
        second: what is minimised beside the metric (`LATENCY`), empty for nothing.
        num_epochs: of a full training; per_trial: GPUs of one trial.
        process: whether ``bayesian`` asks a Gaussian process, decided once.
    """

    study_id: str
    created: str
    cwd: str
    request: Request
    action: str
    task: str
    space: Space
    algorithm: str
    seed: int
    budget: Budget
    metric: str
    direction: str
    num_epochs: int
    jobs: int = 0
    per_trial: int = 1
    first_rung: int = 1
    reduction: int = 3
    test_data: str = ""
    keep_all: bool = False
    extra: tuple[str, ...] = ()
    outputs: Mapping[str, str] | None = None
    process: bool = False
    second: str = ""
    epoch_s: float = 0
    epoch_run: str = ""

    @property
    def model(self) -> str:
        return self.request.model

    @property
    def study_name(self) -> str:
        """The name in the journal: it carries the hash of the space, so that no other space is mixed in."""
        return f"{self.model}-{self.action}-{self.space.hash[:16]}"

    @property
    def more_is_better(self) -> bool:
        return self.direction == "maximize"

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value beats another; anything beats None."""
        return than is None or (value > than if self.more_is_better else value < than)

    def resolved(self) -> Algorithm:
        """Sampler, pruner and rungs; raises what `resolve` raises."""
        effort = Effort(
            trials=self.budget.trials or 100,
            epochs=self.num_epochs,
            first_rung=self.first_rung,
            reduction=self.reduction,
            process=self.process,
            objectives=2 if self.second else 1,
        )
        return resolve(self.algorithm, self.seed, self.space, effort)

    def to_json(self) -> dict[str, Any]:
        """For ``study.json``."""
        plain = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("request", "space", "budget", "extra", "outputs")
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "skillrun_version": __version__,
            **plain,
            "study_name": self.study_name,
            "budget": self.budget.to_json(),
            "extra": list(self.extra),
            "outputs": dict(self.outputs or {}),
            "request": saved_request.to_json(self.request),
            "space": self.space.to_json(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Settings:
        """The settings that `to_json` wrote.

        Raises:
            ConflictError: another version wrote them, or the space was edited by hand.
        """
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise ConflictError(
                "E_AUTOML_VERSION",
                f"study {raw.get('study_id')} was written by skillrun {raw.get('skillrun_version')}, whose studies "
                "this version can not read",
                f"pip install 'skillrun=={raw.get('skillrun_version')}'",
            )
        space = Space.from_json(raw["space"])
        if space.hash != raw["space"]["hash"]:
            raise ConflictError(
                "E_AUTOML_SPACE_CHANGED",
                f"the search space in study.json of {raw['study_id']} is not the one that its trials were drawn from",
                "undo the edit; another space is another study: skillrun visual_changenet train --search ...",
            )
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        return cls(
            **{
                **known,
                "request": saved_request.from_json(raw["request"]),
                "space": space,
                "budget": Budget.from_json(raw["budget"]),
                "extra": tuple(raw["extra"]),
                "outputs": dict(raw["outputs"]),
            }
        )
