"""Loading published backbone weights into a backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from visual_changenet.errors import DataInvalidError, MissingFileError
from visual_changenet.weights.adapt import adapt
from visual_changenet.weights.files import Weights, open_weights
from visual_changenet.weights.identify import Backbone, first_names, identify, shapes_of

KEY = "model.backbone.pretrained_backbone_path"
FIX = "choose weights of model.backbone.type, or correct the type"
PREFIXES = (
    "backbone.",
    "model.model.backbone.",
    "model.backbone.",
    "model.encoder.",
    "model.decoder.",
    "model.",
)
RADIO_PREFIXES = ("radio_model.model.", "base_model.", "radio.radio.model.")
CHANGENET_RADIO = re.compile(r"(?:radio\.)+model\.")
# A ViT-Adapter is trained with the task; published backbones do not have it.
ADAPTER = re.compile(r"(level_embed|spm|interactions|up|norm[1-4]|fc_summary|conv[1-4])(\.|$)")
# Batch counters are not needed, a FAN's class token is never computed, and a feature to be trained is none to load.
NEVER_NEEDED = re.compile(r".*num_batches_tracked$|cls_attn_blocks\.\d+\.(attn|mlp)\.|learnable_downsample\.")


def renamed(key: str) -> str | None:
    """A published key without its wrapper's prefix (first rule that fits); None where it is to be skipped."""
    if "module" in key:
        return key.split(".", 1)[-1]
    for prefix in PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return None if key.startswith("ema_") else key


def inner_name(key: str, family: str) -> str | None:
    """A file's key as the backbone names it; None where the key is to be skipped.

    C-RADIO keys lose the wrappers of the published model and of a ChangeNet network, and the misspelt ``grandma``
    of some releases becomes ``gamma``; NV-DINOv2's ``w12`` and ``w3`` are called ``fc1`` and ``fc2`` here.
    """
    name = renamed(key)
    if name is None:
        return None
    if family == "c_radio":
        for prefix in RADIO_PREFIXES:
            name = name.removeprefix(prefix)
        return CHANGENET_RADIO.sub("", name, count=1).replace("grandma", "gamma")
    if family == "nvdinov2":
        name = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
    return name


def load_backbone(backbone: nn.Module, path: Path) -> str:
    """Copy a file's weights into a backbone; returns a sentence on what was loaded, and a table where not all was.

    ``backbone.pretrained_part()``, where there is one, is the inner module whose names the published files have.
    A Visual ChangeNet checkpoint of the same backbone gives its whole ``model.backbone``.

    Raises:
        MissingFileError: ``E_BACKBONE_MISSING``.
        DataInvalidError: ``E_BACKBONE_INVALID``; ``E_CHECKPOINT_UNSAFE``; ``E_BACKBONE_MISMATCH`` where the weights
            are of another family or size, or something that matters is missing.
    """
    if not path.is_file():
        raise MissingFileError("E_BACKBONE_MISSING", f"{KEY} is {str(path)!r}, which is not a file.", f"correct {KEY}")
    weights = open_weights(path, "E_BACKBONE_INVALID")
    part = _published_part(backbone)
    wanted = identify(shapes_of(part.state_dict())).backbone
    found = identify(weights.shapes)
    if found.backbone.family != "unknown" and wanted.family != "unknown" and not found.backbone.fits(wanted):
        raise _mismatch(f"{path} is {found}, but model.backbone.type asks for {wanted.text}.")
    target, names = _match(backbone, part, weights, found.task != "", wanted)
    if not names:
        said = f"none of the {len(weights.shapes)} tensors of {path} has a name of {wanted.text}; it is {found}."
        raise _mismatch(said)
    adapted = "level_embed" in backbone.state_dict()
    return _copy(target, weights, names, path, adapted=adapted)


def _published_part(backbone: nn.Module) -> nn.Module:
    part = getattr(backbone, "pretrained_part", None)
    inner = part() if callable(part) else backbone
    assert isinstance(inner, nn.Module)
    return inner


def _match(
    backbone: nn.Module, part: nn.Module, weights: Weights, changenet: bool, wanted: Backbone
) -> tuple[nn.Module, dict[str, str]]:
    """The module to load into, and its tensors' names -> names in the file."""
    if changenet:
        inside = {re.sub(r"^(model\.)?backbone\.", "", key): key for key in weights.shapes if "backbone." in key}
        if backbone.state_dict().keys() <= inside.keys():
            return backbone, {name: inside[name] for name in backbone.state_dict()}
    candidates = [key for key in weights.shapes if not changenet or re.match(r"(model\.)?backbone\.", key)]
    names = {inner_name(key, wanted.family): key for key in candidates}
    return part, {name: names[name] for name in part.state_dict() if name in names}


def _copy(target: nn.Module, weights: Weights, names: dict[str, str], path: Path, *, adapted: bool) -> str:
    wanted = target.state_dict()
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    tensors = adapt({name: weights.read(key) for name, key in names.items()}, shapes)
    _check_shapes(tensors, wanted, path)
    missing = [name for name in wanted if name not in names]
    ignored = [key for key in weights.shapes if key not in set(names.values())]
    table = _table(list(names), missing, ignored)
    needed = [name for name in missing if not _optional(name, wanted, adapted)]
    if needed:
        raise _mismatch(
            f"{path} lacks {len(needed)} tensors that the backbone needs, such as {first_names(needed)} "
            f"(loaded {len(names)} of {len(wanted)}, ignored {len(ignored)})."
        )
    target.load_state_dict(tensors, strict=False)
    said = f"{path}: loaded {len(names)} of the backbone's {len(wanted)} tensors, ignored {len(ignored)}."
    changed = [name for name, key in names.items() if weights.shapes[key] != tuple(shapes[name])]
    if changed:
        said += f" Resized: {', '.join(changed)}."
    return said + (table if missing else "")


def _check_shapes(tensors: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> None:
    wrong = [name for name, tensor in tensors.items() if tensor.shape != wanted[name].shape]
    if wrong:
        name, rest = wrong[0], f" ({len(wrong)} tensors differ)" if len(wrong) > 1 else ""
        what = f"{name} is {list(tensors[name].shape)}, the backbone needs {list(wanted[name].shape)}{rest}."
        raise _mismatch(f"{path}: {what}")


def _optional(name: str, wanted: Iterable[str], adapted: bool) -> bool:
    """True where a backbone works without this tensor; one with a ViT-Adapter never uses its final norm."""
    if ADAPTER.match(name) or NEVER_NEEDED.match(name):
        return True
    if name == "cls_token":
        return any(other.startswith("cls_attn_blocks.") for other in wanted)
    return name.startswith("norm.") and adapted


def _table(loaded: list[str], missing: list[str], ignored: list[str]) -> str:
    groups = (("loaded", loaded), ("missing", missing), ("ignored", ignored))
    return "".join(f"\n  {title:<8}{len(names):>5}  {first_names(names)}" for title, names in groups)


def _mismatch(message: str) -> DataInvalidError:
    return DataInvalidError("E_BACKBONE_MISMATCH", message, FIX)
