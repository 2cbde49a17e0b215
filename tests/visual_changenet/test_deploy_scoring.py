"""evaluate and inference of an exported model give what those of its checkpoint give."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from visual_changenet.cli import main
from visual_changenet.models import build_model
from visual_changenet.spec import load_spec

torch.set_num_threads(2)
SPEED = {"latency_batch", "latency_p50_ms", "latency_p95_ms", "pairs_per_s"}


def run(action: str, folder: Path, *overrides: str, code: int = 0) -> dict[str, Any]:
    """Metrics of an action on the spec of ``folder``; results go to ``folder/<action>``."""
    section = action.removeprefix("trt_")
    where = f"{section}.results_dir={folder / action}"
    assert main([action, "-e", str(folder / "spec.yaml"), where, *overrides]) == code
    found: dict[str, Any] = json.loads((folder / action / "result.json").read_text(encoding="utf-8"))
    return found


def close(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() - theirs.keys() == SPEED
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-4)


@pytest.fixture
def euclidean(case: Any, tmp_path: Path) -> Path:
    """A spec whose checkpoint is a network of distances, with two lights in a grid."""
    spec = yaml.safe_load(case.write_spec(tmp_path).read_text(encoding="utf-8"))
    for name in ("unit", "golden"):
        for path in sorted((tmp_path / name).iterdir()):
            for light in ("Low", "White"):
                shutil.copyfile(path, path.with_name(f"{path.stem}_{light}.png"))
    spec["model"]["classify"] |= {"difference_module": "euclidean", "eval_margin": 0.02}
    data = spec["dataset"]["classify"]
    data |= {"num_input": 2, "input_map": {"Low": 0, "White": 1}, "concat_type": "grid", "grid_map": {"x": 2, "y": 1}}
    data |= {"image_width": 64, "image_height": 64, "batch_size": 5}
    spec["train"]["classify"]["loss"] = "contrastive"
    checkpoint = tmp_path / "net.pth"
    spec |= {name: {"checkpoint": str(checkpoint)} for name in ("evaluate", "inference")}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    whole = load_spec(tmp_path / "spec.yaml")
    torch.manual_seed(0)
    state = {f"model.{name}": value for name, value in build_model(whole).state_dict().items()}
    torch.save({"state_dict": state, "spec": whole, "tao_model": "visual_changenet_classify"}, checkpoint)
    return tmp_path


def test_a_network_of_distances_scores_alike_with_other_keys_in_the_spec(euclidean: Path) -> None:
    checkpoint, model = euclidean / "net.pth", euclidean / "net.onnx"
    run("export", euclidean, f"export.checkpoint={checkpoint}", f"export.onnx_file={model}")
    wanted = run("evaluate", euclidean)
    # Geometry, normalisation and margin are the card's, whatever the spec says.
    wrong = ["concat_type=linear", "image_width=32", "augmentation_config.rgb_input_std=[0.1,0.1,0.1]"]
    found = run(
        "evaluate",
        euclidean,
        f"evaluate.checkpoint={model}",
        "model.classify.eval_margin=3",
        *(f"dataset.classify.{text}" for text in wrong),
    )
    close(found["metrics"], wanted["metrics"])
    assert found["environment"]["runtime"] == "CPUExecutionProvider"
    notices = (euclidean / "evaluate" / "events.jsonl").read_text("utf-8")
    assert "eval_margin is 0.02 as in the model file, not 3.0" in notices
    assert f"CPUExecutionProvider computes from {model}" in notices


@pytest.mark.parametrize("batch", [-1, 8])
def test_metrics_and_tables_of_a_classifier_are_those_of_its_checkpoint(
    trained: Path, case: Any, tmp_path: Path, batch: int
) -> None:
    shutil.copyfile(trained / "spec.yaml", tmp_path / "spec.yaml")
    checkpoint = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    model = tmp_path / "net.onnx"
    run(
        "export", tmp_path, f"export.checkpoint={checkpoint}", f"export.onnx_file={model}", f"export.batch_size={batch}"
    )
    # 12 rows: the last batch of 5 is incomplete, and a static graph takes 8 at a time.
    wanted = run("evaluate", tmp_path, f"evaluate.checkpoint={checkpoint}", "evaluate.batch_size=5")
    files = sorted(path.name for path in (tmp_path / "evaluate").iterdir())
    table = case.rows(tmp_path / "evaluate" / "evaluate.csv")
    found = run("evaluate", tmp_path, f"evaluate.checkpoint={model}", "evaluate.batch_size=5")
    close(found["metrics"], wanted["metrics"])
    assert found["metrics"]["latency_batch"] == 5
    assert sorted(path.name for path in (tmp_path / "evaluate").iterdir()) == files
    assert found["artifacts"] == wanted["artifacts"]
    again = case.rows(tmp_path / "evaluate" / "evaluate.csv")
    assert again[0] == table[0]
    for ours, theirs in zip(again[1:], table[1:], strict=True):
        assert ours[:-2] == theirs[:-2]
        assert float(ours[-2]) == pytest.approx(float(theirs[-2]), abs=1e-4)
    predicted = run("inference", tmp_path, f"inference.checkpoint={model}")["metrics"]
    assert predicted["num_samples"] == 12
    assert predicted.keys() >= SPEED


@pytest.mark.parametrize("average", [False, True])
def test_masks_of_an_exported_model_are_those_of_its_checkpoint(
    trained_segment: Path, tmp_path: Path, average: bool
) -> None:
    shutil.copyfile(trained_segment / "spec.yaml", tmp_path / "spec.yaml")
    checkpoint = trained_segment / "results" / "train" / "changenet_model_segment_latest.pth"
    model = tmp_path / "net.onnx"
    run("export", tmp_path, f"export.checkpoint={checkpoint}", f"export.onnx_file={model}", "export.batch_size=3")
    more = [f"dataset.segment.multi_scale_infer={average}", "evaluate.batch_size=3"]
    wanted = run("evaluate", tmp_path, f"evaluate.checkpoint={checkpoint}", *more)
    pictures = {path.name: Image.open(path).tobytes() for path in (tmp_path / "evaluate" / "masks").iterdir()}
    assert len(pictures) == 4
    found = run("evaluate", tmp_path, f"evaluate.checkpoint={model}", *more)
    close(found["metrics"], wanted["metrics"])
    again = {path.name: Image.open(path).tobytes() for path in (tmp_path / "evaluate" / "masks").iterdir()}
    assert again == pictures
    assert run("inference", tmp_path, f"inference.checkpoint={model}")["metrics"]["num_samples"] == 3
