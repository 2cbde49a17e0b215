"""The parts of a quantization: patterns, stored weights, folded graphs, the gate."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from visual_changenet.errors import RejectedError, SpecError
from visual_changenet.export.graph import make_card, write_graph
from visual_changenet.export.pairs import synthetic_pairs
from visual_changenet.export.target import Target
from visual_changenet.models import build_model
from visual_changenet.quantize.folding import fold_weights
from visual_changenet.quantize.measure import Quality
from visual_changenet.quantize.patterns import Layer, choose_formats
from visual_changenet.quantize.report import Report
from visual_changenet.quantize.stored import dequantized, is_quantized
from visual_changenet.quantize.torchao_weights import quantized_state
from visual_changenet.runtime import open_runtime
from visual_changenet.spec import validate

torch.set_num_threads(2)
LAYERS = [
    Layer("backbone.0", ("backbone.0",), ("Linear",), fits=True),
    Layer("backbone.1", ("backbone.1",), ("Dense", "Linear"), fits=True),
    Layer("backbone.norm", ("backbone.norm",), ("LayerNorm",), fits=False),
    Layer("head", ("head", "/network/head/Gemm"), ("Linear",), fits=True, touchy=True),
]
FORMATS = ("int8", "fp8_e4m3fn")


def options(layers: object = (), skip: object = ()) -> dict[str, object]:
    return {"layers": layers, "skip_names": skip}


def test_without_rules_all_layers_but_the_touchy_ones_are_quantized() -> None:
    assert choose_formats(options(), LAYERS, FORMATS) == {"backbone.0": "int8", "backbone.1": "int8"}


def test_patterns_are_names_graph_names_or_classes_and_the_last_rule_counts() -> None:
    rules = [
        {"module_name": "Linear"},
        {"module_name": "backbone.*", "weights": {"dtype": "fp8_e4m3fn"}, "activations": {"dtype": "int8"}},
        {"module_name": "backbone.0", "weights": {"dtype": "native"}},
    ]
    assert choose_formats(options(rules), LAYERS, FORMATS) == {"backbone.1": "fp8_e4m3fn", "head": "int8"}
    assert choose_formats(options(rules, ["/network/head/*"]), LAYERS, FORMATS) == {"backbone.1": "fp8_e4m3fn"}
    assert choose_formats(options(skip=["LayerNorm", "Dense"]), LAYERS, FORMATS) == {"backbone.0": "int8"}


@pytest.mark.parametrize(
    ("rule", "code", "word"),
    [
        ({"module_name": "backbone.7"}, "E_QUANTIZE_PATTERN", "backbone.0"),
        ({"module_name": "*norm"}, "E_QUANTIZE_PATTERN", "Linear"),
        ({"weights": {"dtype": "int8"}}, "E_QUANTIZE_LAYERS", "module_name"),
        ({"module_name": "head", "wieghts": {}}, "E_QUANTIZE_LAYERS", "wieghts"),
        ({"module_name": "head", "weights": {"dtype": "int3"}}, "E_QUANTIZE_LAYERS", "int3"),
        ({"module_name": "head", "weights": {"dtype": "fp8_e5m2"}}, "E_QUANTIZE_DTYPE", "fp8_e5m2"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_what_was_meant(rule: object, code: str, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        choose_formats(options([rule]), LAYERS, FORMATS)
    assert caught.value.code == code
    assert word in caught.value.message + caught.value.fix


@pytest.mark.parametrize(("dtype", "error"), [("int8", 0.01), ("fp8_e4m3fn", 0.05), ("fp8_e5m2", 0.1)])
def test_stored_weights_are_those_of_the_library(dtype: str, error: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    content = {"state_dict": quantized_state(network, {"0": dtype})}
    assert is_quantized(content)
    assert content["state_dict"]["model.0.weight_qdata"].itemsize == 1
    state = dequantized(content)["state_dict"]
    assert set(state) == {f"model.{name}" for name in before}
    torch.testing.assert_close(state["model.0.weight"], network[0].weight.dequantize(), rtol=1e-6, atol=1e-7)
    gap = (state["model.0.weight"] - before["0.weight"]).norm() / before["0.weight"].norm()
    assert 0 < gap < error
    assert torch.equal(state["model.2.weight"], before["2.weight"])


def test_an_ordinary_checkpoint_is_left_as_it_is() -> None:
    content = {"state_dict": {"model.a_scale": torch.ones(1)}}
    assert dequantized(content) is content


def test_folding_changes_no_number_and_stores_each_weight_once(tmp_path: Path) -> None:
    data = {"image_height": 32, "image_width": 32, "num_input": 1, "input_map": None}
    spec = validate(
        {
            "task": "classify",
            "model": {"backbone": {"type": "fan_tiny_8_p4_hybrid"}, "classify": {"difference_module": "learnable"}},
            "dataset": {"classify": data},
            "train": {"classify": {"loss": "ce"}},
        }
    )
    torch.manual_seed(0)
    network = build_model(spec).eval()
    card = make_card(spec, network, (32, 32), "0" * 64, None)
    path, after = tmp_path / "net.onnx", tmp_path / "folded.onnx"
    model = write_graph(network, card, Target(path, 17, None), path)
    modules = fold_weights(model)
    onnx.save(model, after)
    names = dict(network.named_modules())
    assert len(modules) > 150 and set(modules.values()) <= set(names)
    assert after.stat().st_size <= path.stat().st_size
    pairs = synthetic_pairs(card, 2)
    ours, theirs = (open_runtime(file, "cpu", threads=2).run(pairs.first, pairs.second) for file in (after, path))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-6)


def report(**after: float) -> Report:
    before = {"accuracy": 0.9, "escape_rate": 0.1, "overkill_rate": 0.1, "average_precision": 0.9}
    quality = Quality(before, before | after, pairs=100, agreement=0.9, score_max_abs=0.1)
    return Report(
        model="m",
        backend="torchao",
        library="torchao 1",
        mode="weight_only_ptq",
        algorithm="minmax",
        formats={"int8": 3},
        in_float=[],
        calibration=None,
        calibration_pairs=0,
        evaluation="data.csv",
        max_drop=0.01,
        bytes=(100, 25),
        provider="cpu",
        quality=quality,
    )


@pytest.mark.parametrize(
    ("after", "failed"),
    [
        ({"accuracy": 0.89}, []),
        ({"accuracy": 0.95, "overkill_rate": 0.9}, []),
        ({"accuracy": 0.8899}, ["accuracy"]),
        ({"escape_rate": 0.12}, ["escape_rate"]),
        ({"average_precision": float("nan")}, ["average_precision"]),
    ],
)
def test_the_gate_looks_at_what_became_worse(after: dict[str, float], failed: list[str], tmp_path: Path) -> None:
    found = report(**after)
    assert found.failed == failed
    assert replace(found, max_drop=None).failed == []
    found.write(tmp_path / "quantize.json", "0" * 64)
    assert json.loads((tmp_path / "quantize.json").read_text("utf-8"))["passed"] is not bool(failed)
    if failed:
        with pytest.raises(RejectedError, match=failed[0].replace("_", " ")):
            found.check(tmp_path / "m.rejected")
