"""Samplers that give each trial its own seed, so that no process and no order of drawing changes a trial.

Optuna's samplers hold one stream of random numbers: a second process with the same seed repeats the first one's
values, and a resumed one begins anew. Here the stream of a trial is seeded by the study's seed and its number.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from skillrun.automl.param import Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def trial_seed(seed: int, number: int, word: str = "") -> int:
    """32 bits of sha256 over seed, number and word; the same in every process and on every machine."""
    digest = hashlib.sha256(f"skillrun automl {seed} {number} {word}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class PerTrial(BaseSampler):
    """Another sampler, made anew for each trial, and for each key that is drawn on its own.

    Nothing is kept between two draws: any thread or process may draw any trial.

    Args:
        make: seed → a fresh sampler, which draws from what the storage holds and its seed alone.
        seed: seed of the study.
        weights: how often each choice of a key is drawn at random.
        startup: so many finished trials end the drawing at random; None: it never ends.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        weights: Mapping[str, tuple[float, ...]],
        startup: int | None,
    ) -> None:
        self._make = make
        self._seed = seed
        self._weights = dict(weights)
        self._startup = startup

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._make(trial_seed(self._seed, trial.number)).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._make(trial_seed(self._seed, trial.number)).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        seed = trial_seed(self._seed, trial.number, param_name)
        weights = self._weights.get(param_name)
        if weights and isinstance(param_distribution, CategoricalDistribution) and self._at_random(study):
            return random.Random(seed).choices(param_distribution.choices, weights)[0]
        return self._make(seed).sample_independent(study, trial, param_name, param_distribution)

    def _at_random(self, study: Study) -> bool:
        if self._startup is None:
            return True
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return len(finished) < self._startup


class Staged(BaseSampler):
    """One sampler for the middle of a study, another for its beginning and its end.

    Args:
        middle: makes the sampler of the middle, which is costly to load or to run on many trials.
        other: the one before and after.
        finished: with so many finished trials a draw is the middle's.
    """

    def __init__(self, middle: Callable[[], BaseSampler], other: BaseSampler, finished: range) -> None:
        self._middle = middle
        self._other = other
        self._finished = finished

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._now(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now(study).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._now(study).sample_independent(study, trial, param_name, param_distribution)

    def _now(self, study: Study) -> BaseSampler:
        finished = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        return self._middle() if finished in self._finished else self._other


class GridOfPoints(BaseSampler):
    """Hands out points in their order, one for each trial.

    A trial that was enqueued (trial 0, a trial that is tried again) takes its own point off the list and no other.
    Which point a trial gets follows from the trials with lower numbers alone, so two processes never share one.

    Args:
        points: values by key.
        after: draws what the points do not say, and all once they are used up.
    """

    def __init__(self, points: Sequence[Mapping[str, Value]], after: BaseSampler) -> None:
        self._points = [dict(point) for point in points]
        self._after = after

    def point(self, study: Study, number: int) -> Mapping[str, Value]:
        """The point of the trial with this number; empty once all are used up."""
        left = list(self._points)
        for trial in study.get_trials(deepcopy=False)[:number]:
            enqueued = trial.system_attrs.get("fixed_params")
            if not left:
                break
            if enqueued is None:
                left.pop(0)
            elif enqueued in left:
                left.remove(enqueued)
        return left[0] if left else {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        point = self.point(study, trial.number)
        if param_name in point:
            return point[param_name]
        return self._after.sample_independent(study, trial, param_name, param_distribution)
