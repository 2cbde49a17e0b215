"""Action quantize from the command line, on networks whose own decisions are the labels of their data."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image

from visual_changenet.cli import main
from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.segment import SegmentDataset
from visual_changenet.models import build_model
from visual_changenet.runtime import open_runtime
from visual_changenet.spec import validate

torch.set_num_threads(2)
SIDE, PAIRS = 32, 12
STATIC = ("quantize.backend=modelopt.onnx", "quantize.mode=static_ptq")
Make = Callable[[str], Path]


def base_spec(folder: Path, task: str) -> dict[str, Any]:
    """A complete spec but for its data."""
    data: dict[str, Any] = {"image_height": SIDE, "image_width": SIDE, "num_input": 1, "input_map": None}
    if task == "segment":
        data = {"img_size": SIDE, "root_dir": str(folder)}
    return {
        "task": task,
        "results_dir": str(folder / "results"),
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "classify": {"difference_module": "learnable", "embed_dec": 8, "eval_margin": 0.5},
            "decode_head": {"decoder_params": {"embed_dim": 16}},
        },
        "dataset": {task: data | {"batch_size": 4, "workers": 0}},
        "train": {"threads": 2, "device": "cpu", "classify": {"loss": "ce"}},
        "quantize": {"model_path": str(folder / "net.pth"), "device": "cpu"},
    }


def write_pictures(folder: Path, first: str, second: str) -> list[str]:
    """Golden and test images that differ by a patch of another size and brightness each."""
    rng = np.random.default_rng(3)
    names = [f"{index:02d}.png" for index in range(PAIRS)]
    for index, name in enumerate(names):
        golden = rng.integers(0, 160, (SIDE, SIDE, 3), dtype=np.uint8)
        test = golden.copy()
        test[4 : 6 + 2 * index, 6 : 8 + 2 * index] = 20 * index
        for part, image in ((first, golden), (second, test)):
            (folder / part).mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / part / name)
    return names


def lively_network(spec: dict[str, Any]) -> Any:
    """A network of random weights; those that would start next to zero have an effect too."""
    torch.manual_seed(0)
    network = build_model(spec).eval()
    with torch.no_grad():
        for value in network.parameters():
            if value.abs().max() < 1e-3:
                value.normal_(std=0.1)
    return network


def write_table(folder: Path, names: list[str], labels: list[str]) -> None:
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_path", "golden_path", "label", "object_name"])
        writer.writerows(["test", "golden", label, Path(name).stem] for name, label in zip(names, labels, strict=True))


def save(folder: Path, spec: dict[str, Any], network: Any) -> Path:
    """The checkpoint, with the data in the spec that it carries, and a spec file without data."""
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(
        {"state_dict": state, "tao_model": f"visual_changenet_{spec['task']}", "spec": validate(spec)},
        folder / "net.pth",
    )
    bare = base_spec(folder, spec["task"])
    bare["model"]["classify"]["eval_margin"] = spec["model"]["classify"]["eval_margin"]
    bare["dataset"]["segment"] = {"root_dir": "", "batch_size": 4, "workers": 0}
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(bare, allow_unicode=True), encoding="utf-8")
    return path


def make_classify(folder: Path) -> Path:
    names = write_pictures(folder, "golden", "test")
    write_table(folder, names, ["PASS"] * PAIRS)
    spec = base_spec(folder, "classify")
    source = {"csv_path": str(folder / "data.csv"), "images_dir": str(folder)}
    spec["dataset"]["classify"] |= {"train_dataset": source, "test_dataset": source, "image_ext": ".png"}
    complete = validate(spec)
    network, data = lively_network(complete), ClassifyDataset(complete["dataset"]["classify"], "test")
    with torch.inference_mode():
        scores = [float(network.score(network(test[None], golden[None]))) for test, golden, _ in data]
    ranked = sorted(scores)
    margin = (ranked[PAIRS // 2 - 1] + ranked[PAIRS // 2]) / 2
    write_table(folder, names, ["bridge" if score > margin else "PASS" for score in scores])
    spec["model"]["classify"]["eval_margin"] = margin
    return save(folder, spec, network)


def make_segment(folder: Path) -> Path:
    names = write_pictures(folder, "A", "B")
    (folder / "list").mkdir()
    for split in ("train", "val", "test"):
        (folder / "list" / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
    spec = base_spec(folder, "segment")
    complete = validate(spec)
    network = lively_network(complete)
    data = SegmentDataset(complete["dataset"]["segment"], "test", labelled=False)
    with torch.inference_mode():
        maps = torch.cat([network(golden[None], test[None])[-1] for golden, test, *_ in data])
        lead = (maps[:, 1] - maps[:, 0]).median()
        network.decoder.change_probability.conv2d.bias[0] += lead
    (folder / "label").mkdir()
    for name, change in zip(names, (maps[:, 1] - maps[:, 0] > lead).numpy(), strict=True):
        Image.fromarray((change * 255).astype(np.uint8)).save(folder / "label" / name)
    return save(folder, spec, network)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The spec file of a task's network; made once, with results in a folder that each test names anew."""
    known: dict[str, Path] = {}

    def get(task: str) -> Path:
        if task not in known:
            folder = tmp_path_factory.mktemp("a b'c,é$x")
            known[task] = make_classify(folder) if task == "classify" else make_segment(folder)
        return known[task]

    return get


def quantize(spec: Path, results: Path, *overrides: str) -> int:
    return main(["quantize", "-e", str(spec), f"quantize.results_dir={results}", *overrides])


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def notices(folder: Path) -> str:
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    return " ".join(json.loads(line).get("message", "") for line in lines)


def test_small_weights_make_a_plain_checkpoint_that_evaluate_opens_by_itself(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make("classify")
    assert quantize(spec, tmp_path, "quantize.max_drop=0.3") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0].split() == ["before", "after", "change"]
    target = tmp_path / "quantized_model_torchao.pth"
    content = torch.load(target, weights_only=True)
    assert {type(value) for value in content["state_dict"].values()} == {torch.Tensor}
    assert content["spec"]["task"] == "classify"
    dtypes = {name: value.dtype for name, value in content["state_dict"].items()}
    assert dtypes["model.backbone.blocks.0.attn.q.weight_qdata"] == torch.int8
    assert "model.backbone.blocks.0.attn.q.weight" not in dtypes
    assert dtypes["model.decoder.classifier.6.weight"] == torch.float32
    report = read(tmp_path / "quantize.json")
    assert report["passed"] and report["quality"]["before"]["accuracy"] == 1.0
    assert report["quality"]["agreement"] >= 0.75
    assert report["bytes"][1] < 0.6 * report["bytes"][0]
    assert [[side["batch"] for side in pair] for pair in report["latencies"]] == [[1, 1], [4, 4]]
    result = read(tmp_path / "result.json")
    assert [(entry["path"], entry["kind"]) for entry in result["artifacts"]] == [
        ("quantize.json", "quantize"),
        (target.name, "model"),
    ]
    assert result["metrics"]["accuracy_after"] == report["quality"]["after"]["accuracy"]
    assert "convolutions stay" in notices(tmp_path)
    data = str(spec.parent / "data.csv")
    again = tmp_path / "again"
    source = "dataset.classify.test_dataset"
    words = [f"{source}.csv_path={data}", f"{source}.images_dir={spec.parent}", "dataset.classify.image_ext=.png"]
    words += [f"evaluate.checkpoint={target}", f"evaluate.results_dir={again}"]
    assert main(["evaluate", "-e", str(spec), *words]) == 0
    metrics = read(again / "metrics.json")
    assert metrics["test_acc"] / 100 == pytest.approx(report["quality"]["after"]["accuracy"])
    assert "weights of 8 bits" in notices(again)


def test_a_calibrated_graph_decides_most_pairs_alike_and_is_plain_symmetric_onnx(make: Make, tmp_path: Path) -> None:
    assert quantize(make("classify"), tmp_path, *STATIC, "quantize.max_drop=0.3") == 0
    path = tmp_path / "model.int8.onnx"
    runtime = open_runtime(path, "cpu", threads=2)
    assert runtime.card.precision == "int8" and runtime.card.margin is not None
    assert runtime.batch == (1, None)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) > 100
    assert all(not constants[node.input[2]].any() for node in pairs)
    weights = [node for node in pairs if node.input[0] in constants and constants[node.input[0]].dtype == np.int8]
    assert any(constants[node.input[1]].size > 1 for node in weights)
    # Both images pass the same layers: one stored weight, and equal numbers for equal images.
    q = [name for name in constants if name.startswith("network.backbone.blocks.0.attn.q.weight") and "scale" in name]
    assert len(q) == 1
    scales = [
        float(constants[node.input[1]])
        for node in pairs
        if node.op_type == "QuantizeLinear" and "blocks.0/norm1" in node.input[0]
    ]
    assert len(scales) == 2 and scales[0] == scales[1]
    report = read(tmp_path / "quantize.json")
    assert report["quality"]["agreement"] >= 0.75
    assert report["calibration_pairs"] == PAIRS and report["calibration"].endswith("data.csv")
    assert "decoder.classifier.6" in report["in_float"]
    assert report["bytes"][1] < 0.5 * report["bytes"][0]
    told = notices(tmp_path)
    assert "modelopt is not installed" in told and "no calibration images are given" in told
    assert [entry["kind"] for entry in read(tmp_path / "result.json")["artifacts"]] == ["quantize", "onnx"]


def write_black(folder: Path, first: str, second: str) -> None:
    for part in (first, second):
        (folder / part).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (SIDE, SIDE)).save(folder / part / f"{index}.png")


def test_a_calibration_on_black_images_is_rejected_with_exit_11(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = tmp_path / "black"
    write_black(black, "golden", "test")
    folder = f"dataset.classify.quant_calibration_dataset.images_dir={black}"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.int8.onnx").write_bytes(b"the one of before")
    assert quantize(make("classify"), tmp_path / "out", *STATIC, folder, "quantize.max_drop=0.3") == 11
    said = capsys.readouterr()
    assert "error[E_QUANTIZE_DROP]" in said.err and "accuracy 1.0000 ->" in said.err
    assert "accuracy" in said.out
    assert (tmp_path / "out" / "model.int8.onnx").read_bytes() == b"the one of before"
    assert (tmp_path / "out" / "model.int8.onnx.rejected").is_file()
    report, result = (read(tmp_path / "out" / name) for name in ("quantize.json", "result.json"))
    assert not report["passed"] and "accuracy" in report["failed"]
    assert result["error"]["code"] == "E_QUANTIZE_DROP"
    assert {entry["kind"] for entry in result["artifacts"]} == {"quantize", "rejected"}


def test_an_exported_file_is_calibrated_on_a_folder_of_pairs_and_measured_with_its_past(
    make: Make, tmp_path: Path
) -> None:
    spec = make("classify")
    checkpoint = spec.parent / "net.pth"
    exported = tmp_path / "export"
    words = [f"export.checkpoint={checkpoint}", f"export.results_dir={exported}", "export.batch_size=2"]
    assert main(["export", "-e", str(spec), *words]) == 0
    entropy = ["quantize.algorithm=entropy", "quantize.backend_kwargs={activation_type: QUInt8}"]
    folder = f"dataset.classify.quant_calibration_dataset.images_dir={spec.parent}"
    source = f"quantize.model_path={exported / 'net.onnx'}"
    words = [source, folder, *entropy, "dataset.classify.image_ext=.png", "quantize.max_drop=0.5"]
    assert quantize(spec, tmp_path / "out", *STATIC, *words) == 0
    report = read(tmp_path / "out" / "quantize.json")
    assert report["calibration"] == str(spec.parent) and report["evaluation"].endswith("data.csv")
    assert open_runtime(tmp_path / "out" / "model.int8.onnx", "cpu").batch == (2, 2)


def test_masks_are_quantized_both_ways(make: Make, tmp_path: Path) -> None:
    spec = make("segment")
    single, gate = "dataset.segment.batch_size=1", "quantize.max_drop=0.015"
    assert quantize(spec, tmp_path / "weights", single, gate) == 0
    folder = f"dataset.segment.quant_calibration_dataset.images_dir={spec.parent}"
    assert quantize(spec, tmp_path / "graph", *STATIC, folder, single, gate) == 0
    for name in ("weights", "graph"):
        quality = read(tmp_path / name / "quantize.json")["quality"]
        assert quality["before"]["miou"] > 0.99
        assert quality["agreement"] > 0.8
        assert set(quality["after"]) == {"accuracy", "miou", "iou_change"}
    assert open_runtime(tmp_path / "graph" / "model.int8.onnx", "cpu").card.task == "segment"
    black = tmp_path / "black"
    write_black(black, "A", "B")
    folder = f"dataset.segment.quant_calibration_dataset.images_dir={black}"
    assert quantize(spec, tmp_path / "bad", *STATIC, folder, single, gate) == 11


REFUSED = [
    (["quantize.mode=static_ptq"], "E_QUANTIZE_MODE"),
    (["quantize.backend=modelopt.onnx"], "E_QUANTIZE_MODE"),
    (["quantize.algorithm=entropy"], "E_QUANTIZE_ALGORITHM"),
    ([*STATIC, "quantize.algorithm=awq_lite"], "E_QUANTIZE_ALGORITHM"),
    (["quantize.backend=modelopt.pytorch", "quantize.mode=static_ptq"], "E_QUANTIZE_LIBRARY"),
    (["quantize.model_path=model.onnx"], "E_QUANTIZE_SOURCE"),
    (["quantize.backend_kwargs={group_size: 32}"], "E_QUANTIZE_KWARGS"),
    ([*STATIC, "quantize.backend_kwargs={activation_type: QInt4}"], "E_QUANTIZE_KWARGS"),
    (["quantize.model_path=nowhere.pth"], "E_CHECKPOINT_MISSING"),
    ([*STATIC, "quantize.model_path=nowhere.onnx"], "E_MODEL_MISSING"),
    (["quantize.layers=[{module_name: Conv2d}]"], "E_QUANTIZE_PATTERN"),
    (["quantize.skip_names=[decoder.clasifier.0]"], "E_QUANTIZE_PATTERN"),
    (["quantize.skip_names=['*']"], "E_QUANTIZE_NOTHING"),
    ([*STATIC, "quantize.layers=[{module_name: Linear, weights: {dtype: fp8_e5m2}}]"], "E_QUANTIZE_DTYPE"),
    ([*STATIC, "dataset.classify.quant_calibration_dataset.images_dir=nowhere"], "E_QUANTIZE_CALIBRATION"),
    (["dataset.classify.test_dataset.csv_path=nowhere.csv"], "E_DATA_TABLE_MISSING"),
]


def test_what_can_not_be_quantized_is_refused_before_any_work(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make("classify")
    for words, code in REFUSED:
        assert quantize(spec, tmp_path, *words) in (2, 5, 7)
        said = capsys.readouterr().err
        assert f"error[{code}]" in said, said
        assert not list(tmp_path.glob("*model*"))
    quantize(spec, tmp_path, "quantize.skip_names=[decoder.clasifier.0]")
    assert "decoder.classifier.0" in capsys.readouterr().err


def test_without_labelled_pairs_a_model_is_kept_only_where_the_gate_is_open(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make("classify")
    content = torch.load(spec.parent / "net.pth", weights_only=True)
    alone = tmp_path / "alone.pth"
    torch.save({"state_dict": content["state_dict"]}, alone)
    assert quantize(spec, tmp_path, f"quantize.model_path={alone}") == 7
    assert "error[E_QUANTIZE_NO_DATA]" in capsys.readouterr().err
    assert quantize(spec, tmp_path, f"quantize.model_path={alone}", "quantize.max_drop=null") == 0
    assert "not measured" in notices(tmp_path)
    report = read(tmp_path / "quantize.json")
    assert report["quality"] is None and report["latencies"] and report["passed"]
