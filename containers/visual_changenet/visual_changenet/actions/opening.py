"""The model of a checkpoint, with the geometry it was trained with."""

from __future__ import annotations

import copy
from typing import Any

import torch

from visual_changenet.actions.prepare import check_rules
from visual_changenet.checkpoints import load_weights, read_checkpoint
from visual_changenet.device import choose_device, set_threads
from visual_changenet.models import Network, build_model
from visual_changenet.quantize.stored import dequantized, is_quantized
from visual_changenet.session import Session

NAMED = {"quantize": "model_path"}  # the key of the checkpoint where it is another
# What the weights were trained for; the spec given to evaluate or inference does not change it.
INHERITED = (
    "task",
    "model.backbone.type",
    "model.backbone.feat_downsample",
    "model.backbone.channel_norm",
    "model.decode_head",
    "model.classify.difference_module",
    "model.classify.embed_dec",
    "model.classify.embedding_vectors",
    "model.classify.learnable_difference_modules",
    "dataset.classify.image_height",
    "dataset.classify.image_width",
    "dataset.classify.num_input",
    "dataset.classify.num_classes",
    "dataset.classify.num_golden",
    "dataset.classify.input_map",
    "dataset.classify.concat_type",
    "dataset.classify.grid_map",
    "dataset.classify.align",
    "dataset.classify.augmentation_config.rgb_input_mean",
    "dataset.classify.augmentation_config.rgb_input_std",
    "dataset.segment.num_classes",
    "dataset.segment.img_size",
    "dataset.segment.align",
    "dataset.segment.augmentation.mean",
    "dataset.segment.augmentation.std",
)


def inherit(spec: dict[str, Any], trained: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The spec with the ``INHERITED`` keys of the checkpoint's spec, and a notice per changed key."""
    merged, notices = copy.deepcopy(spec), []
    for key in INHERITED:
        *parents, last = key.split(".")
        target, source = merged, trained
        for name in parents:
            target, source = target[name], source.get(name, {})
        if last not in source or target.get(last) == source[last]:
            continue
        if target.get(last) is not None:
            notices.append(f"{key} is {source[last]} as in the checkpoint, not {target[last]}.")
        target[last] = copy.deepcopy(source[last])
    return merged, notices


def open_model(session: Session) -> tuple[Network, torch.device]:
    """The network of ``<action>.checkpoint`` in evaluation mode; the session's spec takes its geometry.

    Weights that ``quantize`` stored in 8 bits come as float32 numbers.
    """
    name = NAMED.get(session.action, "checkpoint")
    path, key = session.spec[session.action][name], f"{session.action}.{name}"
    content = read_checkpoint(path, key)
    notices = ["the checkpoint has no spec of its own; the given one is used as it is."]
    if isinstance(content.get("spec"), dict):
        session.spec, notices = inherit(session.spec, content["spec"])
        session.save_spec()
    session.spec, mended = check_rules(session.spec, session.action)
    notices += mended
    if is_quantized(content):
        content = dequantized(content)
        notices.append(f"{path} has weights of 8 bits; they are computed with as float32.")
    device, threads = choose_device(session.spec), set_threads(session.spec)
    session.environment |= {"torch": torch.__version__, "threads": threads}
    session.start(device.type)
    for text in notices:
        session.notice(text)
    session.status.write("RUNNING", f"Loading checkpoint: {path}")
    model = build_model(session.spec)
    load_weights(model, content, path)
    model.eval()
    return model.to(device, memory_format=torch.channels_last), device  # type: ignore[call-overload]
