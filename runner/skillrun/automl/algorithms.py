"""Search algorithms by their published names, as a sampler and a pruner of Optuna.

What is promised. Every trial draws from its own random numbers, seeded by (seed of the study, number of the trial):

- ``random``, ``asha``, ``hyperband``, ``grid``: the values of trial n follow from seed, space and n alone, whatever
  has finished, in every process and in every order.
- ``bayesian``, ``bohb``, ``cmaes``: the values of trial n follow from seed, space, n and what the storage holds when it
  is drawn: values and results of the finished trials, values of the running ones. The order in which they finished
  does not matter to the first two. One after another, two runs are alike; side by side, they are alike as far as the
  same trials had finished when each was drawn.
- ``bayesian`` asks a Gaussian process where torch and scipy are installed, else Parzen estimators. A study keeps to
  the one that it began with.
- Which trials a pruner stops depends on what has been reported before; ``hyperband`` and ``bohb`` also put a trial into
  a bracket by its number and the name of the study.
- Numbers may differ in their last bits between versions of Optuna and NumPy, and between processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skillrun.automl.space import Space
from skillrun.errors import PreflightError, UsageError
from skillrun.overrides import nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

DEFAULT = "bayesian"
ALGORITHMS = ("bayesian", "random", "grid", "hyperband", "asha", "bohb", "cmaes")
_ALIASES = {"b": "bayesian", "h": "hyperband", "hes": "hyperband_es", "tpe": "bayesian", "cma-es": "cmaes"}
# Published names that are not offered → the nearest that is, and what is missing.
_REFUSED = {
    "pbt": ("asha", "changes the values of a training while it runs, so no trial has one spec"),
    "bfbo": ("bayesian", "is a Gaussian process with penalties around running trials, which bayesian avoids as well"),
    "dehb": ("bohb", "is differential evolution inside hyperband"),
    "hyperband_es": ("hyperband", "extrapolates learning curves on top of hyperband"),
    "llm": ("bayesian", "asks a language model for values"),
    "hybrid": ("bayesian", "asks a language model for a plan"),
    "autoresearch": ("bayesian", "asks a language model for experiments"),
}
_BY_RUNGS = ("hyperband", "asha", "bohb")
# Chosen by `benchmarks/automl.py`. The cost of a draw grows with the cube of the finished trials: after so many
# estimators go on.
_PROCESS_ENDS = 100
_PROCESS_NEEDS = ("torch", "scipy")


@dataclass(frozen=True)
class Algorithm:
    """How a study searches.

    Attributes:
        sampler, pruner: for ``optuna.create_study``.
        rungs: epochs after which a trial is compared with the others; empty where every trial trains to its end.
            ``hyperband`` and ``bohb`` let a share of the trials begin at a later rung.
        points: how many different trials there are; None for no end. Further trials are drawn at random.
        promise: one sentence about what the same seed gives.
    """

    name: str
    sampler: BaseSampler
    pruner: BasePruner
    rungs: tuple[int, ...]
    points: int | None
    promise: str


@dataclass(frozen=True)
class Effort:
    """What a study may spend.

    Attributes:
        trials: number of trials, which a grid is laid out for.
        epochs: epochs of a full training.
        first_rung: epochs after which trials are compared first, for those that compare early.
        reduction: one of so many trials goes on at a rung.
        startup: trials drawn at random before a model of the results draws.
        objectives: number of metrics that are optimised together.
        process: whether ``bayesian`` asks a Gaussian process; None: where its packages are installed.
    """

    trials: int = 20
    epochs: int = 27
    first_rung: int = 1
    reduction: int = 3
    startup: int = 10
    objectives: int = 1
    process: bool | None = None


def canonical(name: str) -> str:
    """The name in our spelling.

    Raises:
        UsageError: no such algorithm, or one that is not offered; the fix names the nearest.
    """
    word = name.strip().lower()
    word = _ALIASES.get(word, word.replace("-", "_"))
    if word in _REFUSED:
        instead, what = _REFUSED[word]
        raise UsageError("E_AUTOML_ALGORITHM", f"algorithm {name} is not offered: it {what}", f"--algorithm {instead}")
    if word not in ALGORITHMS:
        close = nearest(word, ALGORITHMS, 1)
        message = f"there is no algorithm {name!r}; there are {', '.join(ALGORITHMS)}"
        raise UsageError("E_AUTOML_ALGORITHM", message, f"--algorithm {close[0] if close else DEFAULT}")
    return word


def resolve(name: str, seed: int, space: Space, effort: Effort | None = None) -> Algorithm:
    """Sampler and pruner for a published name.

    Args:
        name: one of `ALGORITHMS` or a published alias.
        seed: seed of the study, any integer.

    Raises:
        UsageError: the name is not offered, or it can not search this space for this purpose.
        PreflightError: Optuna, or what this algorithm needs beside it, is not installed.
    """
    word, effort = canonical(name), effort or Effort()
    _check(word, space, effort)
    _load_optuna(word)
    if word == "bayesian" and effort.process and (missing := process_missing()):
        words = f"this study draws by a Gaussian process, which needs {' and '.join(missing)}"
        raise PreflightError("E_AUTOML_MISSING", words, f"pip install {' '.join(missing)}")
    from skillrun.automl.samplers import GridOfPoints, PerTrial

    grid = space.grid(effort.trials) if word == "grid" else []
    sampler = PerTrial(lambda number: _sampler(word, number, effort), seed, space.weights(), _startup(word, effort))
    return Algorithm(
        name=word,
        sampler=GridOfPoints(grid, sampler) if grid else sampler,
        pruner=_pruner(word, effort),
        rungs=_rungs(effort) if word in _BY_RUNGS else (),
        points=len(grid) if grid else int(space.size) if space.size != float("inf") else None,
        promise=_promise(word, effort),
    )


def _check(word: str, space: Space, effort: Effort) -> None:
    if effort.objectives > 1 and word in (*_BY_RUNGS, "cmaes"):
        raise UsageError(
            "E_AUTOML_ALGORITHM",
            f"algorithm {word} compares trials by one metric, and {effort.objectives} were asked for",
            "--algorithm bayesian, or one metric",
        )
    if word in _BY_RUNGS and not (1 <= effort.first_rung < effort.epochs and effort.reduction >= 2):
        raise UsageError(
            "E_AUTOML_RUNGS",
            f"algorithm {word} compares trials before their end: not with {effort.epochs} epochs, a first comparison "
            f"after {effort.first_rung} and a reduction by {effort.reduction}",
            "more epochs (num_epochs=27), or --algorithm bayesian",
        )
    numbers = [param for param in space.params if param.kind != "choice" and not param.when and not param.above]
    if word == "cmaes" and len(numbers) < 2:
        raise UsageError(
            "E_AUTOML_ALGORITHM",
            f"algorithm cmaes needs two searched numbers that matter in every trial, this space has {len(numbers)}",
            "--algorithm bayesian",
        )


def _load_optuna(word: str) -> None:
    import importlib.util

    for module, needed_for in (("optuna", "AutoML"), ("cmaes", "algorithm cmaes")):
        if (module == "optuna" or word == "cmaes") and importlib.util.find_spec(module) is None:
            install = "'skillrun[automl]'" if module == "optuna" else module
            raise PreflightError(
                "E_AUTOML_MISSING", f"{needed_for} needs the package {module}", f"pip install {install}"
            )


def _sampler(word: str, seed: int, effort: Effort) -> BaseSampler:
    from optuna.samplers import CmaEsSampler, RandomSampler, TPESampler

    if word in ("bayesian", "bohb"):
        estimators = TPESampler(seed=seed, n_startup_trials=effort.startup, multivariate=True)
        return _process(seed, effort, estimators) if word == "bayesian" and _by_process(effort) else estimators
    if word == "cmaes":
        return CmaEsSampler(seed=seed, n_startup_trials=effort.startup, warn_independent_sampling=False)
    return RandomSampler(seed=seed)


def process_missing() -> list[str]:
    """Packages that a Gaussian process needs and that are not installed."""
    import importlib.util

    return [name for name in _PROCESS_NEEDS if importlib.util.find_spec(name) is None]


def _by_process(effort: Effort) -> bool:
    return not process_missing() if effort.process is None else effort.process


def _process(seed: int, effort: Effort, estimators: BaseSampler) -> BaseSampler:
    """A Gaussian process over the keys of every trial; the other keys, the start and long studies by estimators."""
    from optuna.samplers import GPSampler

    from skillrun.automl.samplers import Staged

    def process() -> BaseSampler:
        return GPSampler(
            seed=seed,
            n_startup_trials=effort.startup,
            independent_sampler=estimators,
            warn_independent_sampling=False,
        )

    return Staged(process, estimators, range(effort.startup, _PROCESS_ENDS))


def _startup(word: str, effort: Effort) -> int | None:
    """Trials that are drawn at random; None for all."""
    return effort.startup if word in ("bayesian", "bohb") else None


def _pruner(word: str, effort: Effort) -> BasePruner:
    from optuna.pruners import HyperbandPruner, NopPruner, SuccessiveHalvingPruner

    steps: dict[str, Any] = {"min_resource": effort.first_rung, "reduction_factor": effort.reduction}
    if word == "asha":
        return SuccessiveHalvingPruner(**steps)
    return HyperbandPruner(max_resource=effort.epochs, **steps) if word in _BY_RUNGS else NopPruner()


def _rungs(effort: Effort) -> tuple[int, ...]:
    found, epochs = [], effort.first_rung
    while epochs < effort.epochs:
        found.append(epochs)
        epochs *= effort.reduction
    return tuple(found)


def _promise(word: str, effort: Effort) -> str:
    values = "the values of a trial follow from the seed, the space and its number"
    if word in ("bayesian", "bohb", "cmaes"):
        values += ", and from the results and running trials known when it is drawn"
    if word == "bayesian":
        values += f", by {'a Gaussian process' if _by_process(effort) else 'Parzen estimators'}"
    return values + ("; which trials stop early depends on the reports before" if word in _BY_RUNGS else "")
