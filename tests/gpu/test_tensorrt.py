"""Real engines on a real GPU: built, compared with ONNX Runtime, and timed. Run where TensorRT and a GPU are.

``pytest tests/gpu -s`` prints the table for docs/benchmarks.md.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from visual_changenet.cli import main
from visual_changenet.errors import SpecError
from visual_changenet.latency import Latency
from visual_changenet.runtime import Runtime, open_runtime
from visual_changenet.runtime.cuda import Cuda
from visual_changenet.runtime.decision import decisions, score_values

trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed", exc_type=ImportError)
torch = pytest.importorskip("torch")
try:
    GPU = Cuda().gpu()
except SpecError as missing:
    pytest.skip(missing.message, allow_module_level=True)

TASKS = ("classify", "segment")
SIDE = 224
# Largest difference of a score: rounding, half precision (10 bits), bfloat16 (7 bits).
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 8e-2}


@pytest.fixture(scope="module", params=TASKS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network with ordinary weights."""
    from visual_changenet.export.graph import make_card, write_graph
    from visual_changenet.export.target import Target
    from visual_changenet.models import build_model
    from visual_changenet.spec import validate

    spec = validate(spec_of(request.param))
    torch.manual_seed(0)
    network = build_model(spec).eval()
    path: Path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    write_graph(network, make_card(spec, network, (SIDE, SIDE), "0" * 64, None), Target(path, 17, None), path)
    return path


def spec_of(task: str) -> dict[str, Any]:
    return {
        "task": task,
        "model": {
            "backbone": {"type": "fan_small_12_p4_hybrid"},
            "classify": {"difference_module": "learnable", "eval_margin": 0.5},
        },
        "dataset": {
            "classify": {"num_input": 1, "input_map": None, "image_height": SIDE, "image_width": SIDE},
            "segment": {"img_size": SIDE},
        },
    }


def engine_of(model: Path, precision: str) -> Path:
    task = open_runtime(model, "cpu").card.task
    target = model.with_name(f"{precision}.engine")
    spec = spec_of(task) | {
        "results_dir": str(model.parent / precision),
        "gen_trt_engine": {
            "onnx_file": str(model),
            "trt_engine": str(target),
            "tensorrt": {"data_type": precision, "opt_batch_size": 8, "max_batch_size": 8, "workspace_size": 4096},
        },
    }
    path = model.with_name("spec.yaml")
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert main(["gen_trt_engine", "-e", str(path)]) == 0
    return target


@pytest.mark.parametrize("precision", TOLERANCE)
def test_an_engine_decides_as_its_onnx_file(model: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    from visual_changenet.export.pairs import synthetic_pairs

    engine, wanted = open_runtime(engine_of(model, precision)), open_runtime(model, "cpu")
    assert engine.provider == "TensorRT"
    tolerance = TOLERANCE[precision]
    for count in (1, 2, 7, 11):
        pairs = synthetic_pairs(engine.card, count)
        ours, theirs = (
            score_values(runtime.card, runtime.run(pairs.first, pairs.second)) for runtime in (engine, wanted)
        )
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
        sure = np.abs(theirs - 0.5) > tolerance
        same = decisions(engine.card, ours) == decisions(wanted.card, theirs)
        assert same[sure if sure.ndim == 1 else sure[:, 1]].all()
    with capsys.disabled():
        for batch in (1, 8):
            found = latency(engine, batch)
            print(  # noqa: T201
                f"\n{GPU.name} {engine.card.task} {precision} batch {batch}: {found.pairs_per_s:.0f} pairs/s, "
                f"p95 {found.p95_ms:.2f} ms"
            )


def latency(runtime: Runtime, batch: int) -> Latency:
    first, second = (np.zeros(shape, np.float32) for shape in runtime.card.shapes(batch))
    taken = []
    for _ in range(60):
        begin = time.perf_counter()
        runtime.run(first, second)
        taken.append(time.perf_counter() - begin)
    return Latency.of(taken[10:], batch)
