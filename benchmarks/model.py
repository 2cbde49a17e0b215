"""Forward and training step of the learnable classifier: fan_tiny, 64 × 64 pixels, batches of 32 pairs.

Run: ``python benchmarks/model.py`` (about a minute on two cores; ``--iterations 2`` for a quick look, ``--device cuda``
for a GPU). A yardstick, one convolution and one matrix product of fixed size in fp32, is measured before and after:
multiples of it compare runs on machines that are not equally busy.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

import torch
from measure import Timing, measure, show
from torch import Tensor
from torch.nn import functional

from visual_changenet.models import ClassifyNetwork, build_model

BATCH, SIDE = 32, 64
EMBED_DIMS = (256, 64)


def yardstick(device: torch.device) -> Callable[[], None]:
    """About 4.6 GFLOP: a 3 × 3 convolution of (32, 64, 32, 32) with 64 filters, and a product of 1024 × 1024."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(32, 64, 32, 32, generator=generator).to(device)
    kernel = torch.randn(64, 64, 3, 3, generator=generator).to(device)
    square = torch.randn(1024, 1024, generator=generator).to(device)

    def call() -> None:
        functional.conv2d(image, kernel, padding=1)
        torch.mm(square, square)
        finish(device)

    return call


def finish(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def network(embed_dim: int, device: torch.device) -> ClassifyNetwork:
    """The learnable classifier with random weights, in training mode."""
    torch.manual_seed(0)
    spec = {
        "task": "classify",
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "classify": {"difference_module": "learnable", "eval_margin": 0.5},
            "decode_head": {"feature_strides": [4, 8, 16, 16], "decoder_params": {"embed_dim": embed_dim}},
        },
        "dataset": {
            "classify": {"image_width": SIDE, "image_height": SIDE, "num_input": 1, "input_map": None},
        },
    }
    return build_model(spec).to(device)


def steps(model: ClassifyNetwork, device: torch.device, *, half: bool) -> dict[str, Callable[[], None]]:
    """Forward in evaluation mode without gradients, and forward with loss and backward in training mode."""
    generator = torch.Generator().manual_seed(1)
    test = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator).to(device)
    golden = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator).to(device)
    labels = (torch.arange(BATCH) % 2).to(device)

    def output() -> Tensor:
        cast = torch.autocast(device.type, dtype=torch.bfloat16) if half else contextlib.nullcontext()
        with cast:
            found: Tensor = model(test, golden)
        return found.float()

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            output()
        finish(device)

    def backward() -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        functional.cross_entropy(output(), labels).backward()  # type: ignore[no-untyped-call]
        finish(device)

    return {"forward": forward, "forward+backward": backward}


def rows_of(timings: dict[tuple[int, str, str], Timing], before: Timing, after: Timing) -> list[tuple[str, ...]]:
    """Table rows: milliseconds, pairs per second, and multiples of the mean of the two yardsticks."""
    unit = (before.median + after.median) / 2
    rows: list[tuple[str, ...]] = [("yardstick before", *before.cells(), "", f"{before.median / unit:.2f}")]
    for (embed_dim, precision, step), timing in timings.items():
        speed = f"{BATCH * 1000 / timing.median:.0f}"
        multiple = f"{timing.median / unit:.1f}"
        rows.append((f"embed_dim {embed_dim} {precision} {step}", *timing.cells(), speed, multiple))
    return [*rows, ("yardstick after", *after.cells(), "", f"{after.median / unit:.2f}")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of the learnable classifier.")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device, count = torch.device(arguments.device), int(arguments.iterations)
    call = yardstick(device)
    before = measure(call, 3 * count, warm_up=3)
    timings = {}
    for embed_dim in EMBED_DIMS:
        model = network(embed_dim, device)
        for half in (False, True):
            for step, action in steps(model, device, half=half).items():
                timings[embed_dim, "bf16" if half else "fp32", step] = measure(action, count, warm_up=2)
    after = measure(call, 3 * count, warm_up=3)
    title = f"fan_tiny learnable, {SIDE} px, batch {BATCH}, {device}, torch {torch.__version__}"
    title += f", {torch.get_num_threads()} threads, {count} iterations"
    show(title, ("", "median ms", "min–max", "pairs/s", "× yardstick"), rows_of(timings, before, after))


if __name__ == "__main__":
    main()
