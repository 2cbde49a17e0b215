"""The driver of a study, with trainings that are over at once; the journal, with many writers and killed ones."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from skillrun.automl.budget import Budget, Clock
from skillrun.automl.driver import RESTARTS, Driver
from skillrun.automl.journal import open_journal
from skillrun.automl.ledger import Ledger, Row, best_row, front, read_rows, rows
from skillrun.automl.param import Param, Value
from skillrun.automl.result import importance
from skillrun.automl.settings import Settings
from skillrun.automl.space import Space
from skillrun.automl.trainer import Epoch, Look, Wish
from skillrun.errors import BackendError, ConflictError, RunFailedError, UsageError
from skillrun.prepare import Request

pytest.importorskip("optuna")

LR = Param("train.optim.lr", "float", 1e-5, 1e-6, 1e-2, log=True)
MARGIN = Param("model.classify.eval_margin", "float", 0.3, 0.05, 0.95)
SPACE = Space((LR, MARGIN))
FORK = multiprocessing.get_context("fork")


def settings(**changes: Any) -> Settings:
    base = Settings(
        study_id="261121-000000-automl-0000",
        created="2026-11-21T00:00:00+00:00",
        cwd="/",
        request=Request("visual_changenet", "train"),
        action="train",
        task="classify",
        space=SPACE,
        algorithm="random",
        seed=3,
        budget=Budget(trials=6),
        metric="val_ap",
        direction="maximize",
        num_epochs=9,
    )
    return replace(base, **changes)


def quality(values: Mapping[str, Value]) -> float:
    """Best at a learning rate of 1e-4."""
    return 1 / (1 + abs(math.log10(float(str(values["train.optim.lr"]))) + 4))


@dataclass
class AtOnce:
    """A trainer whose trainings end between two looks; ``script`` says otherwise for some runs.

    Attributes:
        script: trial → looks to give, one after the other; the last is repeated.
    """

    script: dict[int, list[Look]] = field(default_factory=dict)
    epochs: int = 1
    slots: int = 1
    log: list[tuple[str, str]] = field(default_factory=list)
    wishes: dict[str, Wish] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    refuse: Callable[[Wish], None] = lambda wish: None
    keep_log: bool = True
    count: int = 0

    def free(self) -> bool:
        return len(self.running) < self.slots

    def free_for(self, run_id: str) -> bool:
        return self.free()

    def plan(self, wish: Wish) -> str:
        self.refuse(wish)
        self.count += 1
        run_id = f"run-{wish.number}-{self.count}"
        self.wishes[run_id] = wish
        return run_id

    def start(self, run_id: str) -> None:
        self.running.add(run_id)
        self._note("start", run_id)

    def look(self, run_id: str) -> Look:
        if run_id not in self.running:
            return Look("absent")
        wish = self.wishes[run_id]
        looks = self.script.get(wish.number)
        if looks:
            return looks.pop(0) if len(looks) > 1 else looks[0]
        value = quality(wish.values)
        told = tuple(Epoch(number, value * number / self.epochs, 1.0) for number in range(1, self.epochs + 1))
        return Look("succeeded", told, self.epochs)

    def stop(self, run_id: str) -> None:
        self._note("stop", run_id)
        self.script[self.wishes[run_id].number] = [Look("stopped", passed=1)]

    def go_on(self, run_id: str) -> None:
        self._note("go_on", run_id)

    def smaller_batch(self, run_id: str) -> int:
        return (self.wishes[run_id].batch_size or 16) // 2

    def done(self, run_id: str) -> None:
        self.running.discard(run_id)
        self.wishes.pop(run_id, None)

    def _note(self, what: str, run_id: str) -> None:
        if self.keep_log:
            self.log.append((what, run_id))


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def drive(
    folder: Path, decided: Settings, trainer: Any, *, now: Callable[[], float] = time.monotonic, said: Any = None
) -> list[Row]:
    ledger = Ledger(folder / "journal.log", decided)
    lines = said if said is not None else []
    Driver(decided, ledger, trainer, Clock(folder / "clock.json", now), lines.append, poll_s=0).run()
    return rows(ledger.trials())


def test_trial_0_is_the_templates_own_and_every_trial_is_counted(tmp_path: Path) -> None:
    found = drive(tmp_path, settings(), AtOnce())
    assert [row.number for row in found] == list(range(6))
    assert {row.state for row in found} == {"complete"}
    assert found[0].values == {"train.optim.lr": 1e-5, "model.classify.eval_margin": 0.3}
    best = best_row(found, settings().better)
    assert best is not None
    assert best.value == max(row.value or 0 for row in found)


def test_the_same_seed_draws_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    def values(name: str, **changes: Any) -> list[Any]:
        (tmp_path / name).mkdir()
        return [row.values for row in drive(tmp_path / name, settings(**changes), AtOnce())]

    assert values("a", algorithm="bayesian") == values("b", algorithm="bayesian")
    assert values("c") != values("d", seed=4)


def test_a_driver_that_comes_back_does_nothing_to_a_study_that_has_ended(tmp_path: Path) -> None:
    first = drive(tmp_path, settings(), AtOnce())
    trainer = AtOnce()
    assert drive(tmp_path, settings(), trainer) == first
    assert trainer.log == []


def test_more_budget_goes_on_with_new_trials(tmp_path: Path) -> None:
    first = drive(tmp_path, settings(), AtOnce())
    longer = drive(tmp_path, settings(budget=Budget(trials=8)), AtOnce())
    assert longer[:6] == first
    assert len(longer) == 8


def test_the_epoch_budget_starts_no_trial_that_would_not_fit(tmp_path: Path) -> None:
    found = drive(tmp_path, settings(budget=Budget(epochs=30)), AtOnce(epochs=9))
    assert [row.epochs for row in found] == [9, 9, 9]


def test_the_end_of_the_time_stops_trials_and_counts_what_they_reached(tmp_path: Path) -> None:
    now = Now()
    looks = {0: [Look("running", (Epoch(1, 0.5, 1.0),), 1), Look("running")], 1: [Look("running")]}

    class Slow(AtOnce):
        def look(self, run_id: str) -> Look:
            now.seconds += 10
            return super().look(run_id)

    trainer = Slow(script=looks, slots=2)
    found = drive(tmp_path, settings(budget=Budget(seconds=60)), trainer, now=now)
    assert [(row.state, row.value) for row in found] == [("complete", 0.5), ("stopped", None)]
    assert found[0].reason == "stopped by the end of the time"
    assert found[1].reason.endswith("before its first validation")
    assert [what for what, _ in trainer.log].count("stop") == 2


def test_time_counts_over_all_drivers(tmp_path: Path) -> None:
    now = Now()
    clock = Clock(tmp_path / "clock.json", now)
    now.seconds = 100
    clock.keep(at_once=True)
    now.seconds = 5000
    later = Clock(tmp_path / "clock.json", now)
    now.seconds = 5007
    assert later.seconds == 107


def test_a_failed_trial_is_a_failure_and_never_a_score(tmp_path: Path) -> None:
    broken = Look("failed", (Epoch(1, 99.0),), 1, "E_RUN_LOSS", "the loss is no number")
    found = drive(tmp_path, settings(), AtOnce(script={2: [broken]}))
    assert (found[2].state, found[2].value, found[2].cause) == ("failed", None, "E_RUN_LOSS")
    best = best_row(found, settings().better)
    assert best is not None
    assert best.number != 2


@pytest.mark.parametrize("budget", [Budget(trials=20), Budget(trials=2), Budget(trials=1)])
def test_a_study_whose_trials_all_fail_for_one_reason_stops_early_with_exit_9(tmp_path: Path, budget: Budget) -> None:
    broken = Look("failed", code="E_DATA_IMAGE", message="images/7.jpg can not be read")
    trainer = AtOnce(script={number: [broken] for number in range(20)})
    with pytest.raises(RunFailedError) as caught:
        drive(tmp_path, settings(budget=budget), trainer)
    assert (caught.value.exit_code, caught.value.code) == (9, "E_AUTOML_ALL_FAILED")
    assert "images/7.jpg can not be read" in caught.value.message
    assert len(trainer.log) == min(3, budget.trials)


def test_failures_for_different_reasons_do_not_stop_a_study_before_its_end(tmp_path: Path) -> None:
    script = {n: [Look("failed", code=f"E_{n}", message=f"reason {n}")] for n in range(5)}
    found = drive(tmp_path, settings(), AtOnce(script=script))
    assert [row.state for row in found] == ["failed"] * 5 + ["complete"]


def test_out_of_memory_is_tried_once_more_with_a_smaller_batch_and_said(tmp_path: Path) -> None:
    full = Look("failed", code="E_RUN_MEMORY", message="a step needs more memory")
    good = Look("succeeded", (Epoch(1, 0.7, 1.0),), 1)
    said: list[str] = []
    found = drive(tmp_path, settings(), AtOnce(script={1: [full, good], 2: [full, full]}), said=said)
    assert [row.state for row in found] == ["complete", "complete", "failed", "complete", "complete", "complete"]
    assert "trial 1 ran out of memory: once more with batches of 8" in said
    assert len({str(row.values) for row in found}) == 6


def test_a_lost_trial_goes_on_and_one_that_is_lost_again_and_again_fails(tmp_path: Path) -> None:
    lost, good = Look("lost", message="killed"), Look("succeeded", (Epoch(1, 0.7, 1.0),), 1)
    trainer = AtOnce(script={1: [lost, lost, good], 2: [lost]})
    found = drive(tmp_path, settings(), trainer)
    assert [row.state for row in found][:3] == ["complete", "complete", "failed"]
    assert [what for what, _ in trainer.log].count("go_on") == 2 + RESTARTS


def test_a_trial_that_is_stopped_by_hand_counts_with_what_it_reached(tmp_path: Path) -> None:
    found = drive(tmp_path, settings(), AtOnce(script={1: [Look("stopped", (Epoch(2, 0.4, 1.0),), 2)]}))
    assert (found[1].state, found[1].value, found[1].reason) == ("complete", 0.4, "stopped by hand")


def test_values_that_make_no_spec_fail_their_trial_only(tmp_path: Path) -> None:
    def refuse(wish: Wish) -> None:
        if wish.number == 1:
            raise UsageError("E_SPEC_RULE", "these two do not go together", "change one")

    found = drive(tmp_path, settings(), AtOnce(refuse=refuse))
    assert [row.state for row in found] == ["complete", "failed"] + ["complete"] * 4


def test_a_host_that_can_not_start_trials_ends_the_driving_and_loses_nothing(tmp_path: Path) -> None:
    def refuse(wish: Wish) -> None:
        if wish.number == 2:
            raise BackendError("E_LAUNCH", "no space left on device", "make room")

    with pytest.raises(BackendError):
        drive(tmp_path, settings(), AtOnce(refuse=refuse))
    (tmp_path / "straight").mkdir()
    again = drive(tmp_path, settings(), AtOnce())
    straight = drive(tmp_path / "straight", settings(), AtOnce())
    assert [row.values for row in again] == [row.values for row in straight]
    assert {row.state for row in again} == {"complete"}


def test_a_place_that_others_took_meanwhile_is_waited_for(tmp_path: Path) -> None:
    refusals = [1, 1, 1]

    class Busy(AtOnce):
        def start(self, run_id: str) -> None:
            if refusals and self.wishes[run_id].number == 2:
                refusals.pop()
                raise ConflictError("E_GPU_BUSY", "GPU 0 is busy", "--wait-gpu 30m", retryable=True)
            super().start(run_id)

    said: list[str] = []
    found = drive(tmp_path, settings(), Busy(), said=said)
    assert {row.state for row in found} == {"complete"}
    assert [line for line in said if "waits" in line] == ["trial 2 waits: GPU 0 is busy"]


def test_the_end_of_the_time_ends_a_trial_that_still_waits(tmp_path: Path) -> None:
    now = Now()

    class Busy(AtOnce):
        def start(self, run_id: str) -> None:
            now.seconds += 30
            raise ConflictError("E_GPU_BUSY", "GPU 0 is busy", "--wait-gpu 30m", retryable=True)

        def look(self, run_id: str) -> Look:
            return Look("absent")

    (only,) = drive(tmp_path, settings(budget=Budget(seconds=100)), Busy(), now=now)
    assert (only.state, only.value) == ("stopped", None)


def test_reading_a_study_writes_nothing(tmp_path: Path) -> None:
    drive(tmp_path, settings(), AtOnce())
    journal = tmp_path / "journal.log"
    with journal.open("ab") as stream:
        stream.write(b'{"op_code":4,"wor')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(read_rows(journal, settings())) == 6
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert read_rows(tmp_path / "none.log", settings()) == []
    assert not (tmp_path / "none.log").exists()


class Stepwise(AtOnce):
    """One epoch a look, so that a stop comes in time; a stopped run goes on where it was."""

    def __init__(self, value: Callable[[Wish, int], float]) -> None:
        super().__init__()
        self.value = value
        self.trained: dict[str, int] = {}
        self.told: dict[str, int] = {}

    def look(self, run_id: str) -> Look:
        going = run_id in self.running
        self.trained[run_id] = done = self.trained.get(run_id, 0) + going
        known, self.told[run_id] = self.told.get(run_id, 0), done
        epochs = tuple(Epoch(n, self.value(self.wishes[run_id], n), 1.0) for n in range(known + 1, done + 1))
        state: Any = "succeeded" if done == 9 else "running" if going else "stopped"
        return Look(state, epochs, done)

    def stop(self, run_id: str) -> None:
        self.running.discard(run_id)
        self._note("stop", run_id)

    def go_on(self, run_id: str) -> None:
        self.running.add(run_id)
        self._note("go_on", run_id)

    def done(self, run_id: str) -> None:
        self.running.discard(run_id)
        self.told.pop(run_id, None)


def test_trials_that_are_not_among_the_best_stop_at_a_rung(tmp_path: Path) -> None:
    decided = settings(algorithm="asha", budget=Budget(trials=12))
    found = drive(tmp_path, decided, Stepwise(lambda wish, epoch: quality(wish.values) * epoch))
    by_state = {state: [row for row in found if row.state == state] for state in ("complete", "stopped")}
    assert by_state["complete"] and by_state["stopped"]
    assert {row.epochs for row in by_state["complete"]} == {9}
    assert {row.reason for row in by_state["stopped"]} <= {"stopped after epoch 1", "stopped after epoch 3"}
    assert sum(row.epochs for row in found) < 12 * 9
    best = best_row(found, decided.better)
    assert best is not None
    assert best.state == "complete"


def falling(wish: Wish, epoch: int) -> float:
    """The first trial is the best at the first rung, the second is next, all later ones are worse."""
    return epoch / (1 + wish.number)


def test_a_paused_trial_goes_on_from_its_checkpoint_once_it_is_among_the_best(tmp_path: Path) -> None:
    decided, trainer, said = settings(algorithm="asha", budget=Budget(trials=9)), Stepwise(falling), list[str]()
    found = drive(tmp_path, decided, trainer, said=said)
    # Of nine trials three may pass the first rung: the first at once, two when six and nine had reached it.
    assert [row.epochs for row in found[:4]] == [9, 3, 3, 1]
    assert [run for what, run in trainer.log if what == "go_on"] == [found[1].run_id, found[2].run_id]
    assert sum(what == "start" for what, _ in trainer.log) == 9
    assert "trial 1 is among the best after epoch 1 by now" in said
    assert [row.seconds for row in found[:3]] == [9, 3, 3]
    assert {row.state for row in found[1:]} == {"stopped"}


def test_a_paused_trial_is_open_to_the_next_driver_and_ended_early_to_samplers(tmp_path: Path) -> None:
    decided, trainer = settings(algorithm="asha", budget=Budget(trials=9)), Stepwise(falling)
    ledger = Ledger(tmp_path / "journal.log", decided)
    clock = Clock(tmp_path / "clock.json")

    def leave() -> bool:
        return sum(what == "stop" for what, _ in trainer.log) == 3

    assert not Driver(decided, ledger, trainer, clock, lambda line: None, poll_s=0, leave=leave).run()
    states = [row.state for row in rows(ledger.trials())]
    assert states[:3] == ["complete", "paused", "paused"]
    assert [trial.state.name for trial in ledger.study.get_trials(deepcopy=False)[:3]] == [
        "COMPLETE",
        "PRUNED",
        "PRUNED",
    ]
    found = drive(tmp_path, decided, trainer)
    assert [row.epochs for row in found[:4]] == [9, 3, 3, 1]
    assert not [row for row in found if row.state in ("paused", "running")]


def test_paused_trials_count_in_a_budget_of_epochs(tmp_path: Path) -> None:
    decided = settings(algorithm="asha", budget=Budget(epochs=30))
    found = drive(tmp_path, decided, Stepwise(falling))
    assert 20 <= sum(row.epochs for row in found) <= 30


class Timed(AtOnce):
    """The better a trial, the slower its network; one that is lost measured nothing."""

    def look(self, run_id: str) -> Look:
        look, number = super().look(run_id), self.wishes[run_id].number
        return replace(look, latency_ms=None if number == 2 else 100 * quality(self.wishes[run_id].values))


def test_latency_is_a_second_goal_and_no_trial_on_the_front_is_beaten_in_both(tmp_path: Path) -> None:
    decided = settings(algorithm="bayesian", budget=Budget(trials=14), second="latency_ms")
    found = drive(tmp_path, decided, Timed())
    assert [row.number for row in found if row.state == "failed"] == [2]
    assert found[2].reason == "the training measured no latency_ms"
    best = front(found, decided.better)
    assert len(best) == 13  # here speed costs quality, so every trial is worth its while
    assert [row.second for row in best] == sorted(row.second or 0 for row in best)
    beaten = replace(best[0], number=99, value=(best[0].value or 0) / 2)
    assert front([*found, beaten], decided.better) == best
    assert importance(Ledger(tmp_path / "journal.log", decided).study).keys() == {LR.key, MARGIN.key}


def test_a_trial_that_ends_before_its_latency_is_measured_has_no_value(tmp_path: Path) -> None:
    decided = settings(algorithm="random", budget=Budget(trials=2), second="latency_ms")
    trainer = AtOnce(script={0: [Look("running", (Epoch(1, 0.5, 1.0),), 1), Look("stopped", passed=1)]})
    trainer.script[1] = [Look("succeeded", (Epoch(1, 0.5, 1.0),), 1, latency_ms=7.0)]
    first, second = drive(tmp_path, decided, trainer)
    assert (first.state, first.value, first.reason) == (
        "stopped",
        None,
        "stopped by hand, before latency_ms was measured",
    )
    assert (second.value, second.second) == (0.5, 7.0)


def test_leaving_keeps_open_trials_for_the_next_driver(tmp_path: Path) -> None:
    decided, trainer = settings(), AtOnce(script={1: [Look("running")]}, slots=1)
    ledger, asked = Ledger(tmp_path / "journal.log", decided), []

    def leave() -> bool:
        asked.append(1)
        return len(asked) > 12

    driver = Driver(decided, ledger, trainer, Clock(tmp_path / "clock.json"), lambda line: None, poll_s=0, leave=leave)
    assert driver.run() is False
    assert [row.state for row in rows(ledger.trials())] == ["complete", "running"]
    trainer.script = {}
    found = drive(tmp_path, decided, trainer)
    assert {row.state for row in found} == {"complete"}
    assert [run for what, run in trainer.log if what == "start" and run.startswith("run-1-")] == ["run-1-2"]


def test_a_thousand_trials_take_little_time_and_no_growing_memory(tmp_path: Path) -> None:
    decided = settings(budget=Budget(trials=1000))
    sizes: list[int] = []

    class Measured(AtOnce):
        def start(self, run_id: str) -> None:
            super().start(run_id)
            if self.count in (300, 650, 1000):
                sizes.append(tracemalloc.get_traced_memory()[0])

    trainer = Measured(keep_log=False, slots=4)
    tracemalloc.start()
    began = time.monotonic()
    ledger = Ledger(tmp_path / "journal.log", decided)
    Driver(decided, ledger, trainer, Clock(tmp_path / "clock.json"), lambda line: None, poll_s=0).run()
    seconds = time.monotonic() - began
    tracemalloc.stop()
    assert len(ledger.trials()) == 1000
    assert not trainer.wishes
    sys.stderr.write(f"1000 trials: {seconds:.1f} s with memory traced, {sizes[-1] / 1e6:.1f} MB\n")
    # What grows is the journal's own copy of each trial, a few kB; nothing that grows faster than the trials.
    assert sizes[2] - sizes[1] < 1.5 * (sizes[1] - sizes[0]) + 1_000_000
    assert sizes[2] < 30_000_000


def _write_trials(journal: Path, count: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="shared", storage=open_journal(journal))
    for _ in range(count):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        trial.report(value, 1)
        study.tell(trial, value)


def test_eight_processes_write_one_journal_without_damage(tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = tmp_path / "journal.log"
    optuna.create_study(study_name="shared", storage=open_journal(journal), direction="maximize")
    writers = [FORK.Process(target=_write_trials, args=(journal, 15)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(90)
        assert writer.exitcode == 0
    trials = optuna.load_study(study_name="shared", storage=open_journal(journal)).trials
    assert sorted(trial.number for trial in trials) == list(range(120))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert all(trial.value == trial.params["x"] for trial in trials)


def test_a_last_line_that_was_cut_short_is_taken_off(tmp_path: Path) -> None:
    first = drive(tmp_path, settings(budget=Budget(trials=3)), AtOnce())
    with (tmp_path / "journal.log").open("ab") as stream:
        stream.write(b'{"op_code":4,"wor')
    assert drive(tmp_path, settings(), AtOnce())[:3] == first


def test_the_lock_of_a_process_that_was_killed_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from skillrun.automl.journal import OwnedLock\n"
        "OwnedLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    journal = tmp_path / "journal.log"
    with subprocess.Popen([sys.executable, "-c", code, str(journal)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    began = time.monotonic()
    assert len(drive(tmp_path, settings(), AtOnce())) == 6
    assert time.monotonic() - began < 25, "waited for the grace time of a foreign holder"
