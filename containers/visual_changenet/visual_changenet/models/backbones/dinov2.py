"""NV-DINOv2 (ViT-L): layer scale, SwiGLU, one class token, an absolute position code."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.adapter import AdapterPyramid
from visual_changenet.models.backbones.base import Backbone, EmbeddingBackbone
from visual_changenet.models.backbones.vit import NORM_EPS, SwiGlu, VitBlock, VitShape, patch_tokens
from visual_changenet.models.layers import init_linear

EMBEDDING_PATCH = 14
EMBEDDING_GRID = 37  # patches per side of the published 518 pixels
PYRAMID_PATCH = 16
LAYER_SCALE = 1e-5
DROP_PATH = 0.4
PRETRAINED = ("cls_token", "pos_embed", "patch_embed", "blocks", "norm")


@dataclass(frozen=True)
class DinoShape(VitShape):
    """A member of the family; ``hidden`` is the inner width of its SwiGLU."""

    hidden: int = 2736


DINO_FAMILY = {"vit_large_nvdinov2": DinoShape(1024, 24, 16)}


class PatchEmbedding(nn.Module):
    """The projection of patches under its published name."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class DinoBody(Backbone):
    """The transformer itself, under the published names.

    Args:
        patch: side of a patch in pixels.
        grid: position codes per side.
        drop_path: probability of stochastic depth in the last block; it rises linearly from 0 in the first.
    """

    def __init__(self, shape: DinoShape, patch: int, grid: int, drop_path: float) -> None:
        super().__init__()
        self.grid = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, shape.width))
        self.patch_embed = PatchEmbedding(shape.width, patch)
        self.blocks = nn.ModuleList(
            VitBlock(
                shape,
                SwiGlu(shape.width, shape.hidden),
                layer_scale=LAYER_SCALE,
                drop_path=drop_path * index / (shape.depth - 1),
            )
            for index in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.width, eps=NORM_EPS)
        self.blocks.apply(init_linear)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def pretrained_part(self) -> nn.Module:
        """The transformer's own parameters, without those that an adapter adds; they are shared, not copied."""
        part = nn.Module()
        for name in PRETRAINED:
            setattr(part, name, getattr(self, name))
        return part

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of the patch -> (B, 1 + patches, D), class token first."""
        patches = patch_tokens(x, self.patch_embed.proj.weight, self.patch_embed.proj.bias)
        batch, _, height, width = patches.shape
        head, code = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (height, width) != (self.grid, self.grid):
            code = code.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
            code = self.resized(code, height, width).flatten(2).transpose(1, 2)
        tokens = patches.flatten(2).transpose(1, 2) + code
        prefix = (self.cls_token + head).to(tokens.dtype).expand(batch, -1, -1)
        return torch.cat([prefix, tokens], dim=1)

    @abstractmethod
    def resized(self, code: Tensor, height: int, width: int) -> Tensor:
        """The position grid (1, D, g, g) -> (1, D, height, width)."""


class DinoEmbedding(DinoBody, EmbeddingBackbone):
    """The normed class token."""

    def __init__(self, shape: DinoShape) -> None:
        super().__init__(shape, EMBEDDING_PATCH, EMBEDDING_GRID, drop_path=0.0)
        self.features = shape.width

    def resized(self, code: Tensor, height: int, width: int) -> Tensor:
        """Bicubic, sampled at distances of g / (n + 0.1), which is what the published weights were used with."""
        scale = ((int(height) + 0.1) / self.grid, (int(width) + 0.1) / self.grid)  # int: sizes of a trace are tensors
        return F.interpolate(code, scale_factor=scale, mode="bicubic", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 14 -> (B, D)."""
        tokens = self.embed(x)
        for block in self.blocks[:-1]:
            tokens = self.run(block, tokens)
        out: Tensor = self.norm(self.run(self.blocks[-1], tokens, 1))
        return out.flatten(1)


class DinoPyramid(DinoBody, AdapterPyramid):
    """The transformer at patch 16 with a ViT-Adapter: four maps at strides 4, 8, 16, 32.

    Args:
        side: of the training images in pixels; the position grid has one code per patch of it.
    """

    def __init__(self, shape: DinoShape, side: int) -> None:
        super().__init__(shape, PYRAMID_PATCH, side // PYRAMID_PATCH, DROP_PATH)
        self.add_adapter(shape, eps=NORM_EPS, mixed=shape.prefix, drop_path=DROP_PATH)

    def resized(self, code: Tensor, height: int, width: int) -> Tensor:
        """Bicubic, without aligned corners."""
        return F.interpolate(code, size=(height, width), mode="bicubic", align_corners=False)

    def vit_blocks(self) -> nn.ModuleList:
        """The transformer's blocks."""
        return self.blocks

    def freeze(self) -> list[nn.Module]:
        """As for all, but the class token goes on learning."""
        frozen = super().freeze()
        self.cls_token.requires_grad_(True)
        return frozen
