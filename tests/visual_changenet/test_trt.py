"""gen_trt_engine and engines, with stand-ins of TensorRT's API and of the GPU's driver: the project's CI has neither.

What these tests show is what ``tensorrt_standin`` says; they build no engine.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml

import tensorrt_standin
from visual_changenet.cli import main
from visual_changenet.engine.precision import parse_overrides, with_formats
from visual_changenet.errors import ChangeNetError, DataInvalidError, RunError, SpecError
from visual_changenet.export.graph import make_card, write_graph
from visual_changenet.export.pairs import synthetic_pairs
from visual_changenet.export.target import Target
from visual_changenet.models import build_model
from visual_changenet.runtime import cuda, open_runtime
from visual_changenet.runtime.card import METADATA_KEY
from visual_changenet.runtime.onnx_runtime import OnnxRuntime
from visual_changenet.runtime.sidecar import read_sidecar, sidecar_path
from visual_changenet.spec import validate

torch.set_num_threads(2)
LOADED = ("visual_changenet.engine.builder", "visual_changenet.runtime.tensorrt_runtime")
SIDE = 32
Build = Callable[..., int]


def base_spec(task: str) -> dict[str, Any]:
    return {
        "task": task,
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "classify": {"embed_dec": 8, "difference_module": "learnable", "eval_margin": 0.5},
            "decode_head": {"decoder_params": {"embed_dim": 16}},
        },
        "dataset": {
            "classify": {"num_input": 1, "input_map": None, "image_height": SIDE, "image_width": SIDE},
            "segment": {"img_size": SIDE},
        },
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``classify.onnx``, ``static.onnx`` (batch 3) and ``segment.onnx``."""
    folder = tmp_path_factory.mktemp("Modelle, 'Ü'")
    for task in ("classify", "segment"):
        spec = validate(base_spec(task))
        torch.manual_seed(0)
        network = build_model(spec).eval()
        path = folder / f"{task}.onnx"
        write_graph(network, make_card(spec, network, (SIDE, SIDE), "0" * 64, None), Target(path, 17, None), path)
    static = onnx.load(folder / "classify.onnx")
    for entry in (*static.graph.input, *static.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(static, folder / "static.onnx")
    return folder


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in of the driver, compiled."""
    path = tmp_path_factory.mktemp("cuda") / "libcuda.so"
    source = Path(__file__).with_name("cuda_standin.c")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", path, source], check=True)
    except OSError:
        pytest.skip("no C compiler here")
    return path


@pytest.fixture
def trt(driver: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with TensorRT and a GPU, both stood in for."""
    monkeypatch.setattr(cuda, "LIBRARY", str(driver))
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_standin.module())
    _forget()
    yield
    _forget()


def _forget() -> None:
    for name in LOADED:
        sys.modules.pop(name, None)


@pytest.fixture
def build(tmp_path: Path, models: Path) -> Build:
    """Runs gen_trt_engine into ``tmp_path / "model.engine"``; returns the exit code."""

    def run(name: str = "classify", *overrides: str, **tensorrt: Any) -> int:
        spec = base_spec("segment" if name == "segment" else "classify")
        spec |= {"results_dir": str(tmp_path / "results")}
        spec["gen_trt_engine"] = {
            "onnx_file": str(models / f"{name}.onnx"),
            "trt_engine": str(tmp_path / "model.engine"),
            "tensorrt": {"min_batch_size": 2, "opt_batch_size": 2, "max_batch_size": 4} | tensorrt,
        }
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
        return main(["gen_trt_engine", "-e", str(path), *overrides])

    return run


def notices(folder: Path) -> str:
    return (folder / "results" / "gen_trt_engine" / "events.jsonl").read_text(encoding="utf-8")


@pytest.mark.usefixtures("trt")
def test_an_engine_answers_as_its_onnx_file_with_a_sidecar_that_tells_where_it_is_from(
    build: Build, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("segment", "dataset.segment.img_size=64") == 0
    assert "fp32, batch 2 to 4 (best 2)" in capsys.readouterr().out
    engine = tmp_path / "model.engine"
    sidecar = json.loads(sidecar_path(engine).read_text(encoding="utf-8"))
    assert sidecar["host"] == {
        "tensorrt": tensorrt_standin.VERSION,
        "gpu": "Stand-in GPU",
        "compute_capability": "8.9",
        "driver": "13.1",
    }
    assert sidecar["profile"] == [2, 2, 4]
    runtime, wanted = open_runtime(engine), open_runtime(models / "segment.onnx", "cpu")
    assert (runtime.provider, runtime.batch, runtime.notices) == ("TensorRT", (2, 4), ())
    assert runtime.card == replace(wanted.card, precision="fp32")
    for count in (1, 2, 7):
        pairs = synthetic_pairs(runtime.card, count)
        for ours, theirs in zip(
            runtime.run(pairs.first, pairs.second), wanted.run(pairs.first, pairs.second), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    found = json.loads((tmp_path / "results" / "gen_trt_engine" / "result.json").read_text(encoding="utf-8"))
    assert [entry["kind"] for entry in found["artifacts"]] == ["engine", "sidecar"]
    assert "dataset.segment.img_size is 32 as in the model file, not 64" in notices(tmp_path)


@pytest.mark.usefixtures("trt")
def test_the_builder_is_told_profile_workspace_and_cache(build: Build, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_bytes(b"foreign timings")
    assert build("classify", f"gen_trt_engine.timing_cache={cache}", workspace_size=16) == 0
    made = tensorrt_standin.Builder.last
    one = (3, SIDE, SIDE)
    assert made.config.profiles[0].shapes == dict.fromkeys(("input_1", "input_2"), ((2, *one), (2, *one), (4, *one)))
    assert made.config.pools == {tensorrt_standin.MemoryPoolType.WORKSPACE: 16 << 20}
    assert made.config.cleared == [tensorrt_standin.BuilderFlag.TF32]
    assert made.network.flags == 1 << 1
    assert cache.read_bytes() == b"timings"
    assert "made anew" in notices(tmp_path)
    assert "every step" not in notices(tmp_path)
    assert build("classify", "gen_trt_engine.overwrite=true", "gen_trt_engine.verbose=true", workspace_size=0) == 0
    assert tensorrt_standin.Builder.last.config.pools == {}
    assert "every step" in notices(tmp_path)


@pytest.mark.usefixtures("trt")
def test_what_tensorrt_refuses_is_reported_in_its_words_and_leaves_the_old_engine(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build() == 0
    before = (tmp_path / "model.engine").read_bytes()
    assert build("classify", "gen_trt_engine.overwrite=true", workspace_size=1) == 9
    assert (
        "error[E_ENGINE_BUILD]: TensorRT could not build the engine: not enough workspace." in capsys.readouterr().err
    )
    assert (tmp_path / "model.engine").read_bytes() == before
    assert sidecar_path(tmp_path / "model.engine").is_file()
    from visual_changenet.engine.builder import build as build_bytes
    from visual_changenet.engine.profile import Profile

    card = read_sidecar(tmp_path / "model.engine").card
    with pytest.raises(RunError, match="no importer"):
        build_bytes(b"Unsupported", card, Profile(1, 1, 1), 0)


@pytest.mark.usefixtures("trt")
def test_an_engine_of_another_machine_version_or_content_is_refused_with_the_command_that_rebuilds_it(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "model.engine"
    assert build() == 0
    whole, sidecar = engine.read_bytes(), sidecar_path(engine).read_text(encoding="utf-8")

    def refused(*parts: str) -> None:
        with pytest.raises(DataInvalidError) as caught:
            open_runtime(engine)
        assert caught.value.code == "E_ENGINE_MISMATCH"
        assert all(part in caught.value.message for part in parts), caught.value.message
        assert caught.value.fix.startswith("visual_changenet gen_trt_engine -e ")
        assert "gen_trt_engine.overwrite=true" in caught.value.fix

    engine.write_bytes(whole[:-1])
    refused("its content is not what was built")
    engine.write_bytes(whole)
    sidecar_path(engine).write_text(sidecar.replace("Stand-in GPU", "Other GPU").replace('"8.9"', '"12.0"'), "utf-8")
    refused("for Other GPU (compute capability 12.0), here is Stand-in GPU (compute capability 8.9)")
    sidecar_path(engine).write_text(sidecar, "utf-8")
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_standin.module("12.0"))
    _forget()
    refused(f"built by TensorRT {tensorrt_standin.VERSION}, here is 12.0")


def test_without_tensorrt_an_engine_is_computed_from_its_onnx_file_and_that_is_said(
    build: Build, trt: None, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "classify.onnx"
    copied.write_bytes((models / "classify.onnx").read_bytes())
    assert build("classify", f"gen_trt_engine.onnx_file={copied}") == 0
    engine = tmp_path / "model.engine"
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    _forget()
    runtime = open_runtime(engine)
    assert runtime.provider == "CPUExecutionProvider"
    assert "TensorRT can not be imported" in runtime.notices[0]
    assert str(copied) in runtime.notices[0]
    assert "the CPU is asked for" in open_runtime(engine, "cpu").notices[0]
    (tmp_path / "moved").mkdir()
    for path in (engine, sidecar_path(engine), copied):
        path.rename(tmp_path / "moved" / path.name)
    assert open_runtime(tmp_path / "moved" / engine.name).card.task == "classify"  # beside the engine, by its name
    with (tmp_path / "moved" / copied.name).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ChangeNetError, match="is not there") as caught:
        open_runtime(tmp_path / "moved" / engine.name)
    assert caught.value.code == "E_ENGINE_LIBRARY"
    sidecar_path(tmp_path / "moved" / engine.name).unlink()
    with pytest.raises(ChangeNetError) as caught:
        open_runtime(tmp_path / "moved" / engine.name)
    assert caught.value.code == "E_ENGINE_SIDECAR"


@pytest.mark.usefixtures("trt")
def test_the_trt_actions_score_an_engine_as_the_checkpoint(
    trained: Path, case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ["-e", str(trained / "spec.yaml")]
    checkpoint = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    files = [f"gen_trt_engine.onnx_file={tmp_path / 'm.onnx'}", f"gen_trt_engine.trt_engine={tmp_path / 'm.engine'}"]
    names = ("export", "gen_trt_engine", "evaluate", "inference")
    spec += [f"{name}.results_dir={tmp_path / name}" for name in names]
    assert main(["export", *spec, f"export.checkpoint={checkpoint}", f"export.onnx_file={tmp_path / 'm.onnx'}"]) == 0
    assert main(["gen_trt_engine", *spec, *files, "gen_trt_engine.tensorrt.max_batch_size=5"]) == 0
    assert main(["evaluate", *spec, "evaluate.batch_size=5", f"evaluate.checkpoint={checkpoint}"]) == 0
    wanted = case.result(tmp_path / "evaluate")["metrics"]
    # The spec names a checkpoint too.
    spec.append("train.device=auto")
    assert main(["trt_evaluate", *spec, "evaluate.batch_size=7", f"evaluate.trt_engine={tmp_path / 'm.engine'}"]) == 0
    found = case.result(tmp_path / "evaluate")
    assert found["environment"]["runtime"] == "TensorRT"
    assert {name: found["metrics"][name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert found["metrics"]["pairs_per_s"] > 0
    assert main(["trt_inference", *spec, f"inference.trt_engine={tmp_path / 'm.engine'}"]) == 0
    assert len(case.rows(tmp_path / "inference" / "inference.csv")) == 13
    capsys.readouterr()
    assert main(["trt_inference", *spec]) == 5
    assert "inference.trt_engine" in capsys.readouterr().err


def test_without_tensorrt_or_gpu_nothing_is_built(
    build: Build,
    driver: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    _forget()
    assert build() == 2
    assert "error[E_ENGINE_LIBRARY]: TensorRT can not be imported" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_standin.module())
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so")
    assert build() == 2
    assert "error[E_ENGINE_GPU]" in capsys.readouterr().err
    monkeypatch.setattr(cuda, "LIBRARY", str(driver))
    assert build("classify", "gen_trt_engine.gpu_id=3") == 2
    assert "no GPU with the index 3" in capsys.readouterr().err
    assert not (tmp_path / "model.engine").exists()
    _forget()


def test_a_refusal_of_the_driver_is_told_in_its_words(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", str(driver))
    with pytest.raises(RunError, match=r"cuMemAlloc_v2 failed: out of memory \(2\)"):
        cuda.Cuda().allocate(1 << 41)


def quantized(source: Path, target: Path) -> Path:
    """A copy that looks quantized: with one Q/DQ pair."""
    model = onnx.load(source)
    graph = model.graph
    graph.initializer.append(onnx.helper.make_tensor("q_scale", onnx.TensorProto.FLOAT, [], [0.05]))
    graph.initializer.append(onnx.helper.make_tensor("q_zero", onnx.TensorProto.INT8, [], [0]))
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == "input_1":
                node.input[place] = "input_1_dq"
    graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", ["input_1_q", "q_scale", "q_zero"], ["input_1_dq"]))
    graph.node.insert(0, onnx.helper.make_node("QuantizeLinear", ["input_1", "q_scale", "q_zero"], ["input_1_q"]))
    onnx.save(model, target)
    return target


@pytest.mark.usefixtures("trt")
def test_int8_takes_a_quantized_file_and_nothing_else_does(
    build: Build, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = quantized(models / "classify.onnx", tmp_path / "q.onnx")
    named = f"gen_trt_engine.onnx_file={source}"
    assert build("classify", named, data_type="fp16") == 2
    assert "error[E_ENGINE_PRECISION]" in capsys.readouterr().err
    assert build("classify", named, data_type="int8", layers_precision=["*:fp32"]) == 2
    assert "error[E_ENGINE_PRECISION]" in capsys.readouterr().err
    assert build("classify", named, data_type="INT8", calibration={"cal_cache_file": "cal.bin"}) == 0
    assert open_runtime(tmp_path / "model.engine").card.precision == "int8"
    assert "cal_cache_file has no effect" in notices(tmp_path)


def test_calibration_images_are_checked_before_any_work(
    build: Build, tmp_path: Path, case: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    case.write_images(tmp_path / "images", 4)
    (tmp_path / "empty").mkdir()
    images = str(tmp_path / "images")

    def refused(code: str, exit_code: int, *overrides: str, **calibration: Any) -> None:
        assert build("classify", *overrides, data_type="int8", calibration=calibration) == exit_code
        said = capsys.readouterr().err
        assert f"error[{code}]" in said, said
        assert not (tmp_path / "model.engine").exists()

    refused("E_CALIBRATION_FOLDER", 2)
    refused("E_CALIBRATION_FOLDER", 5, cal_image_dir=[images, str(tmp_path / "none")])
    refused("E_CALIBRATION_IMAGES", 7, cal_image_dir=[images, str(tmp_path / "empty")])
    refused("E_CALIBRATION_IMAGES", 7, cal_image_dir=[images], cal_batches=3, cal_batch_size=3)
    refused("E_SPEC_VALUE", 2, cal_image_dir=[images], cal_batches=0)
    refused("E_ENGINE_FLOAT", 2, cal_image_dir=[images], cal_batches=2, cal_batch_size=4)
    refused("E_ENGINE_FLOAT", 2, f"dataset.classify.quant_calibration_dataset.images_dir={images}")


def test_a_wrong_batch_file_or_name_is_refused_before_any_work(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(code: str, exit_code: int, name: str, *overrides: str, **tensorrt: Any) -> None:
        assert build(name, *overrides, **tensorrt) == exit_code
        said = capsys.readouterr().err
        assert f"error[{code}]" in said, said

    refused("E_SPEC_RULE", 2, "classify", opt_batch_size=1)
    refused("E_ENGINE_BATCH", 2, "classify", "gen_trt_engine.batch_size=2")
    refused("E_ENGINE_BATCH", 2, "static", "gen_trt_engine.batch_size=2")
    refused("E_ENGINE_PROFILE", 2, "static", min_batch_size=4, opt_batch_size=4)
    refused("E_ENGINE_ONNX", 5, "none")
    refused("E_ENGINE_TARGET", 2, "classify", "gen_trt_engine.trt_engine=model.plan")
    (tmp_path / "model.engine").write_bytes(b"precious")
    refused("E_ENGINE_EXISTS", 2, "classify")
    assert (tmp_path / "model.engine").read_bytes() == b"precious"
    refused("E_ENGINE_LAYERS", 2, "classify", "gen_trt_engine.overwrite=true", layers_precision=["conv:int4"])
    refused("E_ENGINE_LAYERS", 2, "classify", "gen_trt_engine.overwrite=true", layers_precision=["*nowhere*:fp16"])


@pytest.mark.usefixtures("trt")
def test_a_static_graph_gives_an_engine_of_its_batch(build: Build, tmp_path: Path) -> None:
    assert build("static", "gen_trt_engine.batch_size=3") == 0
    assert open_runtime(tmp_path / "model.engine").batch == (3, 3)
    assert "takes exactly 3 pairs at once" in notices(tmp_path)


@pytest.mark.parametrize("name", ["classify", "segment"])
def test_low_precision_stands_in_the_graph_and_decides_nearly_alike(models: Path, tmp_path: Path, name: str) -> None:
    source = models / f"{name}.onnx"
    wanted = OnnxRuntime(source, "cpu", 2)
    half = with_formats(source.read_bytes(), "fp16", [])
    (tmp_path / "half.onnx").write_bytes(half)
    onnx.checker.check_model(onnx.load_from_string(half), full_check=True)
    runtime = OnnxRuntime(tmp_path / "half.onnx", "cpu", 2)
    pairs = synthetic_pairs(wanted.card, 3)
    for ours, theirs in zip(runtime.run(pairs.first, pairs.second), wanted.run(pairs.first, pairs.second), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=2e-2 * max(1.0, float(np.abs(theirs).max())))
        assert not np.array_equal(ours, theirs)
    typed = onnx.shape_inference.infer_shapes(onnx.load_from_string(half), strict_mode=True)
    kinds = {info.name: info.type.tensor_type.elem_type for info in typed.graph.value_info}
    products = [node for node in typed.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    outputs = {output for node in products for output in node.output} & kinds.keys()
    assert {kinds[output] for output in outputs} == {onnx.TensorProto.FLOAT16}
    norms = [node.output[0] for node in typed.graph.node if node.op_type in ("Softmax", "LayerNormalization")]
    assert {kinds[output] for output in norms} == {onnx.TensorProto.FLOAT}
    brain = with_formats(source.read_bytes(), "bf16", [])
    onnx.checker.check_model(onnx.load_from_string(brain), full_check=True)
    assert METADATA_KEY in {entry.key for entry in onnx.load_from_string(brain).metadata_props}


def test_formats_of_single_layers_override_that_of_the_engine(models: Path) -> None:
    data = (models / "classify.onnx").read_bytes()
    names = [node.name for node in onnx.load_from_string(data).graph.node if node.op_type == "Conv"]
    assert len(names) > 2
    made = with_formats(data, "fp16", parse_overrides(["*:fp32", f"{names[0]}:FP16"]))
    typed = onnx.shape_inference.infer_shapes(onnx.load_from_string(made), strict_mode=True).graph
    kinds = {info.name: info.type.tensor_type.elem_type for info in typed.value_info}
    half = [node.name for node in typed.node if kinds.get(node.output[0]) == onnx.TensorProto.FLOAT16]
    assert [name for name in half if not name.endswith("_cast")] == [names[0]]
    assert with_formats(data, "fp32", []) == data
    with pytest.raises(SpecError, match="no layer matches"):
        with_formats(data, "fp32", parse_overrides(["backbone.nothing:fp16"]))
