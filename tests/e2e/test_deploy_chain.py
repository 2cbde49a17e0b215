"""From training to ONNX to INT8 and back to evaluation by ``--parent`` alone; and the gates that refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skillrun.data.synth import synth
from skillrun.runfolder import RunFolder, read_json
from skillrun.specfile import read_spec

QUICK = ("model.backbone.type=fan_tiny_8_p4_hybrid", "model.decode_head.decoder_params.embed_dim=16", "num_epochs=1")
CLASSIFY = (*QUICK, "dataset.classify.image_width=64", "dataset.classify.image_height=64", "batch_size=4")
SEGMENT = (*QUICK, "segment_img_size=64", "segment_batch_size=4")
NUMBERS = {
    "classify": ("test_acc", "test_fpr", "test_fnr", "average_precision", "escape_rate", "overkill_rate"),
    "segment": ("test_acc", "test_miou", "test_iou_1", "test_F1_1"),
}
LATENCY = {"latency_batch", "latency_p50_ms", "latency_p95_ms", "pairs_per_s"}


class Line:
    """A workspace in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def type(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("skillrun")), "visual_changenet", *map(str, words)]
        places = {"SKILLRUN_WORKSPACE": str(self.folder), "SKILLRUN_CACHE": str(self.folder / "cache")}
        env = {**os.environ, **places, "PYTHONWARNINGS": "ignore"}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=240, check=False
        )

    def run(self, *words: str | Path) -> dict[str, Any]:
        """The answer of a run that has to succeed."""
        done = self.type(*words, "--json")
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "said": done.stderr}

    def refused(self, exit_code: int, *words: str | Path) -> dict[str, Any]:
        done = self.type(*words, "--json")
        assert done.returncode == exit_code, done.stderr
        return dict(json.loads(done.stdout)["error"])


@pytest.fixture(scope="module", params=["classify", "segment"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Line, str, str]:
    """A workspace, the task and the id of a training in it."""
    task = request.param
    line = Line(tmp_path_factory.mktemp(f"{task} ü"))
    data = line.folder / "data"
    if task == "segment":
        synth(data, pairs=16, size=64, seed=3, task="segment")
        words = ("segment_train", "--train-data", data, *SEGMENT)
    else:
        synth(data, pairs=24, size=32, seed=3)
        words = ("train", "--train-data", data / "train", "--eval-data", data / "eval", *CLASSIFY)
    return line, task, line.run(*words, "--no-automl")["run"]["run_id"]


def of(task: str, action: str) -> str:
    return f"segment_{action}" if task == "segment" else action


def test_every_link_finds_its_file_and_its_pairs_and_decides_alike(trained: tuple[Line, str, str]) -> None:
    line, task, run = trained
    first = line.run(of(task, "evaluate"), "--parent", run)
    assert "no data were named" in first["said"]
    exported = line.run(of(task, "export"), "--parent", run)
    assert exported["run"]["metrics"]["parity_flips"] == 0
    assert exported["run"]["metrics"]["parity_pairs"] > 1
    parity = read_json(RunFolder(Path(exported["run"]["run_dir"])).results / "parity.json") or {}
    assert parity["source"] != "synthetic", "the parent's own pairs"
    second = line.run(of(task, "evaluate"), "--parent", exported["run"]["run_id"])
    for name in NUMBERS[task]:
        if name in first["run"]["metrics"]:
            assert second["run"]["metrics"][name] == pytest.approx(first["run"]["metrics"][name], abs=1e-4), name
    assert set(second["run"]["metrics"]) >= LATENCY
    engine = line.run("trt_evaluate", "--parent", exported["run"]["run_id"])
    assert engine["run"]["metrics"]["num_samples"] == first["run"]["metrics"]["num_samples"]
    small = line.run(of(task, "quantize"), "--parent", exported["run"]["run_id"], "--max-drop", "100%", *QDQ)
    assert small["run"]["metrics"]["size_bytes_after"] < small["run"]["metrics"]["size_bytes_before"]
    third = line.run(of(task, "evaluate"), "--parent", small["run"]["run_id"])
    assert third["run"]["metrics"]["num_samples"] == first["run"]["metrics"]["num_samples"]


QDQ = ("quantize.backend=modelopt.onnx", "quantize.mode=static_ptq")


def test_int8_weights_of_a_checkpoint_are_a_parent_too(trained: tuple[Line, str, str]) -> None:
    line, task, run = trained
    small = line.run(of(task, "quantize"), "--parent", run, "--max-drop", "100%")
    again = line.run(of(task, "evaluate"), "--parent", small["run"]["run_id"])
    assert Path(read_json(RunFolder(Path(again["run"]["run_dir"])).plan)["parent"]["checkpoint"]).suffix == ".pth"  # type: ignore[index]


def test_an_existing_file_is_kept_unless_force_says_otherwise(trained: tuple[Line, str, str]) -> None:
    line, task, run = trained
    target = line.folder / "line 3.onnx"
    target.write_bytes(b"yesterday's")
    words = (of(task, "export"), "--parent", run, f"export.onnx_file={target}")
    error = line.refused(9, *words)
    assert "line 3.onnx" in error["message"]
    assert target.read_bytes() == b"yesterday's"
    line.run(*words, "--force")
    assert target.stat().st_size > 1000


def test_predict_answers_for_a_run_and_for_a_file(trained: tuple[Line, str, str]) -> None:
    line, task, run = trained
    if task == "segment":
        golden, test = line.folder / "data" / "A", line.folder / "data" / "B"
    else:
        spec = read_spec(RunFolder(line.folder / "runs" / run).spec).values
        folder = Path(spec["dataset"]["classify"]["validation_dataset"]["images_dir"])
        images = sorted(path for path in folder.rglob("*") if path.is_file())[:2]
        golden = test = images[0]
    exported = line.run(of(task, "export"), "--parent", run)["run"]["run_id"]
    answers = []
    for model in (run, exported):
        done = line.type("predict", "--model", model, "--golden", golden, "--test", test, "--out", "seen", "--json")
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout)["predictions"])
    assert [row["name"] for row in answers[0]] == [row["name"] for row in answers[1]]
    scores = [[row["score"] for row in rows] for rows in answers]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3), "the checkpoint and its ONNX file"
    pictures = [path for path in (line.folder / "seen").rglob("*") if path.suffix in (".png", ".jpg")]
    assert pictures
    assert all(np.asarray(Image.open(path)).size for path in pictures)
