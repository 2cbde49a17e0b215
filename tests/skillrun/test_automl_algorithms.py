"""Algorithms by their published names: what is offered, what is refused, and that a seed gives the same trials."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.automl import Space, build_space
from skillrun.automl.algorithms import ALGORITHMS, Effort, canonical, resolve
from skillrun.errors import UsageError

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)

AUGMENT = "dataset.classify.augmentation_config.augment"
EFFORT = Effort(trials=16, startup=5)


def space(searches: Sequence[str] = (), **more: Any) -> Space:
    return build_space(bank.schema("visual_changenet", "train"), "classify", {}, searches, **more)


def study_of(name: str, seed: int = 7, found: Space | None = None, effort: Effort = EFFORT, **more: Any) -> Any:
    algorithm = resolve(name, seed, found or space(), effort)
    more.setdefault("study_name", "study")
    return optuna.create_study(
        sampler=algorithm.sampler, pruner=algorithm.pruner, direction="maximize", load_if_exists=True, **more
    )


def score(values: dict[str, Any], epoch: int = 27) -> float:
    """A smooth stand-in for a metric: best at lr=2e-4 with augmentation, better with every epoch."""
    return -abs(math.log10(values["train.optim.lr"]) + 3.7) + 0.3 * values.get(AUGMENT, False) - 1.0 / epoch


def search(study: Any, found: Space, trials: int) -> list[dict[str, Any]]:
    """Ask, report every epoch until pruned, tell: one trial after another. Returns the values of all trials."""
    drawn = []
    for _ in range(trials):
        trial = study.ask()
        values = found.suggest(trial)
        drawn.append(values)
        for epoch in range(1, 28):
            trial.report(score(values, epoch), epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, score(values))
    return drawn


# Names


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_offered_name_searches_and_says_what_its_seed_promises(name: str) -> None:
    found = space()
    study = study_of(name)
    study.enqueue_trial(found.defaults())
    drawn = search(study, found, 8)
    assert drawn[0] == found.defaults()
    assert len({json.dumps(values, sort_keys=True) for values in drawn}) == 8
    assert "seed" in resolve(name, 7, found, EFFORT).promise


@pytest.mark.parametrize(
    ("alias", "name"), [("b", "bayesian"), ("h", "hyperband"), ("BOHB", "bohb"), ("cma-es", "cmaes")]
)
def test_published_aliases_mean_their_algorithm(alias: str, name: str) -> None:
    assert canonical(alias) == name


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("pbt", "asha"),
        ("bfbo", "bayesian"),
        ("dehb", "bohb"),
        ("hyperband_es", "hyperband"),
        ("hes", "hyperband"),
        ("llm", "bayesian"),
        ("hybrid", "bayesian"),
        ("autoresearch", "bayesian"),
        ("baysian", "bayesian"),
        ("hyper-band", "hyperband"),
        ("nonsense", "bayesian"),
    ],
)
def test_what_is_not_offered_is_refused_with_the_nearest_that_is(name: str, instead: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name, 1, space())
    assert caught.value.code == "E_AUTOML_ALGORITHM"
    assert caught.value.fix == f"--algorithm {instead}"


def without(package: str, call: str) -> str:
    """The fix that a process without this package is told when it resolves ``call``."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from skillrun.automl import Effort, Space; from skillrun.automl.algorithms import resolve\n"
        "from skillrun.automl.param import Param\n"
        "from skillrun.errors import PreflightError\n"
        "space = Space(tuple(Param(name, 'float', 0.5, 0, 1) for name in 'ab'))\n"
        f"try: print(resolve({call}).promise)\n"
        "except PreflightError as error: print(error.fix)\n"
    )
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_an_algorithm_whose_package_is_missing_says_how_to_install_it() -> None:
    assert without("cmaes", "'cmaes', 1, space") == "pip install cmaes"


def test_bayesian_asks_a_gaussian_process_where_its_packages_are_and_a_study_keeps_to_it() -> None:
    assert "Gaussian process" in resolve("bayesian", 1, space()).promise
    assert "Parzen" in resolve("bayesian", 1, space(), Effort(process=False)).promise
    assert "Parzen" in without("scipy", "'bayesian', 1, space")
    assert without("scipy", "'bayesian', 1, space, Effort(process=True)") == "pip install scipy"


def test_a_gaussian_process_draws_only_the_middle_of_a_study() -> None:
    found = space()
    estimators = study_of("bayesian", effort=replace(EFFORT, process=False))
    process = study_of("bayesian", effort=replace(EFFORT, process=True))
    by_estimators, by_process = (search(study, found, 14) for study in (estimators, process))
    assert by_estimators[:5] == by_process[:5]
    assert by_estimators[5:] != by_process[5:]


def test_without_optuna_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from skillrun.automl import Space; from skillrun.automl.algorithms import resolve\n"
        "from skillrun.errors import PreflightError\n"
        "try: resolve('bayesian', 1, Space(()))\n"
        "except PreflightError as error: print(error.fix)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "pip install 'skillrun[automl]'"


def test_an_algorithm_that_can_not_search_this_way_is_refused() -> None:
    with pytest.raises(UsageError, match="one metric"):
        resolve("asha", 1, space(), Effort(objectives=2))
    with pytest.raises(UsageError, match="before their end"):
        resolve("bohb", 1, space(), Effort(epochs=1))
    with pytest.raises(UsageError, match="has 1"):
        resolve("cmaes", 1, space(["train.optim.lr"], only=True))


# Same seed, same trials

RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_automl_algorithms import EFFORT, search, space, study_of
import test_automl_algorithms as here
found = space()
print(json.dumps({name: search(study_of(name), found, 16) for name in here.ALGORITHMS}))
"""


def test_three_processes_with_one_seed_draw_identical_trials() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", RUN, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    ]
    assert len(set(outputs)) == 1
    drawn = json.loads(outputs[0])
    assert drawn.keys() == set(ALGORITHMS)
    assert drawn["bayesian"] == search(study_of("bayesian"), space(), 16)


def test_another_seed_draws_other_trials() -> None:
    found = space()
    assert search(study_of("random", 1), found, 3) != search(study_of("random", 2), found, 3)


@pytest.mark.parametrize("name", ["random", "hyperband", "asha"])
def test_a_trial_drawn_at_random_depends_on_its_number_alone(name: str) -> None:
    found = space()
    undisturbed = search(study_of(name), found, 8)
    study = study_of(name)
    trials = [study.ask() for _ in range(8)]
    backwards = {trial.number: found.suggest(trial) for trial in reversed(trials)}
    assert [backwards[number] for number in range(8)] == undisturbed


def test_a_further_searched_key_changes_no_other_key_of_a_random_trial() -> None:
    fewer = search(study_of("random", 3), space(), 5)
    wider = space(["batch_size=4..64"])
    more = search(study_of("random", 3, wider), wider, 5)
    for one, other in zip(fewer, more, strict=True):
        assert one.items() <= other.items()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_study_opened_anew_from_its_journal_draws_what_an_undisturbed_one_would_have(
    name: str, tmp_path: Path
) -> None:
    found = space()
    undisturbed = search(study_of(name), found, 16)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    first = search(study_of(name, storage=optuna.storages.JournalStorage(backend)), found, 9)
    second = search(study_of(name, storage=optuna.storages.JournalStorage(backend)), found, 7)
    assert first + second == undisturbed


def test_the_order_in_which_trials_finished_changes_no_draw_of_bayesian() -> None:
    found, drawn = space(), []
    for order in (range(12), reversed(range(12))):
        study = study_of("bayesian")
        trials = [study.ask() for _ in range(12)]
        values = [found.suggest(trial) for trial in trials]
        for number in order:
            study.tell(trials[number], score(values[number]))
        drawn.append((values, found.suggest(study.ask())))
    assert drawn[0] == drawn[1]


def test_trials_that_run_side_by_side_differ() -> None:
    found, study = space(), study_of("bayesian")
    search(study, found, 12)
    running = [found.suggest(study.ask()) for _ in range(6)]
    assert len({values["train.optim.lr"] for values in running}) == 6


# How values are drawn


def kolmogorov_smirnov(shares: list[float]) -> float:
    """Largest distance of the empirical distribution to the uniform one on 0 to 1."""
    ordered, count = sorted(shares), len(shares)
    return max(max((place + 1) / count - share, share - place / count) for place, share in enumerate(ordered))


def test_the_learning_rate_is_drawn_log_uniformly() -> None:
    found = space(["train.optim.lr=1e-6..1e-2:log"], only=True)
    study = study_of("random", 5, found)
    rates = [float(found.suggest(study.ask())["train.optim.lr"] or 0) for _ in range(1000)]
    critical = 1.63 / math.sqrt(1000)  # one uniform sample in a hundred is farther away
    assert kolmogorov_smirnov([(math.log10(rate) + 6) / 4 for rate in rates]) < critical
    assert kolmogorov_smirnov([rate / 1e-2 for rate in rates]) > 10 * critical


def test_weights_of_the_schema_decide_how_often_a_choice_is_drawn() -> None:
    node = {"type": "string", "enum": ["a", "b", "c"], "default": "a", "option_weights": [0.1, 0.3, 0.6]}
    schema = {"properties": {"x": node}, "default": {"x": "a"}, "automl_default_parameters": ["x"]}
    found = build_space(schema, "classify", {})
    for name in ("random", "bayesian"):
        study = study_of(name, 2, found, Effort(startup=1000))
        counts = Counter(found.suggest(study.ask())["x"] for _ in range(600))
        assert counts["a"] == pytest.approx(60, abs=25)
        assert counts["c"] == pytest.approx(360, abs=40)


def test_bayesian_finds_what_random_does_not() -> None:
    found = space()
    best = {}
    for name in ("random", "bayesian"):
        study = study_of(name, 11, found, Effort(startup=10))
        best[name] = max(score(values) for values in search(study, found, 60))
    assert best["bayesian"] > best["random"]


# The grid


def test_a_grid_gives_every_point_once_also_where_trials_run_side_by_side_and_are_tried_again() -> None:
    found = space(["train.optim.lr", "batch_size=8,16,32", "train.optim.policy=linear,step"], only=True)
    effort = Effort(trials=13)
    points = found.grid(13)
    study = study_of("grid", 1, found, effort)
    study.enqueue_trial(found.defaults())
    drawn = []
    while len(drawn) < len(points):
        trial = study.ask()
        drawn.append(found.suggest(trial))
        if trial.number == 4:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(drawn.pop())
    assert sorted(map(str, drawn)) == sorted(map(str, points))
    assert resolve("grid", 1, found, effort).points == len(points)


def test_after_the_last_point_a_grid_goes_on_at_random() -> None:
    found = space(["train.optim.lr=1e-6..1e-2:log"], only=True)
    study = study_of("grid", 1, found, Effort(trials=3))
    drawn = search(study, found, 6)
    assert drawn[:3] == found.grid(3)
    assert len({values["train.optim.lr"] for values in drawn}) == 6


# Rungs


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb"])
def test_trials_are_compared_at_rungs_and_most_end_there(name: str) -> None:
    found = space()
    study = study_of(name, 3, found)
    search(study, found, 40)
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert 10 < len(pruned) < 40
    assert {trial.last_step for trial in pruned} <= set(resolve(name, 3, found, EFFORT).rungs) | {27}
    assert resolve(name, 3, found, EFFORT).rungs == (1, 3, 9)


def test_others_have_no_rungs_and_end_no_trial_early() -> None:
    found = space()
    study = study_of("bayesian", 3, found)
    search(study, found, 12)
    assert resolve("bayesian", 3, found).rungs == ()
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
