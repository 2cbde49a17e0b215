"""One network in every library that runs it: images per second and the 95th percentile, at batch 1 and 8.

Run: ``python benchmarks/deploy.py [--kind fan_small_12_p4_hybrid] [--size 224] [--task classify] [--seconds 5]``.
Weights are random: speed does not depend on them. INT8 and TensorRT appear where they can be made here. All rows of a
batch are measured in turn, round by round, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import show

from visual_changenet.errors import ChangeNetError
from visual_changenet.export.graph import Exported, make_card, write_graph
from visual_changenet.export.pairs import synthetic_pairs
from visual_changenet.export.target import Target
from visual_changenet.latency import Latency
from visual_changenet.models import build_model
from visual_changenet.runtime import Batch, Runtime, open_runtime
from visual_changenet.runtime.card import Card
from visual_changenet.spec import validate

BATCHES = (1, 8)
WARM_UP = 2
PRECISIONS = ("fp32", "fp16")
Run = Callable[..., object]


def spec_of(options: argparse.Namespace) -> dict[str, Any]:
    """The spec of the network."""
    side = options.size
    return validate(
        {
            "task": options.task,
            "model": {
                "backbone": {"type": options.kind},
                "classify": {"difference_module": "learnable", "eval_margin": 0.5},
            },
            "dataset": {
                "classify": {"num_input": 1, "input_map": None, "image_height": side, "image_width": side},
                "segment": {"img_size": side},
            },
        }
    )


def torch_run(network: torch.nn.Module, device: str) -> Run:
    """The network in evaluation mode, from arrays to arrays."""
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(first: Any, second: Any) -> object:
        with torch.inference_mode():
            found = network(*(torch.from_numpy(part).to(device) for part in (first, second)))
            return [part.cpu().numpy() for part in found]

    return run


def int8_file(source: Path, card: Card, folder: Path) -> Path:
    """An INT8 file calibrated on invented pairs: right for speed only."""
    from visual_changenet.quantize import qdq
    from visual_changenet.quantize.patterns import choose_formats

    options: dict[str, Any] = {
        "algorithm": "minmax",
        "layers": [],
        "skip_names": [],
        "backend_kwargs": None,
        "backend": "modelopt.onnx",
    }
    options |= {"mode": "static_ptq"}
    model, layers = qdq.folded(source)
    target = folder / "int8.onnx"
    formats = choose_formats(options, layers, qdq.FORMATS)
    qdq.write_quantized(model, card, target, list(formats), synthetic_pairs(card, 8), Batch(1, None), options)
    return target


def engine_file(source: Path, card: Card, precision: str, folder: Path) -> Path:
    """An engine with its sidecar."""
    from visual_changenet.engine.builder import build
    from visual_changenet.engine.precision import with_formats
    from visual_changenet.engine.profile import Profile
    from visual_changenet.runtime.cuda import Cuda
    from visual_changenet.runtime.sidecar import Sidecar
    from visual_changenet.runtime.tensorrt_runtime import host
    from visual_changenet.session import sha256_of

    here, card, target = host(Cuda()), replace(card, precision=precision), folder / f"{precision}.engine"
    profile = Profile(1, max(BATCHES), max(BATCHES))
    data = source.read_bytes() if precision == "int8" else with_formats(source.read_bytes(), precision, [])
    target.write_bytes(build(data, card, profile, 4096).engine)
    digests = sha256_of(target), str(source), sha256_of(source)
    Sidecar(card, *digests, here, tuple(profile), (), "").write(target)  # type: ignore[arg-type]
    return target


def candidates(options: argparse.Namespace, folder: Path) -> dict[str, Run]:
    """What can run here, by name; says why the others can not."""
    spec = spec_of(options)
    torch.manual_seed(0)
    network = build_model(spec).eval()
    card = make_card(spec, network, (options.size, options.size), "", None)
    source = folder / "fp32.onnx"
    write_graph(network, card, Target(source, 17, None), source)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    runs: dict[str, Run] = {f"PyTorch fp32 {name}": torch_run(Exported(network).eval(), name) for name in devices}
    makers: list[tuple[str, Callable[[], Path]]] = [
        ("ONNX Runtime fp32", lambda: source),
        ("ONNX Runtime int8", lambda: int8_file(source, card, folder)),
        *((f"TensorRT {kind}", lambda kind=kind: engine_file(source, card, kind, folder)) for kind in PRECISIONS),
        ("TensorRT int8", lambda: engine_file(folder / "int8.onnx", card, "int8", folder)),
    ]
    for name, make in makers:
        try:
            runtime: Runtime = open_runtime(make(), threads=torch.get_num_threads())
        except ChangeNetError as missing:
            print(f"{name}: left out: {missing.message}")
            continue
        runs[f"{name} {'' if runtime.provider == 'TensorRT' else runtime.provider.lower()[:3]}".strip()] = runtime.run
    return runs


def measured(runs: dict[str, Run], card: Card, batch: int, seconds: float) -> dict[str, Latency]:
    """Each run as often as fits into its ``seconds``, taking turns."""
    first, second = (np.random.default_rng(0).random(shape, np.float32) for shape in card.shapes(batch))
    for run in runs.values():
        for _ in range(WARM_UP):
            run(first, second)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end:
        for name, run in runs.items():
            begin = time.perf_counter()
            run(first, second)
            taken[name].append(time.perf_counter() - begin)
    return {name: Latency.of(times, batch) for name, times in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", default="fan_small_12_p4_hybrid")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--task", choices=("classify", "segment"), default="classify")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = candidates(options, Path(folder))
        card = open_runtime(Path(folder) / "fp32.onnx", "cpu").card
        rows = []
        for batch in BATCHES:
            found = measured(runs, card, batch, options.seconds)
            base = next(iter(found.values()))
            for name, one in found.items():
                ratio = f"{one.pairs_per_s / base.pairs_per_s:.2f}"
                rate, p50, p95 = f"{one.pairs_per_s:.1f}", f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}"
                rows.append((name, batch, one.steps, rate, p50, p95, ratio))
    title = f"{options.kind}, {options.task}, {options.size} x {options.size}, {torch.get_num_threads()} threads"
    show(title, ("runs in", "batch", "steps", "pairs/s", "p50 ms", "p95 ms", "times PyTorch"), rows)


if __name__ == "__main__":
    main()
