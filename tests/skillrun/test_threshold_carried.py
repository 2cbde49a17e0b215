"""Which threshold a run takes over from what lies beside its parent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from skillrun import bank
from skillrun.errors import DataError
from skillrun.inspection import Rate, Threshold, write_threshold
from skillrun.lineage import Parent, Wish, add_margin
from skillrun.prepare import spec_builder
from skillrun.runfolder import RunFolder
from skillrun.spec import SpecBuilder

MODEL, MARGIN = "visual_changenet", "model.classify.eval_margin"
WEIGHTS = b"weights"
CHOSEN = Threshold(
    "evaluation", "max-escape 1%", 0.12, (0.1, 0.2), Rate(0, 9), Rate(1, 9), 18, "gone.pth", "", "2026-11-01T00:00:00"
)


@pytest.fixture
def runs(hostile_dir: Path) -> Path:
    """A workspace's runs: a training with a checkpoint, and an evaluation whose threshold is for it."""
    folder = hostile_dir / "runs"
    train = lay(folder, "training", action="train")
    (train.path / "model.pth").write_bytes(WEIGHTS)
    write_threshold(lay(folder, "evaluation", action="evaluate"), for_model(WEIGHTS))
    return folder


def lay(runs: Path, name: str, *, action: str) -> RunFolder:
    run = RunFolder(runs / name)
    run.path.mkdir(parents=True)
    run.write_record(action=action, task="classify")
    return run


def for_model(content: bytes, at: str = CHOSEN.at, margin: float = CHOSEN.margin, run: str = "evaluation") -> Threshold:
    return replace(CHOSEN, sha256=hashlib.sha256(content).hexdigest(), at=at, margin=margin, run_id=run)


def carried(runs: Path, action: str, file: str = "", parent: str = "training", relation: str = "parent") -> SpecBuilder:
    """A builder to which the margin was added, where there was one to add."""
    builder, params = spec_builder(MODEL, action), bank.contract(MODEL, action).spec_params
    model = Path(file) if file else runs / "training" / "model.pth"
    builder.add("parent", {**dict.fromkeys(params, str(model)), MARGIN: 0.3})
    folder = Parent(runs / parent, RunFolder(runs / parent))
    add_margin(builder, Wish(folder, "resume" if relation == "resume" else "parent", ""), params, runs)
    return builder


@pytest.mark.parametrize("action", ["evaluate", "inference", "export", "quantize"])
def test_the_margin_goes_with_the_checkpoint_wherever_its_file_lies(action: str, runs: Path, tmp_path: Path) -> None:
    builder = carried(runs, action)
    assert builder.latest(MARGIN) == (0.12, "threshold.json of evaluation")
    assert builder.notices == ["margin 0.12 from threshold.json of evaluation (max-escape 1%)"]
    copy = tmp_path / "copy.pth"
    copy.write_bytes(WEIGHTS)
    assert carried(runs, action, str(copy)).latest(MARGIN)[0] == 0.12


def test_other_weights_no_weights_a_training_and_masks_keep_theirs(runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(WEIGHTS + b"!")
    for builder in (
        carried(runs, "export", str(other)),
        carried(runs, "export", str(tmp_path / "gone.pth")),
        carried(runs, "train"),
        carried(runs, "train", relation="resume"),
        carried(runs, "segment_export"),
    ):
        assert builder.latest(MARGIN)[1] != "threshold.json of evaluation"
        assert builder.notices == []


def test_the_newest_threshold_of_a_checkpoint_counts_unless_its_evaluation_is_the_parent(runs: Path) -> None:
    newer = lay(runs, "newer", action="evaluate")
    write_threshold(newer, for_model(WEIGHTS, at="2026-11-02T00:00:00", margin=0.2, run="newer"))
    newest = lay(runs, "newest", action="evaluate")
    write_threshold(newest, for_model(b"others", at="2026-11-03T00:00:00", margin=0.4, run="newest"))
    assert carried(runs, "export").latest(MARGIN) == (0.2, "threshold.json of newer")
    assert carried(runs, "export", parent="evaluation").latest(MARGIN) == (0.12, "threshold.json of evaluation")


def test_thresholds_beside_a_parent_elsewhere_are_found(runs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "study" / "runs"
    trial = lay(elsewhere, "trial", action="train")
    (trial.path / "model.pth").write_bytes(b"trial")
    evaluation = lay(elsewhere, "evaluated", action="evaluate")
    write_threshold(evaluation, for_model(b"trial", margin=0.7, run="evaluated"))
    builder = carried(runs, "export", str(trial.path / "model.pth"), parent=str(trial.path))
    assert builder.latest(MARGIN) == (0.7, "threshold.json of evaluated")


def test_a_broken_threshold_is_never_passed_over(runs: Path) -> None:
    (runs / "evaluation" / "threshold.json").write_text(json.dumps({"margin": 0.1}), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        carried(runs, "export")
    assert caught.value.code == "E_THRESHOLD_FILE"
    assert caught.value.fix == "skillrun threshold evaluation --max-escape 0.1%"
