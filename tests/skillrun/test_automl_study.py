"""Studies: what is decided before the first trial, the folder, the runs of trials, and what is left at the end."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.automl import saved_request
from skillrun.automl.budget import Budget, clock_text, read_budget
from skillrun.automl.build import build_space
from skillrun.automl.design import METRICS, design, extended
from skillrun.automl.evaluations import Contender, Evaluation, contenders_of, headline
from skillrun.automl.ledger import Row
from skillrun.automl.page import render
from skillrun.automl.param import Value
from skillrun.automl.result import StudyResult, write_table, write_winner
from skillrun.automl.retention import Winner, remove_losers
from skillrun.automl.review import estimate, review
from skillrun.automl.runs import RunTrainer, texts_of, trial_request
from skillrun.automl.search import create, slots_of
from skillrun.automl.settings import SearchOptions, Settings
from skillrun.automl.slots import Slots
from skillrun.automl.study import StudyFolder, find_study, list_studies
from skillrun.automl.trainer import Epoch, Wish
from skillrun.backends import Quiet
from skillrun.backends.local import LocalBackend
from skillrun.data.synth import synth
from skillrun.datasets import DataSources
from skillrun.errors import ConflictError, DataError, NotFoundError, UsageError
from skillrun.hostoptions import HostOptions
from skillrun.lineage import find_parent
from skillrun.overrides import flatten, parse_value
from skillrun.plan import Plan
from skillrun.prepare import Request, prepare, spec_builder
from skillrun.runfolder import RunFolder
from skillrun.specfile import read_spec
from skillrun.watch import status

pytest.importorskip("optuna")

OPTIONS = SearchOptions(trials=3, seed=1)


@pytest.fixture
def boards(workspace: Path) -> Path:
    synth(workspace / "my boards", pairs=16, size=32, seed=5)
    return workspace / "my boards"


@pytest.fixture
def request_(workspace: Path, boards: Path) -> Request:
    sources = DataSources(str(boards / "train"), str(boards / "eval"))
    overrides = ("model.backbone.type=fan_tiny_8_p4_hybrid", "batch_size=4", "num_epochs=9")
    return Request("visual_changenet", "train", overrides=overrides, sources=sources, host=HostOptions(gpus="none"))


def space(task: str = "classify") -> Any:
    action = "train" if task == "classify" else "segment_train"
    return build_space(bank.schema("visual_changenet", action), task, {})


def settings(**changes: Any) -> Settings:
    known: dict[str, Any] = {
        "study_id": "261121-000000-automl-0000",
        "created": "2026-11-21T00:00:00+00:00",
        "cwd": "/",
        "request": Request("visual_changenet", "train", host=HostOptions(gpus="none")),
        "action": "train",
        "task": "classify",
        "space": space(),
        "algorithm": "bayesian",
        "seed": 0,
        "budget": Budget(trials=3),
        "metric": "val_ap",
        "direction": "maximize",
        "num_epochs": 9,
    }
    return Settings(**{**known, **changes})


# What is decided


def test_a_study_is_written_down_whole_and_read_back_the_same(request_: Request) -> None:
    decided = design(request_, OPTIONS)
    again = Settings.from_json(json.loads(json.dumps(decided.to_json())))
    assert again == decided
    assert again.space.hash == decided.space.hash
    assert decided.space.hash[:16] in decided.study_name


def test_a_request_reads_back_as_it_was(tmp_path: Path) -> None:
    request = Request(
        "visual_changenet",
        "train",
        overrides=("a=1",),
        spec_file=Path("spec.yaml"),
        sources=DataSources("train", "s3://bucket/eval"),
        host=HostOptions(gpus="0,1", env=("A=1",), ulimits=("memlock=-1",)),
        results="out",
        workspace=tmp_path,
    )
    standing = saved_request.standing(request)
    assert saved_request.from_json(json.loads(json.dumps(saved_request.to_json(standing)))) == standing
    assert standing.sources.train_datasets == str(Path("train").absolute())
    assert standing.sources.eval_dataset == "s3://bucket/eval"
    assert standing.spec_file == Path("spec.yaml").absolute()


def test_nothing_is_written_before_a_study_is_created(request_: Request, workspace: Path) -> None:
    before = set(workspace.rglob("*"))
    decided = design(request_, OPTIONS)
    review(decided, slots_of(decided))
    assert {path for path in workspace.rglob("*") if "studies" in path.parts} == set()
    assert set(workspace.rglob("*")) == before


def test_what_the_user_set_is_not_searched_and_reaches_every_trial(request_: Request, tmp_path: Path) -> None:
    request = replace(request_, overrides=(*request_.overrides, "train.optim.lr=0.002", "train.threads=1"))
    decided = design(request, OPTIONS)
    assert "train.optim.lr" not in {param.key for param in decided.space.params}
    assert "0.002" in decided.space.left_out["train.optim.lr"]
    folder = StudyFolder(tmp_path / decided.study_id)
    wish = Wish(1, {"train.optim.weight_decay": 0.123}, batch_size=2)
    one = prepare(trial_request(decided, folder, wish))
    assert one.spec.get("train.optim.lr") == 0.002
    assert one.spec.get("train.optim.weight_decay") == 0.123
    assert one.spec.get("dataset.classify.batch_size") == 2
    assert one.spec.get("train.optim.monitor_name") == "val_ap"
    assert one.plan.automl is not None
    assert one.plan.automl["state"] == "off"
    assert Path(one.plan.run_dir).parent.parent == folder.path
    assert one.spec.get("dataset.classify.cache_dir").endswith(f"{decided.study_id}/cache")


def test_what_the_first_weights_are_made_for_is_not_searched(request_: Request, workspace: Path) -> None:
    weights = workspace / "start.pth"
    weights.touch()
    free = {param.key for param in design(request_, OPTIONS).space.params}
    request = replace(request_, overrides=(*request_.overrides, f"train.pretrained_model_path={weights}"))
    bound = {param.key for param in design(request, OPTIONS).space.params}
    assert free - bound == {"model.classify.learnable_difference_modules"}


def test_the_baseline_is_the_checkpoint_that_the_trials_start_from(request_: Request, tmp_path: Path) -> None:
    folder = saved(tmp_path, "study")
    for name, start in (("first", "/weights/start.pth"), ("best", "/weights/start.pth"), ("cold", "")):
        run = folder.run(name)
        run.path.mkdir(parents=True)
        run.spec.write_text(f"train:\n  pretrained_model_path: '{start}'\n", encoding="utf-8")
    decided = folder.settings()
    found = contenders_of(folder, decided, "best", "first")
    assert list(found) == ["baseline", "trial 0", "best"]
    assert found["baseline"] == Contender(str(folder.run("first").path), "/weights/start.pth")
    assert list(contenders_of(folder, decided, "cold", "")) == ["best"]
    named = replace(decided, request=replace(request_, parent="/runs/earlier"))
    assert contenders_of(folder, named, "best", "first")["baseline"] == Contender("/runs/earlier")


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_drawn_values_arrive_in_the_spec_as_they_are(task: str) -> None:
    import optuna

    found = space(task)
    action = "train" if task == "classify" else "segment_train"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    builder_nodes = spec_builder("visual_changenet", action).nodes
    for _ in range(20):
        values = found.suggest(study.ask())
        for text in texts_of(values):
            key, _, raw = text.partition("=")
            back = parse_value(raw, builder_nodes[key])
            assert (back, type(back)) == (values[key], type(values[key])), text


@pytest.mark.parametrize("value", [1e-5, 1e-6, 1.5e-7, 1e20, 0.1, 1.0, 3, True, "adamw"])
def test_every_kind_of_value_is_spelled_so_that_it_reads_back(value: Value) -> None:
    (text,) = texts_of({"key": value})
    kind = {float: "number", int: "integer", bool: "boolean", str: "string"}[type(value)]
    back = parse_value(text.partition("=")[2], {"type": kind})
    assert (back, type(back)) == (value, type(value))


def test_trials_do_not_share_a_results_folder_that_the_user_chose(request_: Request, tmp_path: Path) -> None:
    decided = design(replace(request_, results=tmp_path / "out"), OPTIONS)
    folder = StudyFolder(tmp_path / decided.study_id)
    places = [prepare(trial_request(decided, folder, Wish(n, {}))).plan.results_dir for n in range(2)]
    assert places == [str(tmp_path / "out" / decided.study_id / f"trial-000{n}") for n in range(2)]


def test_bad_data_is_refused_before_a_study_is_made(request_: Request, boards: Path, workspace: Path) -> None:
    table = boards / "eval" / "dataset.csv"
    table.write_text(table.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(DataError):
        design(request_, OPTIONS)
    assert not (workspace / "studies").exists()


def test_a_search_that_goes_on_with_one_training_is_refused(request_: Request) -> None:
    with pytest.raises(UsageError) as caught:
        design(replace(request_, resume="last"), OPTIONS)
    assert caught.value.code == "E_AUTOML_RESUME"
    assert "--parent last" in caught.value.fix


@pytest.mark.parametrize(
    ("options", "overrides", "code"),
    [
        ({"direction": "minimize"}, (), "E_AUTOML_DIRECTION"),
        ({"direction": "sideways"}, (), "E_AUTOML_DIRECTION"),
        ({"metric": "latency"}, (), "E_AUTOML_OBJECTIVES"),
        ({"metric": "val_ap,val_acc"}, (), "E_AUTOML_OBJECTIVES"),
        ({"metric": "val_ap,latency", "algorithm": "asha"}, (), "E_AUTOML_ALGORITHM"),
        ({"metric": "val_ap"}, ("train.optim.monitor_name=val_loss",), "E_AUTOML_METRIC"),
        ({"time": "0"}, (), "E_AUTOML_BUDGET"),
        ({"time": "soon"}, (), "E_ARG_DURATION"),
        ({"trials": -1}, (), "E_AUTOML_BUDGET"),
        ({"algorithm": "pbt"}, (), "E_AUTOML_ALGORITHM"),
        ({"algorithm": "asha"}, ("num_epochs=1",), "E_AUTOML_RUNGS"),
        ({"algorithm": "asha", "first_rung": 3}, ("train.validation_interval=2",), "E_AUTOML_RUNGS"),
        ({"freeze": ("nonsense.key",)}, (), "E_SPEC_UNKNOWN_KEY"),
        ({"jobs": -1}, (), "E_AUTOML_JOBS"),
    ],
)
def test_wishes_that_can_not_be_are_refused_before_anything_starts(
    request_: Request, workspace: Path, options: dict[str, Any], overrides: tuple[str, ...], code: str
) -> None:
    request = replace(request_, overrides=(*request_.overrides, *overrides))
    with pytest.raises(UsageError) as caught:
        design(request, replace(OPTIONS, **options))
    assert caught.value.code == code
    assert not (workspace / "studies").exists()


def test_the_metric_follows_the_task_or_the_watched_number(request_: Request) -> None:
    assert METRICS == {"classify": "val_ap", "segment": "val_iou_1"}
    watched = replace(request_, overrides=(*request_.overrides, "train.optim.monitor_name=val_fpr"))
    decided = design(watched, OPTIONS)
    assert (decided.metric, decided.direction) == ("val_fpr", "minimize")
    assert decided.better(0.1, 0.2)
    assert not decided.better(0.2, 0.1)


def test_trials_that_are_compared_early_are_validated_early(request_: Request) -> None:
    assert "train.validation_interval=1" in design(request_, replace(OPTIONS, algorithm="asha")).extra
    rare = replace(request_, overrides=(*request_.overrides, "train.validation_interval=3"))
    decided = design(rare, replace(OPTIONS, algorithm="asha"))
    assert decided.first_rung == 3
    assert decided.resolved().rungs == (3,)


def test_the_processors_are_shared_among_trials_that_run_side_by_side(request_: Request) -> None:
    jobs = os.cpu_count() or 1
    assert f"train.threads={1}" in design(request_, replace(OPTIONS, jobs=max(jobs, 2))).extra
    assert not any(text.startswith("train.threads") for text in design(request_, OPTIONS).extra)


def test_the_review_names_space_budget_slots_and_what_is_left_out(request_: Request) -> None:
    decided = design(request_, replace(OPTIONS, freeze=("train.optim.lr",), jobs=2))
    text = "\n".join(review(decided, slots_of(decided)))
    for words in (
        "val_ap (maximize)",
        "bayesian, seed 1",
        "3 trials",
        "2 at a time",
        "after the first epoch",
        "frozen",
    ):
        assert words in text
    assert "model.classify.eval_margin" in text
    assert "--keep-all" in "\n".join(review(replace(decided, keep_all=True), slots_of(decided)))


def test_the_review_estimates_from_an_earlier_run_on_the_same_data(request_: Request) -> None:
    first = design(request_, OPTIONS)
    assert (first.epoch_s, first.epoch_run) == (0, "")
    plan = prepare(replace(request_, automl=False)).plan
    run = RunFolder(Path(plan.run_dir))
    run.path.mkdir(parents=True)
    run.spec.write_text(plan.spec_text, encoding="utf-8")
    run.write_record(action=plan.action, backend=plan.backend)
    lines = [json.dumps({"event": "epoch", "epoch": n, "seconds": s}) for n, s in ((1, 9.0), (2, 4.0), (3, 5.0))]
    run.events.write_text("\n".join(lines) + "\n", encoding="utf-8")
    decided = design(request_, OPTIONS)
    assert (decided.epoch_s, decided.epoch_run) == (5.0, run.run_id)
    assert f"by run {run.run_id} on the same data" in "\n".join(review(decided, slots_of(decided)))
    larger = replace(request_, overrides=(*request_.overrides, "dataset.classify.image_width=128"))
    assert design(larger, OPTIONS).epoch_run == ""


def test_two_goals_keep_the_checkpoints_of_the_front_and_measure_every_trial(request_: Request) -> None:
    decided = design(request_, replace(OPTIONS, metric="val_ap,latency"))
    assert (decided.metric, decided.second) == ("val_ap", "latency_ms")
    assert "train.measure_latency=true" in decided.extra
    text = "\n".join(review(decided, slots_of(decided)))
    assert "latency_ms of one pair (minimize)" in text
    assert "no other beats in both goals" in text
    assert Settings.from_json(decided.to_json()) == decided


def test_the_estimate_follows_from_a_measured_epoch() -> None:
    decided = settings(budget=Budget(trials=20), num_epochs=30)
    assert "about 1.7 h in all" in estimate(decided, 1, 10.0)
    assert "about 50 min in all" in estimate(decided, 2, 10.0)
    assert "at most 30 min" in estimate(replace(decided, budget=Budget(20, 0, 1800)), 1, 10.0)
    assert "one trial 5 min" in estimate(replace(decided, budget=Budget(0, 0, 1800)), 1, 10.0)


def test_budgets_read_and_show_as_typed() -> None:
    assert read_budget() == Budget(trials=20)
    assert read_budget(time_text="30m") == Budget(seconds=1800)
    assert read_budget(5, 50, "2h").text() == "5 trials, 50 epochs in all, 2.0 h"
    assert clock_text(45) == "45 s"


def test_an_extension_adds_to_the_budget_and_a_grid_can_not_grow() -> None:
    assert extended(settings(), 5, 0, "").budget == Budget(trials=8)
    assert extended(settings(budget=Budget(seconds=60)), 0, 0, "1m").budget == Budget(seconds=120)
    with pytest.raises(UsageError, match="laid out"):
        extended(settings(algorithm="grid"), 5, 0, "")
    with pytest.raises(UsageError, match="needs a limit"):
        extended(settings(), 0, 0, "")


def test_places_on_the_processors_are_given_and_given_back() -> None:
    slots = Slots(HostOptions(gpus="none"), 2, 1)
    slots.hold("a", "none")
    assert slots.free()
    assert slots.take("b").gpus == "none"
    assert not slots.free()
    slots.give_back("a")
    assert slots.free()
    assert Slots(HostOptions(gpus="none"), 0, 1).at_once == 1


# The folder


def saved(root: Path, name: str, **changes: Any) -> StudyFolder:
    folder = StudyFolder(root / "studies" / name)
    folder.path.mkdir(parents=True)
    folder.save(settings(study_id=name, **changes))
    return folder


def test_a_study_is_found_by_id_beginning_folder_and_last(hostile_dir: Path) -> None:
    older = saved(hostile_dir, "261120-000000-automl-aaaa")
    newer = saved(hostile_dir, "261121-000000-automl-bbbb")
    (hostile_dir / "studies" / "half").mkdir()
    assert list(list_studies(hostile_dir)) == [newer, older]
    for reference, folder in (("261120", older), ("last", newer), (newer.study_id, newer), (str(older.path), older)):
        assert find_study(reference, hostile_dir) == folder
    with pytest.raises(UsageError, match="several"):
        find_study("2611", hostile_dir)
    with pytest.raises(NotFoundError, match="did you mean"):
        find_study("261121-000000-automl-bbbc", hostile_dir)


def test_a_study_edited_by_hand_is_refused(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "261120-000000-automl-aaaa")
    raw = json.loads(folder.record.read_text(encoding="utf-8"))
    raw["space"]["params"][0]["default"] = 0.5
    folder.record.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ConflictError) as caught:
        folder.settings()
    assert caught.value.code == "E_AUTOML_SPACE_CHANGED"


def test_only_one_process_drives_a_study(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "261120-000000-automl-aaaa")
    assert folder.driver() == ""
    with folder.driving():
        assert str(os.getpid()) in folder.driver()
        with pytest.raises(ConflictError) as caught, folder.driving():
            pass
    assert caught.value.code == "E_STUDY_BUSY"
    with folder.driving():
        pass


def test_a_study_is_a_parent_by_its_id_and_stands_for_its_best_trial(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "261120-000000-automl-aaaa")
    with pytest.raises(NotFoundError, match="no best trial"):
        find_parent("261120", hostile_dir)
    run = folder.run("261120-000001-train-cccc")
    run.path.mkdir(parents=True)
    run.write_record(action="train", task="classify")
    folder.result.write_text(json.dumps({"best_trial": f"runs/{run.run_id}"}), encoding="utf-8")
    for reference in ("261120", folder.study_id, str(folder.path)):
        assert find_parent(reference, hostile_dir).run == run
    saved(hostile_dir, "261121-000000-automl-bbbb")
    with pytest.raises(UsageError, match="several studies"):
        find_parent("2611", hostile_dir)


# Trials as runs


def local_plan(folder: StudyFolder, run_id: str, program: str, **values: Any) -> Plan:
    run = folder.run(run_id)
    known: dict[str, Any] = {
        "run_id": run_id,
        "run_dir": str(run.path),
        "model": "visual_changenet",
        "action": "train",
        "task": "classify",
        "backend": "local",
        "image": "none",
        "argv": (sys.executable, "-c", program, str(run.path)),
        "gpus": "none",
        "results_dir": str(run.results),
        "spec_text": "dataset:\n  classify:\n    batch_size: 8\n",
    }
    return Plan(**{**known, **values})


def begun(folder: StudyFolder, run_id: str, program: str) -> RunFolder:
    """A run folder as `launch` makes it, before anything is started."""
    plan, run = local_plan(folder, run_id, program), folder.run(run_id)
    run.path.mkdir(parents=True)
    run.plan.write_text(plan.to_json(), encoding="utf-8")
    run.write_record(run_id=run_id, action="train", task="classify", backend="local", results_dir=plan.results_dir)
    return run


def started(folder: StudyFolder, run_id: str, program: str, *, noted: bool = True) -> RunFolder:
    run = begun(folder, run_id, program)
    handle = LocalBackend().launch(Plan.load(run.plan), Quiet())
    if noted:
        run.write_record(handle=handle)
    return run


def trainer_of(folder: StudyFolder) -> RunTrainer:
    decided = folder.settings()
    return RunTrainer(folder, decided, slots_of(decided))


def wait(trainer: RunTrainer, run_id: str, *states: str) -> Any:
    deadline = time.monotonic() + 30
    while (look := trainer.look(run_id)).state not in states:
        assert time.monotonic() < deadline, look
        time.sleep(0.02)
    return look


EVENTS = (
    "import json, os, sys, time; run = sys.argv[1]\n"
    "def epoch(n, **m): open(run + '/events.jsonl', 'a').write("
    "json.dumps({'event': 'epoch', 'epoch': n, 'metrics': m, 'seconds': 1.5}) + chr(10))\n"
    "def end(**r): open(run + '/result.json', 'w').write(json.dumps(r))\n"
)


def test_a_trials_epochs_are_read_from_its_events_each_once(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    program = EVENTS + "epoch(1, val_ap=0.5)\nepoch(2, train_loss=1)\nepoch(3, val_ap=0.6)\nend(status='succeeded')"
    started(folder, "r1", program)
    trainer = trainer_of(folder)
    epochs: list[Epoch] = []
    deadline = time.monotonic() + 30
    while (look := trainer.look("r1")).state == "running":
        epochs += look.epochs
        assert time.monotonic() < deadline
    epochs += look.epochs
    assert [(one.number, one.value, one.seconds) for one in epochs] == [(1, 0.5, 1.5), (3, 0.6, 1.5)]
    assert (look.state, look.passed) == ("succeeded", 3)
    assert trainer.look("r1").epochs == ()


def test_a_failed_a_killed_and_an_absent_trial_are_told_apart(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    error = {"code": "E_RUN_MEMORY", "message": "too large", "fix": "set dataset.classify.batch_size to 5, or less"}
    started(folder, "failed", EVENTS + f"end(status='failed', error={error!r}); sys.exit(1)")
    started(folder, "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    trainer = trainer_of(folder)
    failed = wait(trainer, "failed", "failed")
    assert (failed.code, failed.message) == ("E_RUN_MEMORY", "too large")
    assert trainer.smaller_batch("failed") == 5
    assert wait(trainer, "killed", "lost", "failed").state == "lost"
    assert trainer.smaller_batch("killed") == 4
    assert trainer.look("never").state == "absent"


def test_a_folder_in_which_nothing_was_started_goes_and_the_trial_starts_anew(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    run = begun(folder, "r1", "pass")
    half = folder.run("r2")
    half.path.mkdir()
    trainer = trainer_of(folder)
    assert [trainer.look("r1").state, trainer.look("r2").state] == ["absent", "absent"]
    assert not run.path.exists()
    assert not half.path.exists()


def test_a_run_whose_start_could_not_be_noted_any_more_is_adopted(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    program = EVENTS + "\nwhile not os.path.exists(run + '/go'): time.sleep(0.02)\nend(status='succeeded')"
    run = started(folder, "r1", program, noted=False)
    trainer = trainer_of(folder)
    assert trainer.look("r1").state == "running"
    (run.path / "go").touch()
    assert wait(trainer, "r1", "succeeded", "failed", "lost", "absent").state == "succeeded"


@pytest.mark.parametrize("noted", [True, False])
def test_a_training_whose_supervisor_was_killed_is_ended_before_it_goes_on(noted: bool, hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    run = started(folder, "r1", "import time; print('up', flush=True); time.sleep(60)", noted=noted)
    trainer = trainer_of(folder)
    deadline = time.monotonic() + 30
    while not run.log.is_file() or not run.log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = json.loads(run.supervisor.read_text(encoding="utf-8"))["pid"]
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    os.kill(pid, signal.SIGKILL)
    assert wait(trainer, "r1", "lost").state == "lost"
    trainer.go_on("r1")
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    assert trainer.look("r1").state == "running"
    trainer.stop("r1")
    assert trainer.look("r1").state in ("stopped", "lost")


# What is left


def row(number: int, value: float | None, state: str = "complete", **values: Value) -> Row:
    named = {name.replace("__", "."): one for name, one in values.items()}
    return Row(number, state, value, f"run-{number}", 9, 12.5, "a <b> & c", named)


def result_of(folder: StudyFolder) -> StudyResult:
    rows = [row(0, 0.5, train__optim__lr=1e-5), row(1, 0.75, train__optim__lr=1e-4), row(2, None, "failed")]
    told = {
        "trial 0": Evaluation("trial 0", "e0", {"average_precision": 0.4}),
        "best": Evaluation("best", "", {}, "E_X: it <broke>"),
    }
    decided = folder.settings()
    winner = Winner(folder.path / "runs/run-1/model.pth", "0" * 64, "best of 2")
    compared = headline(decided, told)
    return StudyResult(
        folder, decided, rows, rows[1], winner, told, compared, False, {"train.optim.lr": 1.0}, 60.0, 123
    )


def test_the_page_loads_nothing_and_escapes_what_it_shows(hostile_dir: Path) -> None:
    text = render(result_of(saved(hostile_dir, "study")))
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|<script", text)
    assert "a &lt;b&gt; &amp; c" in text
    assert "it &lt;broke&gt;" in text
    assert "<b>" not in text
    assert text.count("<svg") == 2
    assert "trial 1: 0.75" in text
    assert "favour the best trial" in text


def test_the_result_leads_to_the_best_trial(hostile_dir: Path) -> None:
    found = result_of(saved(hostile_dir, "study")).to_json()
    assert found["best_trial"] == "runs/run-1"
    assert found["best"]["checkpoint"] == "runs/run-1/model.pth"
    assert found["trial_0"]["value"] == 0.5
    assert found["trials"] == {"complete": 2, "failed": 1}
    assert found["compared_by"] == "average_precision"
    json.dumps(found, allow_nan=False)


def test_the_table_has_one_line_a_trial_and_one_column_a_key(tmp_path: Path) -> None:
    write_table(tmp_path / "trials.csv", [row(0, 0.1, a=1), row(1, None, "failed", b=True)])
    with (tmp_path / "trials.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [one["trial"] for one in found] == ["0", "1"]
    assert [(one["value"], one["a"], one["b"]) for one in found] == [("0.1", "1", ""), ("", "", "True")]


def test_the_winning_values_are_a_spec_file_that_a_training_takes(request_: Request) -> None:
    decided = design(request_, OPTIONS)
    folder = create(decided)
    values = {**decided.space.defaults(), "train.optim.lr": 1e-05}
    write_winner(folder, decided, Row(4, "complete", 0.9, "run-4", 9, 1.0, "", values))
    given = read_spec(folder.winner).values
    assert flatten(given, values)["train.optim.lr"] == 1e-05
    taken = prepare(replace(request_, spec_file=folder.winner, automl=False))
    for key, value in values.items():
        assert taken.spec.get(key) == value


def test_losing_checkpoints_go_and_everything_else_stays(hostile_dir: Path) -> None:
    folder = saved(hostile_dir, "study")
    for name in ("loser", "winner", "running"):
        run = started(folder, name, "import time; time.sleep(30)" if name == "running" else "pass")
        weights = run.results / "train" / "model_epoch_000_step_00002.pth"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"x" * 100)
        (weights.parent / "latest.pth").symlink_to(weights.name)
        (weights.parent / "status.json").write_text("{}", encoding="utf-8")
    folder.cache.mkdir()
    trainer = trainer_of(folder)
    wait(trainer, "loser", "failed")
    assert remove_losers(folder, ["loser", "running", "never"]) == 100
    left = {
        path.name: [one.parent.parent.parent.name for one in folder.path.rglob(path.name)]
        for path in folder.path.rglob("*.pth")
    }
    assert sorted(left["latest.pth"]) == ["running", "winner"]
    assert (folder.run("loser").results / "train" / "status.json").is_file()
    assert not folder.cache.exists()
    trainer.stop("running")
    assert status(folder.run("running")).state == "cancelled"
