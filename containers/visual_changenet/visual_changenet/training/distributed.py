"""Values of all processes of a run; in a single process they pass unchanged."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


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


def share_buffers(module: nn.Module) -> None:
    """Give every process the buffers (batch-norm statistics) of the first one.

    After a step each process has statistics of its own part of the data; the checkpoint holds those of the first.
    """
    if not several_processes():
        return
    with torch.no_grad():
        for kind in dict.fromkeys(buffer.dtype for buffer in module.buffers()):
            buffers = [buffer for buffer in module.buffers() if buffer.dtype == kind]
            flat = torch.cat([buffer.flatten() for buffer in buffers])
            dist.broadcast(flat, src=0)
            for buffer, part in zip(buffers, torch.split(flat, [b.numel() for b in buffers]), strict=True):
                buffer.copy_(part.view_as(buffer))
