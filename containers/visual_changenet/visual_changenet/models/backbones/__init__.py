"""Backbones by their documented type names."""

from __future__ import annotations

from visual_changenet.errors import SpecError
from visual_changenet.models.backbones.fan import FAN_FAMILY, Fan
from visual_changenet.models.layers import ChannelNormForm

SUPPORTED = tuple(FAN_FAMILY)


def build_backbone(kind: str, channel_norm: ChannelNormForm = "unbiased") -> Fan:
    """The pyramid backbone of that type, randomly initialised.

    Raises:
        SpecError: ``E_MODEL_UNSUPPORTED`` where the type is not available here.
    """
    if kind not in FAN_FAMILY:
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            f"model.backbone.type is {kind!r}, which this container can not build.",
            f"set model.backbone.type to one of: {', '.join(SUPPORTED)}",
        )
    return Fan(FAN_FAMILY[kind], channel_norm)
