"""The networks: parameters, forward, training step, time to the first step, peak memory.

Run: ``python benchmarks/model.py`` (some minutes on two cores), ``--only segment`` or ``--only fan_tiny`` for a part,
``--batch 1 2 8`` for other batch sizes, ``--compile`` for compiled networks too. Where there is a GPU it is used;
there bf16 runs also with ``torch.compile``, and the throughput of segment fan_small at 256 px, batch 32, in half
precision is measured. Every configuration runs in a process of its own, so that its peak memory is its own. A
yardstick of fixed work is measured before and after: multiples of it compare runs on machines that are not equally
busy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()

import torch  # noqa: E402  (the time to import it is part of the time to the first step)
from measure import measure, show  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from visual_changenet.config import ExperimentConfig  # noqa: E402
from visual_changenet.losses import build_loss  # noqa: E402
from visual_changenet.models import build_model  # noqa: E402

RADIO, DINO = "c_radio_v2_vit_base_patch16_224", "vit_large_nvdinov2"
FAN_TINY, FAN_SMALL = "fan_tiny_8_p4_hybrid", "fan_small_12_p4_hybrid"
# name -> task, backbone, difference module, side in pixels, batch
CONFIGURATIONS: dict[str, tuple[str, str, str, int, int]] = {
    "classify fan_tiny learnable 64": ("classify", FAN_TINY, "learnable", 64, 32),
    "classify fan_tiny euclidean 224": ("classify", FAN_TINY, "euclidean", 224, 2),
    "classify fan_small learnable 224": ("classify", FAN_SMALL, "learnable", 224, 2),
    "classify c_radio_v2_b euclidean 224": ("classify", RADIO, "euclidean", 224, 2),
    "classify c_radio_v2_b learnable 224": ("classify", RADIO, "learnable", 224, 2),
    "classify nvdinov2_l euclidean 224": ("classify", DINO, "euclidean", 224, 2),
    "segment fan_tiny 128": ("segment", FAN_TINY, "", 128, 8),
    "segment fan_small 256": ("segment", FAN_SMALL, "", 256, 2),
    "segment c_radio_v2_b 224": ("segment", RADIO, "", 224, 2),
    "segment nvdinov2_l 256": ("segment", DINO, "", 256, 2),
}
GPU_BATCH = 32
PUBLISHED_H100 = 841.68  # images/s of segment fan_small at 256 px, batch 32, half precision, TensorRT


def spec_of(name: str) -> dict[str, Any]:
    """The complete spec of a configuration; only the loss of the finest map, as published trainings run."""
    task, backbone, module, side, _ = CONFIGURATIONS[name]
    given = {
        "task": task,
        "model": {
            "backbone": {"type": backbone},
            "classify": {"difference_module": module or "euclidean", "eval_margin": 0.5, "embed_dec": 30},
            "decode_head": {"use_summary_token": task == "classify"},
        },
        "dataset": {
            "classify": {"image_width": side, "image_height": side, "num_input": 1, "input_map": None},
            "segment": {"img_size": side, "multi_scale_train": False},
        },
        "train": {"classify": {"loss": "ce" if module == "learnable" else "contrastive"}},
    }
    return ExperimentConfig.model_validate(given).model_dump(mode="json")


class Steps:
    """Forward in evaluation mode without gradients, and forward, loss and backward in training mode."""

    def __init__(self, name: str, batch: int, device: torch.device, *, half: bool, compiled: bool) -> None:
        torch.manual_seed(0)
        spec = spec_of(name)
        self.segment, side = spec["task"] == "segment", CONFIGURATIONS[name][3]
        self.device, self.half = device, half
        self.model: nn.Module = build_model(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = build_loss(spec).to(device)
        if compiled:
            self.model.compile()
        draw = torch.Generator().manual_seed(1)
        self.pair = [torch.randn(batch, 3, side, side, generator=draw).to(device) for _ in range(2)]
        mask = torch.randint(0, 2, (batch, 1, side, side), generator=draw)
        self.labels = (mask if self.segment else torch.arange(batch) % 2).to(device)

    def output(self) -> Tensor:
        """What the loss judges."""
        cast = torch.autocast(self.device.type, dtype=torch.bfloat16) if self.half else contextlib.nullcontext()
        with cast:
            found: Tensor = self.model(*self.pair, final_only=True)[0] if self.segment else self.model(*self.pair)
        return found.float()

    def forward(self) -> None:
        """Evaluation."""
        self.model.eval()
        with torch.no_grad():
            self.output()
        self._finish()

    def training(self) -> None:
        """One step without the optimiser."""
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        output = self.output()
        loss: Tensor = self.loss([output] if self.segment else output, self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._finish()

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def yardstick(device: torch.device) -> Callable[[], None]:
    """About 4.6 GFLOP: a 3 × 3 convolution of (32, 64, 32, 32) with 64 filters, and a product of 1024 × 1024."""
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(32, 64, 32, 32, generator=draw).to(device)
    kernel = torch.randn(64, 64, 3, 3, generator=draw).to(device)
    square = torch.randn(1024, 1024, generator=draw).to(device)

    def call() -> None:
        functional.conv2d(image, kernel, padding=1)
        torch.mm(square, square)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def measured(name: str, batch: int, mode: str, count: int, device: torch.device) -> dict[str, float]:
    """Medians in milliseconds, seconds from the start of the process to the end of the first step, peak memory."""
    steps = Steps(name, batch, device, half=mode != "fp32", compiled=mode.endswith("compiled"))
    steps.training()
    first = time.perf_counter() - STARTED
    training, forward = measure(steps.training, count, warm_up=2), measure(steps.forward, count, warm_up=2)
    on_gpu = device.type == "cuda"
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = torch.cuda.max_memory_allocated(device) if on_gpu else 1024 * kilobytes
    return {
        "parameters": sum(parameter.numel() for parameter in steps.model.parameters()),
        "forward": forward.median,
        "training": training.median,
        "low": training.low,
        "high": training.high,
        "first": first,
        "memory": memory,
    }


def in_own_process(name: str, batch: int, mode: str, count: int, device: str) -> dict[str, float]:
    """``measured`` in a fresh interpreter."""
    call = [sys.executable, __file__, "--one", name, "--batch", str(batch), "--mode", mode]
    done = subprocess.run(
        [*call, "--iterations", str(count), "--device", device], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row_of(name: str, batch: int, mode: str, found: dict[str, float], unit: float) -> tuple[str, ...]:
    """Cells of the table."""
    return (
        name,
        str(batch),
        mode,
        f"{found['parameters'] / 1e6:.1f}",
        f"{found['forward']:.1f}",
        f"{found['training']:.1f} ({found['low']:.0f}–{found['high']:.0f})",
        f"{batch * 1000 / found['training']:.2f}",
        f"{found['training'] / unit:.1f}",
        f"{found['first']:.1f}",
        f"{found['memory'] / 2**30:.2f}",
    )


HEADER = (
    "configuration",
    "batch",
    "mode",
    "params M",
    "forward ms",
    "fwd+bwd ms",
    "pairs/s",
    "× yardstick",
    "first step s",
    "peak GiB",
)


def inference_throughput(count: int) -> None:
    """On a GPU: segment fan_small at 256 px, batch 32, half precision, beside the published figure."""
    device = torch.device("cuda")
    rows = []
    for compiled in (False, True):
        steps = Steps("segment fan_small 256", GPU_BATCH, device, half=True, compiled=compiled)
        speed = GPU_BATCH * 1000 / measure(steps.forward, count, warm_up=3).median
        rows.append(("compiled" if compiled else "eager", f"{speed:.1f}", f"{speed / PUBLISHED_H100:.2f}"))
    show("segment fan_small, 256 px, batch 32, bf16", ("", "pairs/s", "× published H100 TensorRT"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the networks.")
    parser.add_argument("--only", default="", help="part of a configuration's name")
    parser.add_argument("--batch", type=int, nargs="*", help="batch sizes; default: one per configuration")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="also compiled (always on a GPU)")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--mode", default="fp32", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device, count = torch.device(arguments.device), int(arguments.iterations)
    if arguments.one:
        found = measured(arguments.one, arguments.batch[0], arguments.mode, count, device)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    modes = ["fp32", "bf16", *(["bf16 compiled"] if arguments.compile or device.type == "cuda" else [])]
    call = yardstick(device)
    before = measure(call, 3 * count, warm_up=3)
    results = [
        (name, batch, mode, in_own_process(name, batch, mode, count, arguments.device))
        for name, configuration in CONFIGURATIONS.items()
        if arguments.only in name
        for batch in arguments.batch or [configuration[4]]
        for mode in modes
    ]
    after = measure(call, 3 * count, warm_up=3)
    unit = (before.median + after.median) / 2
    title = f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, {count} iterations, "
    title += f"yardstick {before.median:.1f} / {after.median:.1f} ms before / after"
    show(title, HEADER, [row_of(*result, unit) for result in results])
    if device.type == "cuda":
        inference_throughput(count)


if __name__ == "__main__":
    main()
