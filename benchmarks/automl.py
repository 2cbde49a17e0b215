"""Quality of search: our default beside Optuna's and random search, and what early stopping saves.

Run: ``python benchmarks/automl.py`` (``--seeds 100 --budget 50``), ``--only branin`` for one table,
``--settings`` for the settings that the default was chosen from, ``--jobs 4`` for so many trials at a time.

* Best value after so many trials, less the lowest there is: median (quartiles) over the seeds. Each searcher has the
  same budget and the same seeds. On a noisy surface it is the true value of the trial that looked best.
* The rank of a searcher is that of its median on a surface, 1 for the lowest.
* Early stopping: epochs until a trial that trained to its end is within 1 % of the lowest value, those of paused
  trials counted. A search that does not get there counts with its whole budget of epochs.

Milliseconds are for drawing a trial and telling its result. The published AutoML package has columns where it is
installed, on the surfaces that it takes.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import automl_published
import optuna
from automl_surfaces import Curves, Surface, learning_curves, surfaces
from measure import show
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from skillrun.automl import Effort, Space, resolve
from skillrun.automl.ledger import RUN, Note
from skillrun.automl.rungs import PausingStudy, promotable
from skillrun.automl.samplers import PerTrial

AFTER = (10, 20, 50)
FULL_TRAININGS = 40
CLOSE = 1.01
STOPPING = ("random", "bayesian", "asha", "hyperband", "bohb")


@dataclass(frozen=True)
class Run:
    """One search: the best value after each trial, and the time that a trial took."""

    best: Sequence[float]
    milliseconds: float


Searcher = Callable[[Surface, int, int, int], Run]
Make = Callable[[int, Space], BaseSampler]


class Told:
    """What a searcher was told, and the true values; the noise of a trial is the same for every searcher."""

    def __init__(self, surface: Surface, seed: int) -> None:
        self.surface, self.seed = surface, seed
        self.pairs: list[tuple[float, float]] = []

    def tell(self, values: Mapping[str, Any], trial: int) -> float:
        """The value that the searcher sees."""
        true = self.surface.value(values)
        seen = true + self.surface.noise * random.Random(f"{self.seed} {trial}").gauss()
        self.pairs.append((seen, true - self.surface.best))
        return seen

    def run(self, begin: float) -> Run:
        """The search that began at ``begin`` (of ``time.perf_counter``)."""
        taken = 1000 * (time.perf_counter() - begin) / len(self.pairs)
        return Run([min(self.pairs[: count + 1])[1] for count in range(len(self.pairs))], taken)


def by_sampler(make: Make, surface: Surface, seed: int, budget: int, jobs: int) -> Run:
    """``budget`` trials, ``jobs`` at a time: the oldest ends before the next begins."""
    study = optuna.create_study(sampler=make(seed, surface.space), direction="minimize")
    running: list[tuple[Trial, Mapping[str, Any]]] = []
    told, begin = Told(surface, seed), time.perf_counter()
    while len(told.pairs) < budget:
        while len(running) < min(jobs, budget - len(told.pairs)):
            trial = study.ask()
            running.append((trial, surface.space.suggest(trial)))
        trial, values = running.pop(0)
        study.tell(trial, told.tell(values, trial.number))
    return told.run(begin)


def by_published(algorithm: str, surface: Surface, seed: int, budget: int, jobs: int) -> Run:
    """The published package, one trial after another."""
    told, begin = Told(surface, seed), time.perf_counter()
    automl_published.published(algorithm, surface.space, seed, budget, told.tell)
    return told.run(begin)


def ours(seed: int, space: Space) -> BaseSampler:
    """What ``skillrun`` searches with unless told otherwise."""
    return resolve("bayesian", seed, space).sampler


def parzen(startup: int, **more: Any) -> Make:
    """Optuna's estimators, a seed for every trial as ours have."""
    return lambda seed, space: PerTrial(
        lambda own: TPESampler(seed=own, n_startup_trials=startup, **more), seed, {}, startup
    )


def process(startup: int) -> Make:
    """Optuna's Gaussian process, a seed for every trial; what it can not model is drawn by estimators."""

    def one(own: int) -> BaseSampler:
        other = TPESampler(seed=own, n_startup_trials=startup)
        return GPSampler(seed=own, n_startup_trials=startup, independent_sampler=other, warn_independent_sampling=False)

    return lambda seed, space: PerTrial(one, seed, {}, startup)


def searchers(settings: bool) -> dict[str, Searcher]:
    """The searchers to compare: ours beside others, or the settings that ours was chosen from."""
    made: dict[str, Make] = {
        "skillrun bayesian": ours,
        "Optuna TPE": lambda seed, space: TPESampler(seed=seed),
        "random": lambda seed, space: RandomSampler(seed=seed),
    }
    if settings:
        made = {
            "TPE, 10 at random": parzen(10),
            "TPE, 5 at random": parzen(5),
            "TPE, 20 at random": parzen(20),
            "TPE, 10, each key alone": parzen(10, multivariate=False),
            "TPE, 10, blind to running": parzen(10, constant_liar=False),
            "GP, 10 at random": process(10),
        }
    found: dict[str, Searcher] = {name: partial(by_sampler, make) for name, make in made.items()}
    if automl_published.installed() and not settings:
        found |= {f"published {name}": partial(by_published, name) for name in automl_published.ALGORITHMS}
    return found


def quartiles(values: Sequence[float]) -> str:
    """Median (lower–upper quartile)."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"


def compare(surface: Surface, options: argparse.Namespace, ranks: dict[str, list[float]]) -> None:
    """Print the table of one surface; adds each searcher's ranks to ``ranks``."""
    after = [count for count in AFTER if count < options.budget] + [options.budget]
    runs = {
        name: [searcher(surface, seed, options.budget, options.jobs) for seed in range(options.seeds)]
        for name, searcher in searchers(options.settings).items()
        if not name.startswith("published") or automl_published.takes(surface.space)
    }
    rows = []
    for name, made in runs.items():
        cells = [quartiles([run.best[count - 1] for run in made]) for count in after]
        rows.append((name, *cells, f"{statistics.median(run.milliseconds for run in made):.1f}"))
    show(f"\n{surface.name}", ("best, less the lowest", *(f"after {count}" for count in after), "ms per trial"), rows)
    for count in after:
        middles = {name: statistics.median(run.best[count - 1] for run in made) for name, made in runs.items()}
        for name, middle in middles.items():
            ranks.setdefault(name, []).append(1 + sum(other < middle for other in middles.values()))


def epochs_to_best(curves: Curves, algorithm: str, seed: int) -> int:
    """Epochs that a search one after another trains until it is within 1 % of the lowest value."""
    effort = Effort(epochs=curves.epochs)
    found = resolve(algorithm, seed, curves.space, effort)
    name, storage = f"{curves.name} {seed}", optuna.storages.InMemoryStorage()
    storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], name)
    study = PausingStudy(name, storage, found.sampler, found.pruner)
    trials: dict[int, Trial] = {}
    lowest: dict[int, float] = {}
    reached: dict[int, int] = {}
    spent = 0
    while spent < FULL_TRAININGS * curves.epochs:
        risen = promotable(study, storage.get_all_trials(0, deepcopy=False), effort.reduction) if found.rungs else []
        trial = trials[risen[0]] if risen else study.ask()
        trials[trial.number] = trial
        trial.set_user_attr(RUN, {})
        curve, begun = curves.curve(curves.space.suggest(trial)), reached.get(trial.number, 0)
        for epoch, value in enumerate(curve[begun:], begun + 1):
            spent += 1
            lowest[trial.number] = min(lowest.get(trial.number, math.inf), value)
            reached[trial.number] = epoch
            trial.report(lowest[trial.number], epoch)
            if found.rungs and epoch < curves.epochs and trial.should_prune():
                trial.set_user_attr(RUN, asdict(Note(paused=True)))
                break
        else:
            study.tell(trial, lowest[trial.number])
            if lowest[trial.number] <= CLOSE * curves.best:
                return spent
    return FULL_TRAININGS * curves.epochs


def stopping(curves: Curves, seeds: int) -> None:
    """Print what each algorithm spends on these learning curves."""
    rows = []
    for name in STOPPING:
        spent = [epochs_to_best(curves, name, seed) for seed in range(seeds)]
        missed = sum(epochs >= FULL_TRAININGS * curves.epochs for epochs in spent)
        rows.append((name, quartiles(spent), missed))
    title = f"\n{curves.name} learning curves, {curves.epochs} epochs, budget {FULL_TRAININGS * curves.epochs}"
    show(title, ("epochs to within 1 %", "median (quartiles)", "not reached"), rows)


def main() -> None:
    """Measure and print."""
    known: dict[str, Surface | Curves] = {
        **surfaces(),
        **{f"{name}-curves": curves for name, curves in learning_curves().items()},
    }
    parser = argparse.ArgumentParser(description="Quality of search.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=known)
    parser.add_argument("--settings", action="store_true")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if not automl_published.installed():
        print(f"{automl_published.PACKAGE} is not installed: no columns for it")
    ranks: dict[str, list[float]] = {}
    for name, one in known.items():
        if options.only not in (None, name):
            continue
        if isinstance(one, Surface):
            compare(one, options, ranks)
        elif not options.settings:
            stopping(one, options.seeds)
    if ranks:
        rows = [
            (name, f"{statistics.median(found):g}", f"{sum(found) / len(found):.1f}") for name, found in ranks.items()
        ]
        show("\nRank over all surfaces and columns", ("searcher", "median", "mean"), rows)


if __name__ == "__main__":
    main()
