"""The sizes of input that a backbone accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visual_changenet.errors import SpecError
from visual_changenet.models.backbones import backbone_shape
from visual_changenet.models.backbones.dinov2 import EMBEDDING_PATCH, DinoShape
from visual_changenet.models.backbones.fan import FanShape
from visual_changenet.models.backbones.radio import PATCH
from visual_changenet.models.multi_golden import CELL


@dataclass(frozen=True)
class SizeRule:
    """What a network accepts: sides that are multiples of ``multiple`` pixels, and equal where ``square``."""

    multiple: int
    square: bool

    def accepts(self, size: tuple[int, int]) -> bool:
        """Whether (height, width) fits."""
        fits = all(side > 0 and side % self.multiple == 0 for side in size)
        return fits and (size[0] == size[1] or not self.square)


def size_rule(spec: dict[str, Any]) -> SizeRule:
    """The rule of the network that a complete spec describes.

    Raises:
        SpecError: ``E_MODEL_UNSUPPORTED`` for an unknown backbone.
    """
    shape = backbone_shape(spec["model"]["backbone"]["type"])
    if isinstance(shape, FanShape):
        return SizeRule(shape.strides[-1], square=False)
    if spec["task"] == "classify":
        if spec["model"]["classify"]["difference_module"] == "euclidean":
            return SizeRule(EMBEDDING_PATCH if isinstance(shape, DinoShape) else PATCH, square=True)
        if spec["dataset"]["classify"]["num_golden"] > 1:
            return SizeRule(shape.strides[-1] * CELL, square=True)
    return SizeRule(shape.strides[-1], square=True)


def check_input_size(spec: dict[str, Any], size: tuple[int, int]) -> None:
    """Refuse an input (height, width) in pixels that the network of a complete spec can not take.

    Raises:
        SpecError: ``E_MODEL_SIZE`` with the nearest sizes that fit.
    """
    rule = size_rule(spec)
    if rule.accepts(size):
        return
    below = max(rule.multiple, max(size) // rule.multiple * rule.multiple)
    near = f"{below} or {below + rule.multiple}"
    equal = ", both the same" if rule.square else ""
    if spec["task"] == "segment":
        fix = f"set dataset.segment.img_size to {near}"
    else:
        fix = f"choose dataset.classify.image_height and image_width (of all lights joined) from {near}{equal}"
    kind = spec["model"]["backbone"]["type"]
    raise SpecError(
        "E_MODEL_SIZE",
        f"the network input is {size[0]} x {size[1]} pixels (height x width), but {kind} needs "
        f"sides that are multiples of {rule.multiple}{equal}{_why(spec)}.",
        fix,
    )


def _why(spec: dict[str, Any]) -> str:
    if spec["task"] == "segment":
        return " in task segment"
    if spec["dataset"]["classify"]["num_golden"] > 1:
        return " with several golden images"
    return f" with difference_module {spec['model']['classify']['difference_module']}"
