"""Whose weights are these? Families and sizes are told from the names and shapes of tensors alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from skillrun.weights.header import Header, shown

Shapes = Mapping[str, tuple[int, ...]]

INSIDE = re.compile(r"(model\.)?backbone\.")
BLOCK = re.compile(r"(?:^|\.)blocks\.(\d{1,4})\.norm1\.weight$")
SIZES = {
    "C-RADIO": {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"},
    "NV-DINOv2": {(1024, 24): "ViT-L"},
    "FAN": {(192, 8): "tiny", (384, 10): "small", (448, 16): "base", (480, 22): "large"},
}
NV_DINO_SWIGLU = 5472  # both halves of the gated layer; other DINOv2 releases have a plain one of 4096
FAN_STEM = 8  # pixels per cell of the stem's last map; the patch projection comes on top
SHOWN_NAMES = 3


@dataclass(frozen=True)
class Weights:
    """A backbone, alone or inside a Visual ChangeNet network.

    Attributes:
        family: ``C-RADIO``, ``NV-DINOv2``, ``FAN``, ``ViT`` (some other plain one), or ``unknown``.
        width: channels of a token.
        depth: number of transformer blocks.
        patch_size: side of a patch in pixels; 0 where patches are not square or the family is unknown.
        prefix: tokens in front of the patches; 0 where the family has one class token or none.
        mlp_norm: True where each MLP has a layer norm inside.
        network: ``classify`` or ``segment`` for a whole Visual ChangeNet file, else empty.
        head: ``learnable`` or ``euclidean`` for classify, else empty.
        names: the first few names of unknown weights, for messages.
    """

    family: str
    width: int = 0
    depth: int = 0
    patch_size: int = 0
    prefix: int = 0
    mlp_norm: bool = False
    network: str = ""
    head: str = ""
    names: str = ""

    def __str__(self) -> str:
        if self.family == "unknown":
            text = f"of no known backbone (its tensors are {self.names or 'none'})"
        else:
            size = SIZES.get(self.family, {}).get((self.width, self.depth), "of another size")
            about = [f"width {self.width}", f"depth {self.depth}", f"patch {self.patch_size or 'not square'}"]
            about += [f"{self.prefix} prefix tokens"] if self.prefix else []
            about += ["MLP norm"] if self.mlp_norm else []
            text = f"{self.family} {size} ({', '.join(about)})"
        if not self.network:
            return text
        head = f" ({self.head})" if self.head else ""
        return f"a Visual ChangeNet {self.network}{head} network with a backbone {text}"

    def fits(self, wanted: Weights) -> bool:
        """True where a backbone like ``wanted`` can take these weights.

        Square patches of a vision transformer are resized when loaded; the convolutions of a FAN are not.
        """
        mine = (self.family, self.width, self.depth, self.prefix, self.mlp_norm)
        if mine != (wanted.family, wanted.width, wanted.depth, wanted.prefix, wanted.mlp_norm):
            return False
        return self.patch_size == wanted.patch_size if self.family == "FAN" else self.patch_size > 0


_MLP_NORM = Weights("C-RADIO", 1280, 32, 16, prefix=16, mlp_norm=True)
# model.backbone.type -> what its weights look like.
BACKBONES = {
    "fan_tiny_8_p4_hybrid": Weights("FAN", 192, 8, 16),
    "fan_small_12_p4_hybrid": Weights("FAN", 384, 10, 16),
    "fan_base_16_p4_hybrid": Weights("FAN", 448, 16, 16),
    "fan_large_16_p4_hybrid": Weights("FAN", 480, 22, 16),
    "vit_large_nvdinov2": Weights("NV-DINOv2", 1024, 24, 14),
    "c_radio_v2_vit_base_patch16_224": Weights("C-RADIO", 768, 12, 16, prefix=8),
    "c_radio_v2_vit_large_patch16_224": Weights("C-RADIO", 1024, 24, 16, prefix=8),
    "c_radio_v2_vit_huge_patch16_224": Weights("C-RADIO", 1280, 32, 16, prefix=8),
    "c_radio_p1_vit_huge_patch16_224_mlpnorm": _MLP_NORM,
    "c_radio_p2_vit_huge_patch16_224_mlpnorm": _MLP_NORM,
    "c_radio_p3_vit_huge_patch16_224_mlpnorm": _MLP_NORM,
}


def fitting_types(weights: Weights) -> tuple[str, ...]:
    """Every ``model.backbone.type`` that can take these weights; the three C-RADIO with MLP norm look alike."""
    return tuple(name for name, wanted in BACKBONES.items() if weights.fits(wanted))


def identify(header: Header) -> Weights:
    """Recognise a file by its tensors' names, whatever prefix they carry, and their shapes; it never raises."""
    shapes = header.shapes
    inner = {name: shape for name, shape in shapes.items() if INSIDE.match(name)}
    if _ends(shapes, "decoder.change_probability.conv2d.weight"):
        return _backbone(inner, "segment")
    if _ends(shapes, "decoder.classifier.0.weight"):
        return _backbone(inner, "classify", "learnable")
    if inner and _ends(shapes, "fc1.6.weight"):
        return _backbone(inner, "classify", "euclidean")
    return _backbone(shapes)


def _backbone(shapes: Shapes, network: str = "", head: str = "") -> Weights:
    depth = 1 + max((int(found[1]) for found in map(BLOCK.search, shapes) if found), default=-1)
    stem = _shape(shapes, "patch_embed.backbone.stem.0.weight", 4)
    patch = _shape(shapes, "patch_embed.proj.weight", 4)
    if codes := _shape(shapes, "patch_generator.pos_embed", 3):
        flat = _shape(shapes, "patch_generator.embedder.weight", 2)
        prefix = _shape(shapes, "patch_generator.cls_token.token", 2)
        norm = bool(_ends(shapes, "blocks.0.mlp.norm.weight"))
        side = _patch_side(flat[1]) if flat else 0
        return Weights("C-RADIO", codes[2], depth, side, prefix[0] if prefix else 0, norm, network, head)
    if stem and patch:
        return Weights("FAN", patch[0], depth, FAN_STEM * _side(patch), network=network, head=head)
    if patch and depth:
        family = "NV-DINOv2" if _is_nv_dino(shapes) else "ViT"
        return Weights(family, patch[0], depth, _side(patch), network=network, head=head)
    return Weights("unknown", depth=depth, network=network, head=head, names=_first_names(shapes))


def _is_nv_dino(shapes: Shapes) -> bool:
    """The published file calls the gated layer ``w12``, a Visual ChangeNet file ``fc1``."""
    gated = _shape(shapes, "blocks.0.mlp.w12.weight", 2) or _shape(shapes, "blocks.0.mlp.fc1.weight", 2)
    return bool(gated) and gated[0] == NV_DINO_SWIGLU and bool(_ends(shapes, "blocks.0.ls1.gamma"))


def _side(patch: tuple[int, ...]) -> int:
    """The side of a square convolution's window, 0 for any other."""
    return patch[2] if patch[2] == patch[3] else 0


def _patch_side(values: int) -> int:
    """The side of a square patch of three colours by its number of values, 0 where there is none."""
    side = math.isqrt(values // 3)
    return side if 3 * side * side == values else 0


def _shape(shapes: Shapes, tail: str, rank: int) -> tuple[int, ...]:
    """The shape of the tensor that ``_ends`` finds; empty where it is absent or not of that rank."""
    found = shapes.get(_ends(shapes, tail), ())
    return found if len(found) == rank else ()


def _ends(names: Iterable[str], tail: str) -> str:
    """The first name that is ``tail`` or ends with ``.tail``; empty where there is none."""
    return next((name for name in names if name == tail or name.endswith("." + tail)), "")


def _first_names(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(map(shown, known[:SHOWN_NAMES])) + (", ..." if len(known) > SHOWN_NAMES else "")
