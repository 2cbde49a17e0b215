"""Fitting position codes and patch embeddings to another grid or patch size.

The interpolation dialects are those of the published loaders: C-RADIO samples corner to corner
(``align_corners=True``), NV-DINOv2 does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Resize = Callable[[Tensor, torch.Size], Tensor | None]


def adapt(tensors: dict[str, Tensor], wanted: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The tensors, resized where the network wants another grid and a published rule says how.

    Args:
        tensors: by the network's names; dtype floating point where resized.
        wanted: the network's shapes by name. A tensor that no rule fits is returned as it is.

    Returns:
        A new dict with the same names; resized tensors are float32.
    """
    return {name: _fit(name, tensor, wanted.get(name, tensor.shape)) for name, tensor in tensors.items()}


def _fit(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    if tensor.shape == shape or not tensor.is_floating_point():
        return tensor
    for tail, resize in RULES:
        if name == tail or name.endswith("." + tail):
            fitted = resize(tensor, shape)
            return tensor if fitted is None or fitted.shape != shape else fitted
    return tensor


def resize_grid(codes: Tensor, side: int, *, align_corners: bool) -> Tensor:
    """Position codes (1, n * n, D) -> (1, side * side, D), bicubic."""
    old, width = math.isqrt(codes.shape[1]), codes.shape[2]
    grid = codes.float().reshape(1, old, old, width).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=align_corners)
    return grid.permute(0, 2, 3, 1).reshape(1, side * side, width)


def _square(count: int) -> int:
    """The side of a square of ``count`` cells, 0 where there is none."""
    side = math.isqrt(max(count, 0))
    return side if side * side == count else 0


def _radio_positions(codes: Tensor, shape: torch.Size) -> Tensor | None:
    if codes.ndim != 3 or len(shape) != 3 or not _square(codes.shape[1]) or not _square(shape[1]):
        return None
    return resize_grid(codes, _square(shape[1]), align_corners=True)


def _radio_embedder(weight: Tensor, shape: torch.Size) -> Tensor | None:
    """Linear patch embedding (D, 3 * p * p) -> (D, 3 * q * q)."""
    if weight.ndim != 2 or weight.shape[1] % 3 or not _square(weight.shape[1] // 3):
        return None
    old, new = _square(weight.shape[1] // 3), _square(shape[-1] // 3)
    if not new:
        return None
    patches = weight.float().reshape(-1, 3, old, old)
    return F.interpolate(patches, size=(new, new), mode="bicubic", align_corners=True).flatten(1)


def _dino_positions(codes: Tensor, shape: torch.Size) -> Tensor | None:
    """(1, 1 + n * n, D): the class token's code is kept, the others are resized."""
    if codes.ndim != 3 or len(shape) != 3 or not _square(codes.shape[1] - 1) or not _square(shape[1] - 1):
        return None
    grid = resize_grid(codes[:, 1:], _square(shape[1] - 1), align_corners=False)
    return torch.cat([codes[:, :1].float(), grid], dim=1)


def _dino_patches(weight: Tensor, shape: torch.Size) -> Tensor | None:
    """Patch convolution (D, 3, p, p) -> (D, 3, q, q)."""
    if weight.ndim != 4 or weight.shape[1] != 3 or len(shape) != 4:
        return None
    return F.interpolate(weight.float(), size=tuple(shape[2:]), mode="bicubic", align_corners=False)


RULES: tuple[tuple[str, Resize], ...] = (
    ("patch_generator.pos_embed", _radio_positions),
    ("patch_generator.embedder.weight", _radio_embedder),
    ("pos_embed", _dino_positions),
    ("patch_embed.proj.weight", _dino_patches),
)
