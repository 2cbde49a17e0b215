"""Backbones by their documented type names."""

from __future__ import annotations

from visual_changenet.errors import SpecError
from visual_changenet.models.backbones.base import EmbeddingBackbone, PyramidBackbone
from visual_changenet.models.backbones.dinov2 import DINO_FAMILY, DinoEmbedding, DinoPyramid, DinoShape
from visual_changenet.models.backbones.fan import FAN_FAMILY, Fan, FanEmbedding, FanShape
from visual_changenet.models.backbones.radio import RADIO_FAMILY, RadioEmbedding, RadioPyramid, RadioShape
from visual_changenet.models.layers import ChannelNormForm

BackboneShape = FanShape | RadioShape | DinoShape

BACKBONES: dict[str, BackboneShape] = {**FAN_FAMILY, **DINO_FAMILY, **RADIO_FAMILY}


def backbone_shape(kind: str) -> BackboneShape:
    """The row of ``BACKBONES``.

    Raises:
        SpecError: ``E_MODEL_UNSUPPORTED`` where there is none.
    """
    if kind not in BACKBONES:
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            f"model.backbone.type is {kind!r}, which this container can not build.",
            f"set model.backbone.type to one of: {', '.join(BACKBONES)}",
        )
    return BACKBONES[kind]


def build_backbone(
    kind: str,
    size: tuple[int, int] = (224, 224),
    *,
    summary: bool = False,
    channel_norm: ChannelNormForm = "unbiased",
) -> PyramidBackbone:
    """The backbone of a type that gives four maps, randomly initialised.

    Args:
        kind: a key of ``BACKBONES``.
        size: (height, width) of the training images in pixels; NV-DINOv2 makes its position grid for it.
        summary: mix the summary tokens of a C-RADIO into all maps; NV-DINOv2 always mixes, FAN has none.
        channel_norm: form of a FAN's channel norms, see ``ChannelNorm``.

    Raises:
        SpecError: ``E_MODEL_UNSUPPORTED`` for an unknown type.
    """
    shape = backbone_shape(kind)
    match shape:
        case FanShape():
            return Fan(shape, channel_norm)
        case RadioShape():
            return RadioPyramid(shape, summary=summary)
        case DinoShape():
            return DinoPyramid(shape, max(size))


def build_embedding(
    kind: str, size: tuple[int, int] = (224, 224), *, channel_norm: ChannelNormForm = "unbiased"
) -> EmbeddingBackbone:
    """The backbone of a type that gives one vector, randomly initialised; arguments as for ``build_backbone``."""
    shape = backbone_shape(kind)
    match shape:
        case FanShape():
            return FanEmbedding(shape, size, channel_norm)
        case RadioShape():
            return RadioEmbedding(shape)
        case DinoShape():
            return DinoEmbedding(shape)
