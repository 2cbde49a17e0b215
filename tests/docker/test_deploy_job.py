"""Train, export, quantize in the training image; evaluate and infer in the deploy image, which has no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillrun import images
from skillrun.data.synth import synth
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder

TINY = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=32",
    "dataset.classify.image_height=32",
    "batch_size=4",
    "num_epochs=1",
    "train.threads=1",
)

QDQ = ("quantize.backend=modelopt.onnx", "quantize.mode=static_ptq")


@pytest.fixture
def answer(workspace: Path, cpu_image: str, cpu_deploy_image: str) -> Any:
    """Runs ``skillrun visual_changenet …`` in containers without a GPU, and gives its answer."""

    def typed(*words: str | Path) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("skillrun")), "visual_changenet", *map(str, words)]
        done = subprocess.run(
            [*command, "--backend", "docker", "--gpus", "none", "--json"],
            cwd=workspace,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout)["run"])

    return typed


def test_a_model_goes_from_the_training_image_into_the_deploy_image(answer: Any, workspace: Path) -> None:
    boards = workspace / "boards"
    synth(boards, pairs=16, size=32, seed=5)
    data = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    trained = answer("train", "--no-automl", *data, *TINY)
    first = answer("evaluate", "--parent", trained["run_id"])
    exported = answer("export", "--parent", trained["run_id"])
    assert exported["metrics"]["parity_pairs"] > 1
    second = answer("trt_evaluate", "--parent", exported["run_id"])
    for name in ("test_acc", "average_precision", "escape_rate", "overkill_rate"):
        assert second["metrics"][name] == pytest.approx(first["metrics"][name], abs=1e-4), name
    plan = Plan.load(RunFolder(Path(second["run_dir"])).plan)
    assert plan.image == images.resolve("skillrun.visual_changenet_deploy", cpu=True).reference
    answer("trt_inference", "--parent", exported["run_id"], "--infer-data", boards / "eval")
    small = answer("quantize", "--parent", exported["run_id"], "--max-drop", "100%", *QDQ)
    third = answer("trt_evaluate", "--parent", small["run_id"])
    assert third["metrics"]["num_samples"] == first["metrics"]["num_samples"]
