"""ViT-Adapter (Chen et al., 2023): a plain vision transformer gives a pyramid of maps, helped by a small network."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.backbones.base import PyramidBackbone
from visual_changenet.models.backbones.vit import VitShape
from visual_changenet.models.cache import SizeCache
from visual_changenet.models.deformable import DeformableAttention, SamplingPlan, Size, sampling_plan
from visual_changenet.models.layers import Dense, DropPath, LayerScale, dense, init_linear, resize_map, to_nchw, to_nhwc

PRIOR_CHANNELS = 56
INTERACTIONS = 4
INJECTOR_SCALE = 1e-5


def _convolution(channels_in: int, channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


class SpatialPrior(nn.Module):
    """A small convolutional network: what the patches of a transformer are too coarse for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        base = PRIOR_CHANNELS
        self.stem = nn.Sequential(
            *_convolution(3, base, 2),
            *_convolution(base, base, 1),
            *_convolution(base, base, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_convolution(base, 2 * base, 2))
        self.conv3 = nn.Sequential(*_convolution(2 * base, 4 * base, 2))
        self.conv4 = nn.Sequential(*_convolution(4 * base, 4 * base, 2))
        self.fc1 = nn.Conv2d(base, width, 1)
        self.fc2 = nn.Conv2d(2 * base, width, 1)
        self.fc3 = nn.Conv2d(4 * base, width, 1)
        self.fc4 = nn.Conv2d(4 * base, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) -> (B, 56, H/4, W/4), and three maps (B, D, H/s, W/s), s = 8, 16, 32.

        The finest map is returned before ``fc1``: not every network reads it.
        """
        first = self.stem(x)
        second = self.conv2(first)
        third = self.conv3(second)
        fourth = self.conv4(third)
        return first, [self.fc2(second), self.fc3(third), self.fc4(fourth)]


class DepthwiseMaps(nn.Module):
    """One depthwise 3x3 convolution on each of several maps that lie one after the other in a token list."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(B, S, C) -> (B, S, C), S the sum of the map sizes."""
        parts = torch.split(x, [height * width for height, width in sizes], dim=1)
        maps = (self.dwconv(as_map(part, *size)) for part, size in zip(parts, sizes, strict=True))
        return torch.cat([as_tokens(part) for part in maps], dim=1)


class ConvolutionMlp(nn.Module):
    """Narrow to a quarter, look at the neighbours, widen."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Dense(width, width // 4)
        self.dwconv = DepthwiseMaps(width // 4)
        self.fc2 = Dense(width // 4, width)

    def forward(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        out: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(x), sizes)))
        return out


class Injector(nn.Module):
    """The patch tokens read from the three maps."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=eps)
        self.feat_norm = nn.LayerNorm(width, eps=eps)
        self.attn = DeformableAttention(width, levels=3)
        self.ls = LayerScale(width, INJECTOR_SCALE)

    def forward(self, patches: Tensor, maps: Tensor, plan: SamplingPlan) -> Tensor:
        """(B, N, D) and (B, S, D) -> (B, N, D)."""
        read = self.attn(self.query_norm(patches), self.feat_norm(maps), plan)
        out: Tensor = patches + self.ls(read)
        return out


class Extractor(nn.Module):
    """The three maps read from the patch tokens."""

    def __init__(self, width: int, eps: float, drop_path: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=eps)
        self.feat_norm = nn.LayerNorm(width, eps=eps)
        self.attn = DeformableAttention(width, levels=1)
        self.ffn = ConvolutionMlp(width)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.drop_path = DropPath(drop_path)

    def forward(self, maps: Tensor, patches: Tensor, plan: SamplingPlan, sizes: Sequence[Size]) -> Tensor:
        """(B, S, D) and (B, N, D) -> (B, S, D)."""
        maps = maps + self.attn(self.query_norm(maps), self.feat_norm(patches), plan)
        out: Tensor = maps + self.drop_path(self.ffn(self.ffn_norm(maps), sizes))
        return out


class Interaction(nn.Module):
    """What stands around one run of transformer blocks; the last one extracts three times."""

    def __init__(self, width: int, eps: float, drop_path: float, *, last: bool) -> None:
        super().__init__()
        self.injector = Injector(width, eps)
        self.extractor = Extractor(width, eps, drop_path)
        if last:
            self.extra_extractors = nn.ModuleList(Extractor(width, eps, drop_path) for _ in range(2))

    def extractors(self) -> list[nn.Module]:
        """All extractors in the order they run."""
        return [self.extractor, *getattr(self, "extra_extractors", [])]


class AdapterGeometry:
    """Sizes and sampling plans of one image size; ``height`` and ``width`` count patches."""

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        patches = (height, width)
        self.patches = patches
        self.maps = ((2 * height, 2 * width), patches, (height // 2, width // 2))
        self.inject = sampling_plan([patches], self.maps, device)
        self.extract = sampling_plan(self.maps, [patches], device)


class AdapterPyramid(PyramidBackbone):
    """Base of the transformer pyramids: four maps at strides 4, 8, 16, 32 of any image with sides of 32 n.

    A subclass registers its transformer, then calls ``add_adapter``: that is the published order of names.
    """

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> tokens (B, prefix + H/16 * W/16, D)."""

    @abstractmethod
    def vit_blocks(self) -> nn.ModuleList:
        """The transformer's blocks."""

    def add_adapter(self, shape: VitShape, *, eps: float, mixed: int, drop_path: float = 0.0) -> None:
        """Register everything but the transformer.

        Args:
            eps: of the adapter's layer norms.
            mixed: number of prefix tokens that are mixed into all maps; 0 for none.
            drop_path: stochastic depth of the extractors' MLPs.
        """
        width = shape.width
        self.channels, self.strides = shape.channels, shape.strides
        self.prefix, self.mixed = shape.prefix, mixed
        self._geometry: SizeCache[AdapterGeometry] = SizeCache()
        self.level_embed = nn.Parameter(torch.zeros(3, width))
        self.spm = SpatialPrior(width)
        self.interactions = nn.ModuleList(
            Interaction(width, eps, drop_path, last=index == INTERACTIONS - 1) for index in range(INTERACTIONS)
        )
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        for level in (1, 2, 3, 4):
            setattr(self, f"norm{level}", nn.BatchNorm2d(width))
        if mixed:
            self.fc_summary = nn.Linear(mixed * width, width)
            for level in (1, 2, 3, 4):
                setattr(self, f"conv{level}", nn.Conv2d(2 * width, width, 1))
        self._initialise(shape)

    def _initialise(self, shape: VitShape) -> None:
        nn.init.normal_(self.level_embed)
        own = [self.spm, self.interactions, self.up]
        if self.mixed:
            own += [self.fc_summary, *(getattr(self, f"conv{level}") for level in (1, 2, 3, 4))]
        for part in own:
            for module in part.modules():
                init_linear(module)
                init_convolution(module)
        for module in self.interactions.modules():
            if isinstance(module, DeformableAttention):
                module.reset()

    def forward(self, x: Tensor, levels: int = 4) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of 32 -> the ``levels`` coarsest maps (B, D, H/s, W/s), fine to coarse."""
        height, width = x.shape[-2] // 16, x.shape[-1] // 16
        place = self._geometry.get((height, width, x.device), lambda: AdapterGeometry(height, width, x.device))
        fine, priors = self.spm(x)
        maps = torch.cat([as_tokens(prior) + code for prior, code in zip(priors, self.level_embed, strict=True)], dim=1)
        tokens, maps, stages = self._interact(self.embed(x), maps, place)
        parts = torch.split(maps, [h * w for h, w in place.maps], dim=1)
        second, third, fourth = (as_map(part, *size) for part, size in zip(parts, place.maps, strict=True))
        coarse = [second, third, fourth]
        if levels == 4:
            coarse.insert(0, self.up(second) + self.spm.fc1(fine))
        summary = self.fc_summary(tokens[:, : self.prefix].flatten(1)) if self.mixed else None
        chosen = zip(range(5 - levels, 5), coarse[-levels:], stages[-levels:], strict=True)
        return [self._output(level, part, as_map(stage, height, width), summary) for level, part, stage in chosen]

    def _interact(self, tokens: Tensor, maps: Tensor, place: AdapterGeometry) -> tuple[Tensor, Tensor, list[Tensor]]:
        """-> tokens and maps at the end, and the patch tokens after each run of blocks."""
        blocks = self.vit_blocks()
        run_length = len(blocks) // INTERACTIONS
        stages = []
        for index, interaction in enumerate(self.interactions):
            assert isinstance(interaction, Interaction)
            prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
            patches = self.run(interaction.injector, patches, maps, place.inject)
            tokens = torch.cat([prefix, patches], dim=1)
            for block in blocks[index * run_length : (index + 1) * run_length]:
                tokens = self.run(block, tokens)
            patches = tokens[:, self.prefix :]
            for extractor in interaction.extractors():
                maps = self.run(extractor, maps, patches, place.extract, place.maps)
            stages.append(patches)
        return tokens, maps, stages

    def _output(self, level: int, part: Tensor, stage: Tensor, summary: Tensor | None) -> Tensor:
        """Map of the adapter plus the transformer's at its size, then summary mixing, then batch norm."""
        x = part + resize_map(stage, *part.shape[-2:])
        if summary is not None:
            conv: nn.Conv2d = getattr(self, f"conv{level}")
            # The summary is the same at all places: its half of the 1x1 convolution is computed once per image.
            ahead, own = torch.split(conv.weight.flatten(1), [summary.shape[-1]] * 2, dim=1)
            x = to_nchw(dense(to_nhwc(x), own, None)) + F.linear(summary, ahead, conv.bias)[:, :, None, None]
        out: Tensor = getattr(self, f"norm{level}")(x)
        return out


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, height * width, C) -> (B, C, height, width), channels-last in memory."""
    return tokens.reshape(tokens.shape[0], height, width, tokens.shape[2]).permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


def init_convolution(module: nn.Module) -> None:
    """Normal with deviation ``sqrt(2 / fan_out)``, bias 0; other modules are left as they are."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
