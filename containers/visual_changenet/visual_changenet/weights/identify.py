"""Whose weights are these? Families and sizes are recognised from tensor names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]

BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.norm1\.weight$")
FAN_SIZES = {(192, 8): "tiny", (384, 10): "small", (448, 16): "base", (480, 22): "large"}
VIT_SIZES = {(384, 12): "S", (768, 12): "B", (1024, 24): "L", (1280, 32): "H", (1536, 40): "g"}
SWIGLU_L = 5472
SHOWN_NAMES = 3


@dataclass(frozen=True)
class Backbone:
    """A backbone's family (``fan``, ``c_radio``, ``nvdinov2``, ``vit``, ``unknown``), its size, and its name."""

    family: str
    width: int
    depth: int
    variant: str
    text: str

    def fits(self, other: Backbone) -> bool:
        """True where the weights of one are weights of the other, whatever their image and patch sizes."""
        mine = (self.family, self.width, self.depth, self.variant)
        return mine == (other.family, other.width, other.depth, other.variant)


@dataclass(frozen=True)
class Identity:
    """What a set of tensors is: a backbone, alone or inside a Visual ChangeNet network.

    ``task`` is ``classify`` or ``segment``, ``head`` is ``learnable`` or ``euclidean`` (classify only); both are
    empty for a backbone alone.
    """

    backbone: Backbone
    task: str = ""
    head: str = ""

    def fits(self, other: Identity) -> bool:
        """True where both are the same kind of network around the same backbone."""
        return (self.task, self.head) == (other.task, other.head) and self.backbone.fits(other.backbone)

    def __str__(self) -> str:
        if not self.task:
            return self.backbone.text
        head = f" ({self.head})" if self.head else ""
        return f"a Visual ChangeNet {self.task}{head} checkpoint with {self.backbone.text}"


def shapes_of(tensors: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the values that have a shape."""
    return {name: tuple(value.shape) for name, value in tensors.items() if hasattr(value, "shape")}


def identify(shapes: Shapes) -> Identity:
    """Recognise tensors by their names, whatever prefix they carry, and their shapes."""
    inner = {name: shape for name, shape in shapes.items() if re.match(r"(model\.)?backbone\.", name)}
    if _ends(shapes, "decoder.change_probability.conv2d.weight"):
        return Identity(_backbone(inner), "segment")
    if _ends(shapes, "decoder.classifier.0.weight"):
        return Identity(_backbone(inner), "classify", "learnable")
    if inner and _ends(shapes, "fc1.6.weight"):
        return Identity(_backbone(inner), "classify", "euclidean")
    return Identity(_backbone(shapes))


def _backbone(shapes: Shapes) -> Backbone:
    depth = 1 + max((int(found[1]) for found in map(BLOCK.search, shapes) if found), default=-1)
    if position := _ends(shapes, "patch_generator.pos_embed"):
        return _c_radio(shapes, shapes[position][-1], depth)
    if _ends(shapes, "patch_embed.backbone.stem.0.weight") and (token := _ends(shapes, "cls_token")):
        width = shapes[token][-1]
        size = FAN_SIZES.get((width, depth), f"of width {width}, depth {depth}")
        return Backbone("fan", width, depth, "", f"FAN {size}")
    if (patch := _ends(shapes, "patch_embed.proj.weight")) and len(shapes[patch]) == 4 and depth:
        return _vit(shapes, shapes[patch], depth)
    return Backbone("unknown", 0, depth, "", f"unknown weights ({first_names(shapes)})")


def _c_radio(shapes: Shapes, width: int, depth: int) -> Backbone:
    norm = bool(_ends(shapes, "mlp.norm.weight"))
    size = VIT_SIZES.get((width, depth), "of another size")
    text = f"C-RADIO ViT-{size} (width {width}, depth {depth}{', with MLP norm' if norm else ''})"
    return Backbone("c_radio", width, depth, "mlpnorm" if norm else "", text)


def _vit(shapes: Shapes, patch: tuple[int, ...], depth: int) -> Backbone:
    width = patch[0]
    first = _ends(shapes, "blocks.0.mlp.fc1.weight") or _ends(shapes, "blocks.0.mlp.w12.weight")
    swiglu = bool(first) and shapes[first][0] == SWIGLU_L
    family = "nvdinov2" if swiglu and _ends(shapes, "blocks.0.ls1.gamma") else "vit"
    name = "NV-DINOv2" if family == "nvdinov2" else "a plain vision transformer"
    size = VIT_SIZES.get((width, depth), "of another size")
    return Backbone(family, width, depth, "", f"{name} ViT-{size} (width {width}, depth {depth}, patch {patch[-1]})")


def _ends(shapes: Iterable[str], tail: str) -> str:
    """The first name that is ``tail`` or ends with ``.tail``; empty where there is none."""
    return next((name for name in shapes if name == tail or name.endswith("." + tail)), "")


def first_names(names: Iterable[str]) -> str:
    """``a, b, c, ...``: the first few names in order, for a message."""
    known = list(names)
    return ", ".join(known[:SHOWN_NAMES]) + (", ..." if len(known) > SHOWN_NAMES else "")
