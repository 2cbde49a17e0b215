"""What a finished study tells about its keys, with nothing installed but what a search needs."""

from __future__ import annotations

import pytest

optuna = pytest.importorskip("optuna")

from skillrun.automl.result import importance  # noqa: E402 - only with Optuna


def study_of(trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("train.optim.lr", -1, 1) ** 2 + 0.01 * trial.suggest_int("epochs", 0, 3)

    study.optimize(objective, n_trials=trials)
    return study


def test_the_key_that_decides_comes_first() -> None:
    found = importance(study_of(30))
    assert list(found) == ["train.optim.lr", "epochs"]
    assert sum(found.values()) == pytest.approx(1)


def test_too_few_trials_tell_nothing() -> None:
    assert importance(study_of(3)) == {}
