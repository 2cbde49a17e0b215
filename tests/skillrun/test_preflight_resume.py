"""What a training that goes on may change: everything else is refused or said before the launch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.examine import overrides_in
from skillrun.findings import Finding
from skillrun.overrides import set_dotted
from skillrun.plan import Plan
from skillrun.preflight.rule import Case, look, registered
from skillrun.prepare import spec_builder
from skillrun.runfolder import RunFolder
from skillrun.specfile import dump_spec

MODEL = "visual_changenet"
BEFORE = {
    "model.backbone.type": "fan_tiny_8_p4_hybrid",
    "train.num_epochs": 2,
    "dataset.classify.train_dataset.csv_path": "/boards/train.csv",
    "dataset.classify.train_dataset.images_dir": "/boards/images",
}


def values_of(**changes: Any) -> dict[str, Any]:
    values = bank.defaults(MODEL, "train")
    for key, value in {**BEFORE, **changes}.items():
        set_dotted(values, key, value)
    return values


@pytest.fixture
def parent(hostile_dir: Path) -> RunFolder:
    """A training of two epochs that succeeded."""
    run = RunFolder(hostile_dir / "runs" / "261120-120000-train-aa")
    checkpoint = run.results / "train" / "model_epoch_001_step_00020.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    run.write_record(run_id=run.run_id, action="train", task="classify", backend="local", handle={"pid": 1})
    run.exit.write_text(json.dumps({"exit_code": 0}), encoding="utf-8")
    run.result.write_text(json.dumps({"status": "succeeded"}), encoding="utf-8")
    run.spec.write_text(dump_spec(values_of()), encoding="utf-8")
    return run


def case_of(parent: RunFolder, **changes: Any) -> Case:
    checkpoint = parent.results / "train" / "model_epoch_001_step_00020.pth"
    record = {"run_id": parent.run_id, "checkpoint": str(checkpoint), "relation": "resume"}
    plan = Plan(
        run_id="r",
        run_dir="/r",
        model=MODEL,
        action="train",
        task="classify",
        backend="local",
        image="",
        argv=(),
        gpus="none",
        results_dir="/r/results",
        parent=record,
        spec_text=dump_spec(values_of(**{"train.num_epochs": 9, **changes})),
    )
    return Case.of(plan)


def found_in(case: Case) -> dict[str, Finding]:
    return {finding.code: finding for finding in look(case)}


CHANGED: dict[str, tuple[str, Any]] = {
    "E_SPEC_RESUME": ("train.num_epochs", 2),
    "E_RESUME_OPTIMISER": ("train.optim.optim", "sgd"),
    "W_RESUME_RATE": ("train.optim.lr", 0.5),
    "W_RESUME_BATCH": ("dataset.classify.batch_size", 4),
    "W_RESUME_DATA": ("dataset.classify.train_dataset.csv_path", "/other boards/train.csv"),
    "W_RESUME_MONITOR": ("train.optim.monitor_name", "val_acc"),
}


def test_more_epochs_other_devices_and_intervals_are_no_finding(parent: RunFolder) -> None:
    changes = {"train.num_epochs": 40, "dataset.classify.workers": 0, "train.gpu_ids": [1], "train.device": "cpu"}
    assert found_in(case_of(parent, **changes, **{"train.checkpoint_interval": 1})) == {}


@pytest.mark.parametrize("code", CHANGED)
def test_a_change_is_found_and_its_override_takes_it_back(parent: RunFolder, code: str) -> None:
    key, value = CHANGED[code]
    found = found_in(case_of(parent, **{key: value}))
    assert found.keys() == {code}
    assert str(value) in found[code].message
    builder = spec_builder(MODEL, "train")
    builder.add_overrides(overrides_in(found[code].fix))
    assert builder.by_user().keys() == {key}
    assert found_in(case_of(parent, **builder.by_user())) == {}


def test_every_rule_of_a_resume_is_provoked_here() -> None:
    assert {one.code for one in registered() if one.room == "resume"} == CHANGED.keys()


def test_an_epoch_that_was_broken_off_may_be_trained_to_its_end(parent: RunFolder) -> None:
    parent.exit.write_text(json.dumps({"exit_code": 1}), encoding="utf-8")
    parent.result.unlink()
    assert found_in(case_of(parent, **{"train.num_epochs": 2})) == {}
    assert found_in(case_of(parent, **{"train.num_epochs": 1})).keys() == {"E_SPEC_RESUME"}


def test_a_run_that_starts_from_weights_may_change_all_of_it(parent: RunFolder) -> None:
    case = case_of(parent, **dict(CHANGED.values()))
    assert case.plan.parent is not None
    plan = case.plan.model_copy(update={"parent": {**case.plan.parent, "relation": "parent"}})
    assert found_in(Case.of(plan)) == {}
