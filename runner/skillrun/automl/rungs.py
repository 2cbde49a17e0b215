"""Trials that pause at a rung, and which of them go on (Li et al., "A System for Massively Parallel Hyperparameter
Tuning", 2020, algorithm 2).

Optuna's pruner decides at once whether a trial trains past a rung; it knows no pause. Here a trial that it would end
stays open, and goes on from its checkpoint as soon as it is among the best of those that reached its rung by now.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner, HyperbandPruner
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from skillrun.automl.ledger import RUN, Note

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# Under this name, with the number of the rung, Optuna's pruner notes the value that a trial had there.
_REACHED = "completed_rung_"


class PausingStudy(Study):
    """Shows paused trials as ended early to samplers: their values count, and nobody waits for them."""

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [_seen(trial) for trial in super()._get_trials(deepcopy=deepcopy, states=None, use_cache=use_cache)]
        return found if states is None else [trial for trial in found if trial.state in states]


def is_paused(trial: FrozenTrial) -> bool:
    """Whether it waits at a rung."""
    return trial.state == TrialState.RUNNING and Note(**trial.user_attrs.get(RUN, {})).paused


def promotable(study: Study, trials: Sequence[FrozenTrial], reduction: int) -> list[int]:
    """Numbers of the paused trials among the best ``1/reduction`` of their rung: the furthest first, then the best."""
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    rungs: dict[tuple[int, int], list[tuple[float, FrozenTrial]]] = {}
    for trial in trials:
        bracket = _bracket(study.pruner, study, trial)
        for rung, value in enumerate(_values(trial)):
            rungs.setdefault((bracket, rung), []).append((sign * value, trial))
    found = []
    for (_, rung), reached in rungs.items():
        reached.sort(key=lambda one: (one[0], one[1].number))
        for value, trial in reached[: len(reached) // reduction]:
            if is_paused(trial) and len(list(_values(trial))) == rung + 1:
                found.append((-rung, value, trial.number))
    return [number for _, _, number in sorted(found)]


def _seen(trial: FrozenTrial) -> FrozenTrial:
    if not is_paused(trial):
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown


def _values(trial: FrozenTrial) -> Iterator[float]:
    """What it had at each rung that it reached."""
    rung = 0
    while (name := f"{_REACHED}{rung}") in trial.system_attrs:
        yield float(trial.system_attrs[name])
        rung += 1


def _bracket(pruner: BasePruner, study: Study, trial: FrozenTrial) -> int:
    return pruner._get_bracket_id(study, trial) if isinstance(pruner, HyperbandPruner) else 0
