"""Action export from the command line: networks, both tasks, files, refusals."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml

from visual_changenet.actions.export import outputs_of
from visual_changenet.cli import main
from visual_changenet.errors import DataInvalidError
from visual_changenet.export.graph import make_card, write_graph
from visual_changenet.export.pairs import synthetic_pairs
from visual_changenet.export.parity import compare
from visual_changenet.export.target import Target
from visual_changenet.models import Network, build_model
from visual_changenet.runtime import open_runtime
from visual_changenet.runtime.card import Card
from visual_changenet.spec import load_spec, validate

torch.set_num_threads(2)
FAN = "fan_tiny_8_p4_hybrid"
Make = Callable[..., Path]


def initialised(spec: dict[str, Any]) -> Network:
    """A network whose every branch has an effect: what starts at zero or next to it gets random values."""
    torch.manual_seed(0)
    model = build_model(spec)
    with torch.no_grad():
        for value in model.parameters():
            if value.abs().max() < 1e-3:
                value.normal_(std=0.1)
    return model


def write_network(spec: dict[str, Any], path: Path) -> None:
    """A checkpoint of such a network."""
    model = initialised(spec)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "tao_model": f"visual_changenet_{spec['task']}", "spec": validate(spec)}, path)


def small_spec(folder: Path, kind: str = FAN, size: int = 64, task: str = "classify", **more: Any) -> dict[str, Any]:
    """A spec without data: only the network and where results go."""
    difference = more.pop("difference", "learnable")
    data = {"image_height": size, "image_width": size, "num_input": 1, "input_map": None} | more
    return {
        "task": task,
        "results_dir": str(folder / "results"),
        "model": {
            "backbone": {"type": kind},
            "classify": {"difference_module": difference, "embed_dec": 8, "eval_margin": 0.5},
            "decode_head": {"decoder_params": {"embed_dim": 16}},
        },
        "dataset": {"segment": {"img_size": size}} if task == "segment" else {"classify": data},
        "train": {"threads": 2, "classify": {"loss": "ce" if difference == "learnable" else "contrastive"}},
        "export": {"checkpoint": str(folder / "net.pth")},
    }


@pytest.fixture
def make(hostile_dir: Path) -> Make:
    """Writes a spec and its checkpoint; returns the spec's file."""

    def write(*words: Any, **more: Any) -> Path:
        spec = small_spec(hostile_dir, *words, **more)
        write_network(spec, hostile_dir / "net.pth")
        path = hostile_dir / "spec.yaml"
        path.write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
        return path

    return write


def export(spec: Path, *overrides: str) -> int:
    return main(["export", "-e", str(spec), *overrides])


def results(spec: Path) -> Path:
    return spec.parent / "results" / "export"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


NETWORKS = [
    pytest.param(FAN, 64, "classify", {}, 17, id="fan_tiny"),
    pytest.param(FAN, 64, "classify", {"difference": "euclidean"}, 16, id="fan_tiny-euclidean"),
    pytest.param("fan_small_12_p4_hybrid", 64, "segment", {}, 21, id="fan_small-segment"),
    pytest.param("c_radio_v2_vit_base_patch16_224", 64, "segment", {}, 17, id="c_radio_base-segment"),
]


@pytest.mark.parametrize(("kind", "size", "task", "more", "opset"), NETWORKS)
def test_an_exported_network_gives_the_same_numbers_at_every_batch(
    make: Make, kind: str, size: int, task: str, more: dict[str, Any], opset: int
) -> None:
    spec = make(kind, size, task, **more)
    assert export(spec, f"export.opset_version={opset}") == 0
    folder = results(spec)
    parity = read(folder / "parity.json")
    assert parity["passed"]
    assert [entry["batch"] for entry in parity["batches"]] == [1, 2, 7]
    assert all(entry["output_max_rel"] < 1e-4 and entry["flips_outside"] == 0 for entry in parity["batches"])
    model = onnx.load(folder / "net.onnx")
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": opset}
    assert {node.domain for node in model.graph.node} == {""}
    runtime = open_runtime(folder / "net.onnx", "cpu", threads=2)
    assert runtime.batch == (1, None)
    assert runtime.card.score == ("distance" if more.get("difference") == "euclidean" else "softmax")
    axis = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert axis == runtime.card.batch_axis == ("batch_size" if task == "segment" else "batch")


LARGE = [
    pytest.param("vit_large_nvdinov2", 70, {"difference": "euclidean"}, 0, id="nvdinov2"),
    pytest.param("c_radio_v2_vit_base_patch16_224", 224, {"num_golden": 2}, 54, id="several-goldens"),
]


@pytest.mark.parametrize(("kind", "size", "more", "samples"), LARGE)
def test_large_networks_are_plain_graphs_with_equal_numbers(
    tmp_path: Path, kind: str, size: int, more: dict[str, Any], samples: int
) -> None:
    spec = validate(small_spec(tmp_path, kind, size, **more))
    network = initialised(spec).eval()
    card = make_card(spec, network, (size, size), "0" * 64, None)
    path = tmp_path / "net.onnx"
    model = write_graph(network, card, Target(path, 17, None), path)
    # Deformable attention: 18 samplings per image and pass, by an operator that every runtime has.
    assert sum(node.op_type == "GridSample" for node in model.graph.node) == samples
    del model
    pairs = synthetic_pairs(card, 2)
    parity = compare(open_runtime(path, "cpu", threads=2), pairs, outputs_of(network, pairs), 1e-4)
    assert parity.passed, parity
    assert [found.batch for found in parity.batches] == [1, 2, 7]


def test_the_result_lists_the_files_and_the_card_tells_where_the_model_is_from(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make(image_height=32, num_input=2, input_map={"Low": 0, "White": 1})
    run = spec.parent / "20260101-000000-train-abcd"
    run.mkdir()
    (run / "plan.json").write_text("{}", encoding="utf-8")
    (spec.parent / "net.pth").rename(run / "net.pth")
    assert export(spec, f"export.checkpoint={run / 'net.pth'}") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0].startswith(f"{results(spec) / 'net.onnx'}: opset 17, batch dynamic")
    assert len(said.out.splitlines()) == 1
    result = read(results(spec) / "result.json")
    assert [(entry["path"], entry["kind"]) for entry in result["artifacts"]] == [
        ("parity.json", "parity"),
        ("net.onnx", "onnx"),
    ]
    assert result["metrics"]["parity_max_abs"] < 1e-4
    card = open_runtime(results(spec) / "net.onnx", "cpu").card
    assert card.parent_run == run.name
    assert card.input == (64, 64)
    assert card.lights is not None and list(card.lights.input_map or ()) == ["Low", "White"]
    digest = hashlib.sha256((results(spec) / "experiment.yaml").read_bytes()).hexdigest()
    assert card.spec_sha256 == digest
    assert Card.from_json(card.to_json(), "here") == card
    events = [json.loads(line) for line in (results(spec) / "events.jsonl").read_text("utf-8").splitlines()]
    assert events[-2]["step"] == events[-2]["steps"] == 5
    assert "invented" in " ".join(event.get("message", "") for event in events)


def test_pairs_are_those_the_checkpoint_was_trained_with(trained: Path, case: Any, tmp_path: Path) -> None:
    done = case.run(
        "export",
        trained / "spec.yaml",
        f"export.checkpoint={trained / 'results' / 'train' / 'changenet_model_classify_latest.pth'}",
        f"export.results_dir={tmp_path}",
        *(f"dataset.classify.{name}_dataset.csv_path=" for name in ("train", "validation", "test", "infer")),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert read(tmp_path / "parity.json")["source"] == str(trained / "data.csv")


def test_masks_are_proven_on_the_pairs_of_the_spec(trained_segment: Path, tmp_path: Path) -> None:
    checkpoint = trained_segment / "results" / "train" / "changenet_model_segment_latest.pth"
    target = tmp_path / "a b" / "ü.onnx"
    assert (
        export(
            trained_segment / "spec.yaml",
            f"export.checkpoint={checkpoint}",
            f"export.results_dir={tmp_path}",
            f"export.onnx_file={target}",
        )
        == 0
    )
    assert read(target.parent / "parity.json")["source"].endswith("list test")


def test_an_existing_file_stays_unless_overwriting_is_asked_for(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make(size=32)
    target = spec.parent / "own.onnx"
    target.write_bytes(b"precious")
    assert export(spec, f"export.onnx_file={target}") == 2
    assert "error[E_EXPORT_EXISTS]" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert export(spec, f"export.onnx_file={target}", "export.overwrite=true") == 0
    assert open_runtime(target, "cpu").card.task == "classify"
    assert [path.name for path in spec.parent.iterdir() if path.name.endswith(".tmp")] == []


def test_a_file_that_is_not_equal_enough_is_rejected_with_exit_11_and_replaces_nothing(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = make(size=32)
    assert export(spec) == 0
    before = (results(spec) / "net.onnx").read_bytes()
    # No two libraries round alike: a tolerance below rounding makes any export one that differs.
    assert export(spec, "export.overwrite=true", "export.parity_tolerance=1e-12") == 11
    assert "error[E_EXPORT_PARITY]" in capsys.readouterr().err
    assert (results(spec) / "net.onnx").read_bytes() == before
    assert (results(spec) / "net.onnx.rejected").is_file()
    result = read(results(spec) / "result.json")
    assert result["status"] == "failed"
    assert result["error"]["code"] == "E_EXPORT_PARITY"
    assert {entry["kind"] for entry in result["artifacts"]} == {"parity", "rejected"}
    assert not read(results(spec) / "parity.json")["passed"]


REFUSED = [
    ("export.format=xdl", "E_EXPORT_FORMAT"),
    ("export.opset_version=15", "E_EXPORT_OPSET"),
    ("export.batch_size=0", "E_EXPORT_BATCH"),
    ("export.onnx_file=model.etlt", "E_EXPORT_TARGET"),
    ("export.input_width=64", "E_EXPORT_SIZE"),
    ("export.checkpoint=nowhere.pth", "E_CHECKPOINT_MISSING"),
]


def test_what_can_not_be_exported_is_refused_before_any_work(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make(size=32)
    for override, code in REFUSED:
        assert export(spec, override) in (2, 5)
        said = capsys.readouterr().err
        assert f"error[{code}]" in said, said
        assert not (results(spec) / "net.onnx").exists()
    export(spec, "export.input_width=64")
    said = capsys.readouterr().err
    assert "32 x 64" in said and "32 x 32" in said


def test_a_static_batch_is_in_the_graph_and_deepstream_gets_its_files(make: Make) -> None:
    spec = make(size=32)
    normal = "dataset.classify.augmentation_config.rgb_input_"
    assert export(spec, "export.batch_size=3", "export.serialize_nvdsinfer=true", f"{normal}mean=[0.5,0.5,0.5]") == 0
    folder = results(spec)
    assert open_runtime(folder / "net.onnx", "cpu").batch == (3, 3)
    assert [entry["batch"] for entry in read(folder / "parity.json")["batches"]] == [3]
    assert (folder / "labels.txt").read_text("utf-8").strip() == "0;1"
    inference = yaml.safe_load((folder / "nvdsinfer_config.yaml").read_text("utf-8"))["property"]
    assert inference["onnx-file"] == "net.onnx"
    assert inference["infer-dims"] == "3;32;32"
    second = yaml.safe_load((folder / "nvdspreprocess_config_1.yaml").read_text("utf-8"))
    assert second["property"]["tensor-name"] == "input_2"
    assert second["group"]["src-ids"] == "1;3;5;7;9;11;13;15"
    # What the network was trained with, not a fixed (x - 127.5) / 127.5.
    assert second["user-configs"]["offsets"] == "123.675;116.28;103.53"
    assert second["user-configs"]["pixel-normalization-factor"] == pytest.approx(1 / (255 * 0.226), rel=2e-2)
    kinds = [entry["kind"] for entry in read(folder / "result.json")["artifacts"]]
    assert kinds.count("deepstream") == 4


def test_deepstream_files_of_a_mask_network_are_refused(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make(size=32, task="segment")
    assert export(spec, "export.serialize_nvdsinfer=true") == 2
    assert "error[E_EXPORT_DEEPSTREAM]" in capsys.readouterr().err


def test_a_card_of_another_kind_is_refused_by_its_first_wrong_entry() -> None:
    with pytest.raises(DataInvalidError, match="task"):
        Card.from_json('{"task": "detect"}', "somewhere")


def test_a_spec_file_with_the_new_keys_is_valid(make: Make) -> None:
    spec = load_spec(make(size=32), ["export.overwrite=true", "export.parity_tolerance=0.01"])
    assert spec["export"]["overwrite"] is True
