"""Values of all processes of a run; in a single process they pass unchanged."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def several_processes() -> bool:
    """True inside a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(local: list[Any]) -> list[Any]:
    """The items of all processes, by rank; the same list in each of them. Tensors should lie on the CPU."""
    if not several_processes():
        return local
    parts: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, local)
    return [item for part in parts for item in part]


def summed(local: Tensor) -> Tensor:
    """The element-wise sum over all processes."""
    if not several_processes():
        return local
    total = local.clone()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


def any_process(decision: bool, device: torch.device) -> bool:
    """True in every process where it is true in one of them."""
    if not several_processes():
        return decision
    flag = torch.tensor(int(decision), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())
