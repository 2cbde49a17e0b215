"""The C-RADIO family: a plain vision transformer with several summary tokens and a movable position code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.adapter import AdapterPyramid
from visual_changenet.models.backbones.base import EmbeddingBackbone
from visual_changenet.models.backbones.vit import Mlp, VitBlock, VitShape, patch_tokens
from visual_changenet.models.cache import SizeCache, tracing
from visual_changenet.models.layers import init_linear

PATCH = 16
GRID = 128  # position codes per side: an image of 2048 pixels
ADAPTER_EPS = 1e-5
CODE_DROPPED = 0.1
SMALLEST_WINDOW = math.sqrt(0.1)
WIDEST_ASPECT = math.log(4 / 3)


@dataclass(frozen=True)
class RadioShape(VitShape):
    """What tells one family member from another.

    Attributes:
        summaries: tokens trained as summaries, one per teacher.
        read: how many of them, from the first, make the embedding.
        group: the prefix is filled up with registers to the next multiple of this.
        mlp_norm: a layer norm inside each MLP.
    """

    summaries: int = 4
    read: int = 3
    group: int = 8
    mlp_norm: bool = False

    @property
    def prefix(self) -> int:
        """Summary and register tokens; there is always at least one register."""
        return self.summaries + self.group - self.summaries % self.group


def _huge(summaries: int, read: int) -> RadioShape:
    return RadioShape(1280, 32, 16, summaries=summaries, read=read, group=16, mlp_norm=True)


RADIO_FAMILY = {
    "c_radio_v2_vit_base_patch16_224": RadioShape(768, 12, 12),
    "c_radio_v2_vit_large_patch16_224": RadioShape(1024, 24, 16),
    "c_radio_v2_vit_huge_patch16_224": RadioShape(1280, 32, 16),
    "c_radio_p1_vit_huge_patch16_224_mlpnorm": _huge(summaries=3, read=3),
    "c_radio_p2_vit_huge_patch16_224_mlpnorm": _huge(summaries=4, read=4),
    "c_radio_p3_vit_huge_patch16_224_mlpnorm": _huge(summaries=4, read=3),
}


class PrefixTokens(nn.Module):
    """Summary and register tokens under their published name."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(count, width) * width**-0.5)


class PatchGenerator(nn.Module):
    """Image -> prefix tokens, then patch tokens with their position code.

    In training each sample sees the position grid through a random window, and sometimes not at all.
    """

    def __init__(self, shape: RadioShape) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, GRID * GRID, shape.width) * shape.width**-0.5)
        self.embedder = nn.Linear(3 * PATCH * PATCH, shape.width, bias=False)
        self.cls_token = PrefixTokens(shape.prefix, shape.width)
        self._codes: SizeCache[Tensor] = SizeCache()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 16 -> (B, prefix + H/16 * W/16, D), patches row-major."""
        patches = patch_tokens(x, self.embedder.weight.view(-1, 3, PATCH, PATCH), None)
        batch, _, height, width = patches.shape
        code = self.windowed_code(batch, height, width) if self.training else self.code(height, width)
        tokens = patches.flatten(2).transpose(1, 2) + code
        prefix = self.cls_token.token.to(tokens.dtype).expand(batch, -1, -1)
        return torch.cat([prefix, tokens], dim=1)

    def code(self, height: int, width: int) -> Tensor:
        """The position code of evaluation: (1, height * width, D)."""
        grid = self.pos_embed
        if tracing() or (torch.is_grad_enabled() and grid.requires_grad) or grid.is_inference():
            return self._resized(height, width)
        # A kept code is good for the very values it was made from: where they lie, and how often they were written.
        key = (height, width, grid.device, grid.dtype, grid.data_ptr(), grid._version)
        return self._codes.get(key, lambda: self._resized(height, width))

    def _resized(self, height: int, width: int) -> Tensor:
        """The grid resized to the longer side, squarely; then its top left window."""
        grid, side = self._grid(), max(height, width)
        if (height, width) != (GRID, GRID):
            grid = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=True)
        return grid[:, :, :height, :width].flatten(2).transpose(1, 2)

    def windowed_code(self, batch: int, height: int, width: int) -> Tensor:
        """The random position codes of training: (B, height * width, D).

        Window: scale s ~ U(sqrt(0.1), 1), aspect exp(U(-ln 4/3, ln 4/3)), placed evenly; then a code is zeroed
        with probability 0.1.
        """
        device = self.pos_embed.device
        scale = torch.empty(batch, device=device).uniform_(SMALLEST_WINDOW, 1)
        aspect = torch.empty(batch, device=device).uniform_(-WIDEST_ASPECT, WIDEST_ASPECT).exp()
        window = torch.stack([scale * aspect, scale / aspect], dim=-1).clamp(max=1)
        corner = torch.rand(batch, 2, device=device) * (1 - window)
        y = torch.linspace(0, 1, height, device=device)[:, None].expand(height, width)
        x = torch.linspace(0, 1, width, device=device)[None, :].expand(height, width)
        at = torch.stack([x, y], dim=-1) * window[:, None, None] + corner[:, None, None]
        # All windows lie below each other in one sampling of one grid: its gradient is not made once per sample.
        at = (2 * at - 1).view(1, batch * height, width, 2)
        code = F.grid_sample(self._grid().float(), at, mode="bilinear", padding_mode="zeros", align_corners=True)
        code = code.view(-1, batch, height * width).permute(1, 2, 0)
        kept = torch.rand(batch, 1, 1, device=device) >= CODE_DROPPED
        return (code * kept).to(self.pos_embed.dtype)

    def _grid(self) -> Tensor:
        return self.pos_embed.transpose(1, 2).reshape(1, -1, GRID, GRID)


class RadioVit(nn.Module):
    """The transformer itself, under the published names."""

    def __init__(self, shape: RadioShape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(VitBlock(shape, Mlp(shape.width, norm=shape.mlp_norm)) for _ in range(shape.depth))
        self.patch_generator = PatchGenerator(shape)
        self.apply(init_linear)


class RadioEmbedding(EmbeddingBackbone):
    """The first ``read`` summary tokens, one after the other."""

    def __init__(self, shape: RadioShape) -> None:
        super().__init__()
        self.read = shape.read
        self.features = shape.read * shape.width
        self.radio = named(RadioVit(shape), "model", "radio")

    def pretrained_part(self) -> RadioVit:
        """The transformer."""
        return inner(self.radio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W), H and W multiples of 16 -> (B, features)."""
        vit = self.pretrained_part()
        tokens = vit.patch_generator(x)
        for block in vit.blocks[:-1]:
            tokens = self.run(block, tokens)
        out: Tensor = self.run(vit.blocks[-1], tokens, self.read)
        return out.flatten(1)


class RadioPyramid(AdapterPyramid):
    """The transformer with a ViT-Adapter: four maps at strides 4, 8, 16, 32."""

    def __init__(self, shape: RadioShape, *, summary: bool) -> None:
        super().__init__()
        self.radio = named(RadioVit(shape), "model", "radio", "radio")
        self.add_adapter(shape, eps=ADAPTER_EPS, mixed=shape.prefix if summary else 0)

    def pretrained_part(self) -> RadioVit:
        """The transformer."""
        return inner(self.radio)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, prefix + H/16 * W/16, D)."""
        out: Tensor = self.pretrained_part().patch_generator(x)
        return out

    def vit_blocks(self) -> nn.ModuleList:
        """The transformer's blocks."""
        return self.pretrained_part().blocks


def named(module: nn.Module, *names: str) -> nn.ModuleDict:
    """The module inside nested dictionaries, the first name innermost: its parameters get that dotted prefix."""
    for name in names:
        module = nn.ModuleDict({name: module})
    assert isinstance(module, nn.ModuleDict)
    return module


def inner(module: nn.Module) -> RadioVit:
    """The transformer inside what ``named`` returned."""
    while isinstance(module, nn.ModuleDict):
        (module,) = module.values()
    assert isinstance(module, RadioVit)
    return module
