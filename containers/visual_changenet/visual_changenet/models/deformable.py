"""Multi-scale deformable attention (Zhu et al., 2021) by bilinear sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.layers import Dense

HEADS = 16
POINTS = 4

Size = tuple[int, int]


class SamplingPlan(NamedTuple):
    """What follows from the sizes of the maps.

    Attributes:
        centres: (Q, 1, 1, 2) float32, centre (x, y) of each query's cell in -1..1 of its own map.
        steps: (L, 1, 2) float32, one pixel (x, y) of each source level in the same unit.
        sizes: (height, width) of each source level.
    """

    centres: Tensor
    steps: Tensor
    sizes: tuple[Size, ...]


def sampling_plan(queries: Sequence[Size], sources: Sequence[Size], device: torch.device) -> SamplingPlan:
    """Query maps of these (height, width), one after the other, look at source maps of those."""
    centres = []
    for height, width in queries:
        y = (2 * torch.arange(height, device=device) + 1) / height - 1
        x = (2 * torch.arange(width, device=device) + 1) / width - 1
        grid = torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)
        centres.append(grid.reshape(-1, 1, 1, 2))
    steps = torch.tensor([[[2 / width, 2 / height]] for height, width in sources], device=device)
    return SamplingPlan(torch.cat(centres), steps, tuple(sources))


class DeformableAttention(nn.Module):
    """Every query reads ``POINTS`` places of each source level per head, near its own place.

    Args:
        width: D, of queries and source.
        levels: L, number of source maps.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.sampling_offsets = Dense(width, HEADS * levels * POINTS * 2)
        self.attention_weights = Dense(width, HEADS * levels * POINTS)
        self.value_proj = Dense(width, width // 2)
        self.output_proj = Dense(width // 2, width)

    def reset(self) -> None:
        """First weights: head k looks along direction 2*pi*k/16, point p at p pixels, all with equal weight."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angle = torch.arange(HEADS) * (2 * math.pi / HEADS)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, POINTS + 1)[:, None]
        first = (direction[:, None, None] * distance).expand(HEADS, self.levels, POINTS, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(first.flatten())

    def forward(self, query: Tensor, source: Tensor, plan: SamplingPlan) -> Tensor:
        """(B, Q, D) and (B, S, D), S the sum of the level sizes -> (B, Q, D).

        Places and sums are float32 whatever the precision of the rest.
        """
        batch, count, _ = query.shape
        places, weights = self._places(query, plan), self._weights(query)
        values = self.value_proj(source).view(batch, source.shape[1], HEADS, -1).permute(0, 2, 3, 1).float()
        parts = values.split([height * width for height, width in plan.sizes], dim=-1)
        total: Tensor | None = None
        for level, (part, size) in enumerate(zip(parts, plan.sizes, strict=True)):
            at = places[:, :, :, level].transpose(1, 2).reshape(batch * HEADS, count, POINTS, 2)
            seen = F.grid_sample(part.reshape(batch * HEADS, -1, *size), at, align_corners=False)
            term = (seen * weights[:, :, :, level].transpose(1, 2).reshape(-1, 1, count, POINTS)).sum(dim=-1)
            total = term if total is None else total + term
        assert total is not None
        mixed = total.view(batch, -1, count).transpose(1, 2)
        out: Tensor = self.output_proj(mixed.to(query.dtype))
        return out

    def _places(self, query: Tensor, plan: SamplingPlan) -> Tensor:
        """-> (B, Q, heads, L, points, 2), -1..1 inside the map."""
        offsets = self.sampling_offsets(query).float().view(*query.shape[:2], HEADS, self.levels, POINTS, 2)
        places: Tensor = plan.centres[:, None] + offsets * plan.steps
        return places

    def _weights(self, query: Tensor) -> Tensor:
        """-> (B, Q, heads, L, points), summing to 1 over levels and points."""
        raw = self.attention_weights(query).float().view(*query.shape[:2], HEADS, self.levels * POINTS)
        weights: Tensor = raw.softmax(dim=-1).view(*query.shape[:2], HEADS, self.levels, POINTS)
        return weights
