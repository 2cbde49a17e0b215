"""The command predict and the class Predictor."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from visual_changenet import Predictor
from visual_changenet.cli import main
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.segment import SegmentDataset
from visual_changenet.errors import DataInvalidError
from visual_changenet.preparation import Preparation
from visual_changenet.runtime.card import METADATA_KEY, Card, Lights

torch.set_num_threads(2)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def card(**more: Any) -> Card:
    base: dict[str, Any] = {
        "task": "classify",
        "classes": 2,
        "margin": 0.5,
        "score": "distance",
        "input": (24, 32),
        "mean": MEAN,
        "std": STD,
        "lights": Lights(1, None, "linear", {"x": 2, "y": 2}),
        "num_golden": 1,
        "align": "none",
        "precision": "fp32",
        "spec_sha256": "",
        "parent_run": None,
        "package_version": "1",
    }
    return Card(**base | more)


def write_model(path: Path, model: Card) -> Path:
    """classify: the mean absolute difference; segment: class 1 where the pair differs much."""
    names = model.input_names
    shapes = [["batch", *shape[1:]] for shape in model.shapes(1)]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)]
    nodes = [helper.make_node("Sub", list(names), ["gap"]), helper.make_node("Abs", ["gap"], ["size"])]
    height, width = model.input
    if model.task == "classify":
        nodes.append(helper.make_node("ReduceMean", ["size"], ["output"], axes=[1, 2, 3], keepdims=0))
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch"])]
    else:
        nodes.append(helper.make_node("ReduceMean", ["size"], ["change"], axes=[1], keepdims=1))
        nodes.append(helper.make_node("Sub", ["change", "half"], ["class1"]))
        nodes.append(helper.make_node("Neg", ["class1"], ["class0"]))
        nodes += [helper.make_node("Concat", ["class0", "class1"], [name], axis=1) for name in model.output_names]
        shape = ["batch", 2, height, width]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in model.output_names]
    constants = [helper.make_tensor("half", TensorProto.FLOAT, [1, 1, 1, 1], [1.0])]
    graph = helper.make_graph(nodes, "gap", inputs, outputs, constants if model.task == "segment" else [])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, {METADATA_KEY: model.to_json()})
    onnx.save(made, path)
    return path


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 50), patch: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (*size, 3), dtype=np.uint8)
    if patch:
        pixels[10:30, 10:30] = 255
    Image.fromarray(pixels).save(path)
    return path


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def run(*words: object, code: int = 0) -> None:
    assert main(["predict", *(str(word) for word in words)]) == code


def test_a_pair_of_files_with_different_names_and_the_margin(
    hostile_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(hostile_dir / "gap.onnx", card())
    golden, test = picture(hostile_dir / "gold.png", 1), picture(hostile_dir / "unit.png", 1, patch=True)
    run("--model", model, "--golden", golden, "--test", test)
    name, score, decision = capsys.readouterr().out.split()
    assert (name, decision) == ("unit", "NO_PASS")
    run("--model", model, "--golden", golden, "--test", test, "--json", "--margin", 5, "--out", hostile_dir / "out")
    (found,) = said(capsys)
    assert found["decision"] == "PASS"
    assert found["score"] == pytest.approx(float(score), abs=1e-6)
    with Image.open(hostile_dir / "out" / found["picture"]) as sheet:
        assert sheet.width > 2 * 32
    assert found["mask"] is None
    assert len((hostile_dir / "out" / "predictions.csv").read_text("utf-8").splitlines()) == 2


def test_two_folders_are_paired_by_name_and_masks_are_lossless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = card(task="segment", margin=None, score="softmax", lights=None, input=(32, 32))
    model = write_model(tmp_path / "mask.onnx", masks)
    for index, name in enumerate(("a", "sub/b")):
        picture(tmp_path / "golden" / f"{name}.png", index)
        picture(tmp_path / "test" / f"{name}.bmp", index, patch=index == 1)
    run(
        "--model",
        model,
        "--golden",
        tmp_path / "golden",
        "--test",
        tmp_path / "test",
        "--json",
        "--out",
        tmp_path / "o",
    )
    found = said(capsys)
    assert [(row["name"], row["decision"]) for row in found] == [("a", "NO_CHANGE"), ("sub/b", "CHANGE")]
    mask = np.asarray(Image.open(tmp_path / "o" / found[1]["mask"]))
    assert set(np.unique(mask)) == {0, 255}
    assert mask.mean() / 255 == pytest.approx(400 / 2000, abs=0.05)
    (tmp_path / "golden" / "a.png").unlink()
    run("--model", model, "--golden", tmp_path / "golden", "--test", tmp_path / "test", code=7)
    assert "'a'" in capsys.readouterr().err


def test_lights_are_told_by_suffix_and_their_order_is_the_cards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lights = Lights(2, {"White": 0, "Low": 1}, "grid", {"x": 2, "y": 1})
    model = write_model(tmp_path / "gap.onnx", card(lights=lights, input=(24, 64)))
    for side, patch in (("golden", False), ("test", True)):
        for light in ("Low", "White"):
            picture(tmp_path / side / f"board_7_{light}.png", 3, patch=patch and light == "White")
    expected = Predictor(model).predict(
        [tmp_path / "golden" / f"board_7_{light}.png" for light in ("White", "Low")],
        [tmp_path / "test" / f"board_7_{light}.png" for light in ("White", "Low")],
    )
    assert expected.test[:, :32].max() == 255
    assert expected.test[:, 32:].max() < 255
    for golden, test in (("golden", "test"), ("golden/board_7_Low.png", "test/board_7_White.png")):
        run("--model", model, "--golden", tmp_path / golden, "--test", tmp_path / test, "--json")
        (found,) = said(capsys)
        assert (found["name"], found["score"]) == ("board_7", pytest.approx(expected.score))
    (tmp_path / "test" / "board_7_Low.png").unlink()
    run("--model", model, "--golden", tmp_path / "golden", "--test", tmp_path / "test", code=7)
    assert "'_Low'" in capsys.readouterr().err


def test_arrays_are_prepared_as_files_are(tmp_path: Path) -> None:
    predictor = Predictor(write_model(tmp_path / "gap.onnx", card()))
    golden, test = picture(tmp_path / "g.png", 1), picture(tmp_path / "t.png", 2)
    arrays = [np.array(Image.open(path)) for path in (golden, test)]
    assert predictor.predict(*arrays).score == predictor.predict(golden, str(test)).score
    for wrong in (arrays[0].astype(np.float32), arrays[0][:, :, 0], [golden, golden]):
        with pytest.raises(DataInvalidError) as caught:
            predictor.predict(wrong, test)
        assert caught.value.code == "E_PREDICT_INPUT"


@pytest.mark.parametrize("align", ["none", "translation", "ecc"])
def test_the_arrays_are_those_of_the_data_sets(trained: Path, trained_segment: Path, case: Any, align: str) -> None:
    from visual_changenet.spec import load_spec

    data = load_spec(trained / "spec.yaml")["dataset"]["classify"]
    data |= {"align": align, "image_height": 24, "image_width": 40}
    pairs = ClassifyDataset(data, "test")
    options = data["augmentation_config"]
    normal = {"mean": tuple(options["rgb_input_mean"]), "std": tuple(options["rgb_input_std"])}
    preparation = Preparation(card(input=(24, 40), align=align, **normal))
    for index in range(3):
        name = f"{index:03d}.png"
        found = preparation.pair(trained / "golden" / name, trained / "unit" / name)
        test, golden, _ = pairs[index]
        np.testing.assert_array_equal(found.first[0], test.numpy())
        np.testing.assert_array_equal(found.second[0], golden.numpy())
    section = load_spec(trained_segment / "spec.yaml")["dataset"]["segment"] | {"align": align, "img_size": 40}
    masks = SegmentDataset(section, "test")
    normal = {name: tuple(section["augmentation"][name]) for name in ("mean", "std")}
    model = card(task="segment", margin=None, score="softmax", lights=None, input=(40, 40), align=align, **normal)
    for index, name in enumerate(masks.names):
        found = Preparation(model).pair(trained_segment / "A" / name, trained_segment / "B" / name)
        golden, test, *_ = masks[index]
        np.testing.assert_array_equal(found.first[0], golden.numpy())
        np.testing.assert_array_equal(found.second[0], test.numpy())


def test_a_checkpoint_predicts_what_its_evaluation_scored(
    trained: Path, case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    spec = ["-e", str(trained / "spec.yaml"), f"inference.results_dir={tmp_path}"]
    assert main(["inference", *spec, f"inference.checkpoint={checkpoint}"]) == 0
    capsys.readouterr()
    run("--model", checkpoint, "--golden", trained / "golden", "--test", trained / "unit", "--json", "--device", "cpu")
    scores = [float(row[-1]) for row in case.rows(tmp_path / "inference.csv")[1:]]
    assert [row["score"] for row in said(capsys)] == pytest.approx(scores, abs=1e-5)


LIGHT = """
import sys
import visual_changenet
assert "numpy" not in sys.modules and "onnxruntime" not in sys.modules
from visual_changenet.cli import main
code = main(sys.argv[1:])
heavy = [name for name in ("torch", "lightning", "torchmetrics", "onnx") if name in sys.modules]
assert not heavy, heavy
sys.exit(code)
"""


def test_an_exported_model_predicts_without_torch(tmp_path: Path) -> None:
    model = write_model(tmp_path / "gap.onnx", card())
    golden, test = picture(tmp_path / "g.png", 1), picture(tmp_path / "t.png", 1, patch=True)
    words = ["predict", "--model", model, "--golden", golden, "--test", test, "--json", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *(str(word) for word in words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["decision"] == "NO_PASS"


def test_several_goldens_are_the_first_of_a_folder(tmp_path: Path) -> None:
    from visual_changenet.actions.predict_pairs import find_pairs

    several = card(num_golden=3, score="softmax")
    for name in ("x", "y"):
        picture(tmp_path / "golden" / f"{name}.png", 1)
    picture(tmp_path / "golden" / "t" / "own.png", 2)
    picture(tmp_path / "test" / "t.png", 3)
    picture(tmp_path / "test" / "u.png", 3)
    found = find_pairs(tmp_path / "golden", tmp_path / "test", several)
    assert [[files[0].stem for files in pair.golden] for pair in found] == [["own"] * 3, ["own", "x", "y"]]
    prepared = Preparation(several).pair(found[1].golden, found[1].test)
    assert prepared.second.shape == (1, 3, 3, 24, 32)


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "gap.onnx", card())
    image = picture(tmp_path / "g.png", 1)
    run("--model", tmp_path / "none.onnx", "--golden", image, "--test", image, code=5)
    run("--model", model, "--golden", tmp_path / "none.png", "--test", image, code=5)
    (tmp_path / "empty").mkdir()
    run("--model", model, "--golden", image, "--test", tmp_path / "empty", code=7)
    shutil.copyfile(model, tmp_path / "t.png")
    run("--model", model, "--golden", image, "--test", tmp_path / "t.png", code=7)
    errors = capsys.readouterr().err
    for code in ("E_MODEL_MISSING", "E_PREDICT_MISSING", "E_PREDICT_PAIRS", "E_DATA_IMAGE"):
        assert code in errors
