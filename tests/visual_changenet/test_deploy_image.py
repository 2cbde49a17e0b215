"""What the deploy image does, which has no torch: scoring an exported model with the data sets of the training."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from visual_changenet.cli import main

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "torchmetrics", "onnx", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from visual_changenet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_an_exported_model_is_evaluated_without_torch(
    trained: Path, trained_segment: Path, tmp_path: Path, task: str
) -> None:
    folder = trained if task == "classify" else trained_segment
    checkpoint = folder / "results" / "train" / f"changenet_model_{task}_latest.pth"
    model = tmp_path / "net.onnx"
    spec = ["-e", str(folder / "spec.yaml")]
    where = [f"{name}.results_dir={tmp_path / name}" for name in ("export", "evaluate", "inference")]
    assert main(["export", *spec, *where, f"export.checkpoint={checkpoint}", f"export.onnx_file={model}"]) == 0
    assert main(["evaluate", *spec, *where, f"evaluate.checkpoint={checkpoint}"]) == 0
    result = tmp_path / "evaluate" / "result.json"
    wanted: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))["metrics"]
    for action in ("evaluate", "inference"):
        words = [action, *spec, *where, f"{action}.checkpoint={model}"]
        done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text(encoding="utf-8"))["metrics"]
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
