"""Backbones by their documented type names."""

from __future__ import annotations

from typing import Any

from visual_changenet.errors import SpecError
from visual_changenet.models.backbones.fan import FAN_FAMILY, Fan

SUPPORTED = tuple(FAN_FAMILY)


def build_backbone(options: dict[str, Any]) -> Fan:
    """The pyramid backbone of a ``model.backbone`` section, randomly initialised.

    Raises:
        SpecError: ``E_MODEL_UNSUPPORTED`` where the type is not available here.
    """
    kind = options["type"]
    if kind not in FAN_FAMILY:
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            f"model.backbone.type is {kind!r}, which this container can not build.",
            f"set model.backbone.type to one of: {', '.join(SUPPORTED)}",
        )
    if options["feat_downsample"]:
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            "model.backbone.feat_downsample is true, but no decoder accepts its output.",
            "set model.backbone.feat_downsample to false",
        )
    return Fan(FAN_FAMILY[kind], options["channel_norm"])
