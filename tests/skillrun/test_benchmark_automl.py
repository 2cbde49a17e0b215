"""The benchmark of the search: its surfaces have the lowest values that it counts from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PIT = (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)
RECIPE = {"optimizer": "adamw", "policy": "cosine", "batch": 16, "augment": True}
LOWEST: dict[str, dict[str, Any]] = {
    "branin": {"x": 3.14159, "y": 2.275},
    "noisy": {"x": -3.14159, "y": 12.275},
    "hartmann": {f"x{place}": value for place, value in enumerate(PIT)},
    "rosenbrock": {f"x{place}": 10.0 for place in range(4)},
    "mixed": {**RECIPE, "lr": 10**-3.5, "decay": 1e-4, "warmup": 3},
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import automl_surfaces

    return automl_surfaces


class Draw:
    """Draws at random as a trial of Optuna does."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return low * (high / low) ** self.draw.random() if log else self.draw.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self.draw.randint(low, high)

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        return self.draw.choice(choices)


@pytest.mark.parametrize("name", LOWEST)
def test_a_formula_has_its_lowest_value_where_it_says(name: str, module: Any) -> None:
    surface = module.surfaces()[name]
    assert surface.value(LOWEST[name]) == pytest.approx(surface.best, abs=1e-4)


def test_nothing_lies_below_the_lowest_value_of_a_surface(module: Any) -> None:
    for surface in module.surfaces().values():
        drawn = [surface.value(surface.space.suggest(Draw(seed))) for seed in range(300)]
        assert min(drawn) >= surface.best - 1e-4


def test_learning_curves_end_no_lower_than_the_best_one(module: Any) -> None:
    for curves in module.learning_curves().values():
        drawn = [curves.curve(curves.space.suggest(Draw(seed))) for seed in range(100)]
        assert {len(curve) for curve in drawn} == {curves.epochs}
        assert min(map(min, drawn)) >= curves.best - 1e-9


def test_a_recorded_training_is_met_exactly(module: Any) -> None:
    table = module.Recorded()
    (rate, batch, augment), curve = next(iter(table._curves.items()))
    found = table.curve({"lr": 10**rate, "batch": batch, "augment": augment})
    assert found == pytest.approx(curve)
