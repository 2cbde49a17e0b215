"""AutoML: what is searched (the space) and how (the algorithm). Optuna is loaded only where a search is made."""

from __future__ import annotations

from skillrun.automl.algorithms import ALGORITHMS, Algorithm, Effort, resolve
from skillrun.automl.build import build_space
from skillrun.automl.param import Condition, Param
from skillrun.automl.space import Space

__all__ = ["ALGORITHMS", "Algorithm", "Condition", "Effort", "Param", "Space", "build_space", "resolve"]
