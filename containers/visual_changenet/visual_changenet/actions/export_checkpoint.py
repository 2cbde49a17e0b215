"""``visual_changenet export-checkpoint --format tao IN OUT.pth``: the layout that the published package loads."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visual_changenet.actions.convert_checkpoint import check_files, write_weights
from visual_changenet.checkpoints import PREFIX, network_tensors, read_checkpoint
from visual_changenet.console import say
from visual_changenet.errors import DataInvalidError
from visual_changenet.weights.identify import Identity, identify, shapes_of

CLASS_WEIGHT = "criterion.weight"
# cls_weight of the published defaults, for two classes.
DEFAULT_CLASS_WEIGHT = (1.0, 10.0)


def export_checkpoint(source: Path, target: Path) -> None:
    """Write ``source``, ours or published, with the published entries and nothing else.

    Raises:
        MissingFileError: ``E_CHECKPOINT_MISSING``. SpecError: ``E_CONVERT_TARGET``.
        DataInvalidError: ``E_CHECKPOINT_INVALID``, ``E_CHECKPOINT_UNSAFE``, ``E_EXPORT_UNKNOWN``.
    """
    check_files(source, target, (".pth",))
    content = read_checkpoint(source, "IN")
    exported, identity = published_layout(content, source)
    write_weights(exported, {}, target)
    say(f"{target}: {len(exported['state_dict'])} tensors of {identity}")


def published_layout(content: dict[str, Any], source: Path) -> tuple[dict[str, Any], Identity]:
    """The content as a published checkpoint: Lightning's entries, ``tao_model`` and, for C-RADIO, its type.

    Optimiser, scheduler and loop states are kept where the file has them; callbacks are ours, and are not.

    Raises:
        DataInvalidError: ``E_EXPORT_UNKNOWN`` where the tensors are no Visual ChangeNet network.
    """
    network = network_tensors(content)
    identity = identify(shapes_of(network))
    if not identity.task:
        raise DataInvalidError(
            "E_EXPORT_UNKNOWN",
            f"{source} is {identity}, not a Visual ChangeNet checkpoint.",
            "name a checkpoint of action train",
        )
    state = {PREFIX + name: tensor for name, tensor in network.items()}
    if identity.head == "learnable":
        state[CLASS_WEIGHT] = class_weight(content, network)
    exported: dict[str, Any] = {
        "epoch": int(content.get("epoch", 0)),
        "global_step": int(content.get("global_step", 0)),
        "pytorch-lightning_version": str(content.get("pytorch-lightning_version") or version("lightning")),
        "state_dict": state,
        "loops": content.get("loops") or {},
        "callbacks": {},
        "optimizer_states": content.get("optimizer_states") or [],
        "lr_schedulers": content.get("lr_schedulers") or [],
        "tao_model": f"visual_changenet_{identity.task}",
    }
    if identity.backbone.family == "c_radio" and identity.head != "euclidean":
        exported["tao_model_type"] = "radio" if identity.task == "segment" else "radio_learnable"
    return exported, identity


def class_weight(content: dict[str, Any], network: dict[str, Tensor]) -> Tensor:
    """float32 (num_classes,): the file's own, else that of its spec, else the published default."""
    classes = network["decoder.classifier.6.weight"].shape[0]
    given: Tensor | None = content["state_dict"].get(CLASS_WEIGHT)
    if given is not None and given.shape == (classes,):
        return given.float()
    spec = content.get("spec")
    train = spec.get("train") if isinstance(spec, dict) else None
    values = ((train or {}).get("classify") or {}).get("cls_weight")
    if not values or len(values) != classes:
        values = DEFAULT_CLASS_WEIGHT if classes == len(DEFAULT_CLASS_WEIGHT) else [1.0] * classes
    return torch.tensor(values, dtype=torch.float32)
