"""Parents: which checkpoint is taken, why, and what else a run takes over."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.backends.supervisor import identity
from skillrun.errors import ConflictError, NotFoundError, UsageError
from skillrun.lineage import inherited, pick_checkpoint
from skillrun.overrides import set_dotted
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.spec import path_keys
from skillrun.specfile import dump_spec

MODEL = "visual_changenet"
ENTRIES: list[dict[str, Any]] = [
    {"path": "results/train/a 1.pth", "epoch": 0, "step": 10, "sha256": "aa", "metrics": {"val_ap": 0.5}},
    {"path": "results/train/b,2.pth", "epoch": 1, "step": 20, "metrics": {"val_ap": 0.912, "lr": 1}, "best": True},
    {"path": "results/train/ü 3.pth", "epoch": 2, "step": 30, "metrics": {}, "last": True},
]


def ended(run: RunFolder, entries: list[dict[str, Any]], *, code: int = 0, outcome: str = "succeeded") -> RunFolder:
    """A run that has ended, with the files of its checkpoints."""
    run.path.mkdir(parents=True)
    run.write_record(run_id=run.run_id, action="train", task="classify", backend="local", handle={"pid": 1})
    run.exit.write_text(json.dumps({"exit_code": code}), encoding="utf-8")
    run.result.write_text(json.dumps({"status": outcome, "checkpoints": entries}), encoding="utf-8")
    for entry in entries:
        (run.path / entry["path"]).parent.mkdir(parents=True, exist_ok=True)
        (run.path / entry["path"]).touch()
    return run


@pytest.fixture
def folder(hostile_dir: Path) -> RunFolder:
    return RunFolder(hostile_dir / "runs" / "261120-120000-train-aa")


PICKS = {"best": 1, "last": 2, "epoch=0": 0, "epoch=2": 2, "step=20": 1}


@pytest.mark.parametrize(("pick", "index"), PICKS.items(), ids=PICKS.keys())
def test_a_checkpoint_is_picked_by_name_epoch_or_step(folder: RunFolder, pick: str, index: int) -> None:
    found = pick_checkpoint(ended(folder, ENTRIES), pick)
    assert found.path == folder.path / ENTRIES[index]["path"]
    assert found.run_id == folder.run_id
    assert pick in found.reason


def test_the_reason_names_epoch_and_metric(folder: RunFolder) -> None:
    reason = pick_checkpoint(ended(folder, ENTRIES)).reason
    assert "best of 3" in reason
    assert "epoch 1" in reason
    assert "val_ap 0.912" in reason


def test_the_plan_gets_path_reason_and_digest(folder: RunFolder) -> None:
    found = pick_checkpoint(ended(folder, ENTRIES), "epoch=0").to_json()
    assert found["checkpoint"] == str(folder.path / ENTRIES[0]["path"])
    assert found["sha256"] == "aa"
    assert json.loads(json.dumps(found)) == found


def test_where_none_is_marked_the_recorded_numbers_decide(folder: RunFolder) -> None:
    entries = [
        {**entry, "best": False, "metrics": {"val_ap": ap}} for entry, ap in zip(ENTRIES, (0.3, 0.9, 0.5), strict=True)
    ]
    found = pick_checkpoint(ended(folder, entries))
    assert found.entry["epoch"] == 1
    assert "by val_ap (more is better)" in found.reason
    assert "val_loss, which the training watched" in found.reason


def test_where_nothing_tells_which_is_best_the_candidates_are_listed(folder: RunFolder) -> None:
    entries = [{**entry, "best": False, "metrics": {}} for entry in ENTRIES]
    with pytest.raises(UsageError, match=r"a 1\.pth, b,2\.pth, ü 3\.pth") as caught:
        pick_checkpoint(ended(folder, entries))
    assert caught.value.code == "E_PARENT_AMBIGUOUS"
    assert "--pick last" in caught.value.fix


def test_a_checkpoint_that_is_listed_twice_is_one(folder: RunFolder) -> None:
    found = pick_checkpoint(ended(folder, ENTRIES[:1] * 2))
    assert found.entry["epoch"] == 0
    assert "best of 1" in found.reason


def test_a_run_that_was_killed_before_its_result_gives_the_checkpoints_in_its_folder(folder: RunFolder) -> None:
    ended(folder, [], code=137, outcome="failed")
    (folder.results / "train").mkdir(parents=True)
    for name in ("model_epoch_000_step_00002.pth", "model_epoch_001_step_00004.pth"):
        with zipfile.ZipFile(folder.results / "train" / name, "w") as archive:
            archive.writestr("archive/data.pkl", "x")
    assert pick_checkpoint(folder, "last").path.name == "model_epoch_001_step_00004.pth"


def test_a_cancelled_run_gives_its_checkpoint_too(folder: RunFolder) -> None:
    assert pick_checkpoint(ended(folder, ENTRIES, code=130, outcome="cancelled"), "last").path.is_file()


@pytest.mark.parametrize("pick", ["newest", "epoch=", "epoch=-1", "epoch=1.0", "Best", ""])
def test_a_word_that_is_no_pick_is_refused_with_the_choices(folder: RunFolder, pick: str) -> None:
    with pytest.raises(UsageError, match="best, last, epoch=N, step=N"):
        pick_checkpoint(ended(folder, ENTRIES), pick)


def test_an_epoch_that_is_not_there_is_refused_with_those_that_are(folder: RunFolder) -> None:
    with pytest.raises(NotFoundError, match="it has epoch=0, epoch=1, epoch=2"):
        pick_checkpoint(ended(folder, ENTRIES), "epoch=7")


def test_a_run_without_checkpoints_is_refused(folder: RunFolder) -> None:
    with pytest.raises(NotFoundError, match="lists no checkpoint") as caught:
        pick_checkpoint(ended(folder, []))
    assert caught.value.code == "E_PARENT_NO_CHECKPOINT"


def test_a_checkpoint_that_was_removed_is_named(folder: RunFolder) -> None:
    ended(folder, ENTRIES)
    (folder.path / ENTRIES[1]["path"]).unlink()
    with pytest.raises(NotFoundError, match=r"b,2\.pth is listed .* does not exist"):
        pick_checkpoint(folder)


def test_a_parent_that_still_runs_is_refused(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.write_record(backend="local")
    write_atomic(folder.supervisor, json.dumps(identity(os.getpid())))
    folder.events.touch()
    with pytest.raises(ConflictError, match="is running") as caught:
        pick_checkpoint(folder)
    assert caught.value.fix == f"skillrun runs attach {folder.run_id}"


def test_a_metric_without_a_number_does_not_hinder_the_pick(folder: RunFolder) -> None:
    entry = {**ENTRIES[1], "metrics": {"val_loss": None, "val_ap": 0.5}}
    assert "val_ap 0.5" in pick_checkpoint(ended(folder, [entry])).reason


PARENT_VALUES = {
    "model.backbone.type": "fan_small_12_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim": 48,
    "model.backbone.pretrained_backbone_path": "/weights.pth",
    "dataset.classify.image_width": 96,
    "dataset.classify.input_map": {"LowAngle": 0, "Side": 1},
    "dataset.classify.num_input": 2,
    "dataset.classify.batch_size": 7,
    "dataset.classify.workers": 5,
    "dataset.classify.train_dataset.csv_path": "/data/train.csv",
    "dataset.classify.validation_dataset.images_dir": "/data/images",
    "train.classify.cls_weight": [1.0, 3.0],
    "train.num_epochs": 99,
    "results_dir": "/elsewhere",
}


def taken_over(run: RunFolder, action: str) -> dict[str, Any]:
    schema = bank.schema(MODEL, action)
    return inherited(run, set(bank.keys(MODEL, action)), set(path_keys(schema)))


@pytest.fixture
def parent(folder: RunFolder) -> RunFolder:
    values = bank.defaults(MODEL, "train")
    for key, value in PARENT_VALUES.items():
        set_dotted(values, key, value)
    folder.path.mkdir(parents=True)
    folder.spec.write_text(dump_spec(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize("action", ["evaluate", "inference", "export"])
def test_the_geometry_of_model_and_data_is_taken_over(parent: RunFolder, action: str) -> None:
    found = taken_over(parent, action)
    assert found["model.backbone.type"] == "fan_small_12_p4_hybrid"
    assert found["model.decode_head.decoder_params.embed_dim"] == 48
    assert found["dataset.classify.image_width"] == 96
    assert found["dataset.classify.input_map"] == {"LowAngle": 0, "Side": 1}
    assert found["train.classify.cls_weight"] == [1.0, 3.0]


@pytest.mark.parametrize("action", ["evaluate", "inference", "export", "train"])
def test_paths_batch_size_workers_and_the_schedule_are_not_taken_over(parent: RunFolder, action: str) -> None:
    found = taken_over(parent, action)
    assert not found.keys() & path_keys(bank.schema(MODEL, action)).keys()
    assert not [key for key in found if key.endswith((".batch_size", ".workers", "_dir", "_path"))]
    assert "train.num_epochs" not in found
    assert "task" not in found


def test_only_keys_of_the_later_action_are_taken_over(parent: RunFolder) -> None:
    assert taken_over(parent, "evaluate").keys() <= bank.keys(MODEL, "evaluate")


def test_a_parent_without_a_recorded_spec_gives_nothing(folder: RunFolder) -> None:
    assert taken_over(folder, "evaluate") == {}
