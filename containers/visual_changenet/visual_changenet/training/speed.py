"""How long the trained network takes for one pair, where it was trained."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from visual_changenet.data.input_size import classify_input_size
from visual_changenet.latency import Latency
from visual_changenet.models import Network

WARM_UP, STEPS, FEWEST_STEPS, SECONDS = 2, 20, 3, 3.0


def measure(network: Network, spec: dict[str, Any], device: torch.device) -> Latency:
    """Batches of one pair through a network in evaluation mode, in float32: up to 20 of them, or three seconds."""
    first, second = (torch.zeros(shape, device=device) for shape in _shapes(spec))
    was_training, seconds = network.training, list[float]()
    network.eval()
    with torch.inference_mode():
        for step in range(WARM_UP + STEPS):
            if step >= WARM_UP + FEWEST_STEPS and sum(seconds) > SECONDS:
                break
            seconds.append(_once(network, first, second, device))
    network.train(was_training)
    return Latency.of(seconds[WARM_UP:], 1)


def _once(network: Network, first: Tensor, second: Tensor, device: torch.device) -> float:
    began = time.perf_counter()
    network(first, second)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _shapes(spec: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the test and the golden image (or images) of one pair."""
    data = spec["dataset"][spec["task"]]
    if spec["task"] == "segment":
        one = (3, data["img_size"], data["img_size"])
        return (1, *one), (1, *one)
    one = (3, *classify_input_size(data))
    goldens = (data["num_golden"],) if data["num_golden"] > 1 else ()
    return (1, *one), (1, *goldens, *one)
