"""Networks from a resolved spec."""

from __future__ import annotations

from typing import Any

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.input_size import classify_input_size
from visual_changenet.errors import SpecError
from visual_changenet.models.backbones import backbone_shape, build_backbone, build_embedding
from visual_changenet.models.backbones.base import PyramidBackbone
from visual_changenet.models.backbones.fan import FanShape
from visual_changenet.models.classify import (
    DecoderShape,
    DifferenceClassifier,
    EuclideanClassifier,
    LearnableClassifier,
)
from visual_changenet.models.geometry import check_input_size
from visual_changenet.models.multi_golden import MultiGoldenClassifier, MultiGoldenDecoder
from visual_changenet.models.segment import SegmentDecoder, SegmentNetwork

__all__ = [
    "ClassifyNetwork",
    "EuclideanClassifier",
    "LearnableClassifier",
    "Network",
    "SegmentNetwork",
    "build_model",
]

ClassifyNetwork = EuclideanClassifier | LearnableClassifier
Network = ClassifyNetwork | SegmentNetwork


def build_model(spec: dict[str, Any]) -> Network:
    """The network that a spec describes, randomly initialised, in training mode.

    A partial spec is filled with the defaults of the config classes. Channels and strides of the feature maps
    follow from ``model.backbone.type``; what the spec says of them is not read.

    Raises:
        pydantic.ValidationError: an unknown key, a wrong type, a value out of bounds.
        SpecError: ``E_MODEL_UNSUPPORTED``, or ``E_MODEL_SIZE`` (the input does not fit the backbone).
    """
    spec = ExperimentConfig.model_validate(spec).model_dump(mode="json")
    network = build_segment(spec) if spec["task"] == "segment" else build_classify(spec)
    network.backbone.checkpointing(spec["train"]["activation_checkpointing"])
    return network


def build_segment(spec: dict[str, Any]) -> SegmentNetwork:
    """The network of task segment from a complete spec; see ``build_model``."""
    data, model = spec["dataset"]["segment"], spec["model"]
    size = (data["img_size"], data["img_size"])
    check_input_size(spec, size)
    backbone = _pyramid(model, size)
    width = model["decode_head"]["decoder_params"]["embed_dim"]
    return SegmentNetwork(backbone, SegmentDecoder(backbone.channels, backbone.strides, width, data["num_classes"]))


def build_classify(spec: dict[str, Any]) -> ClassifyNetwork:
    """The network of task classify from a complete spec; see ``build_model``."""
    model, data = spec["model"], spec["dataset"]["classify"]
    options, size = model["classify"], classify_input_size(data)
    _check_goldens(spec)
    check_input_size(spec, size)
    if options["difference_module"] == "euclidean":
        _check_downsample(model["backbone"])
        norm = model["backbone"]["channel_norm"]
        embedding = build_embedding(model["backbone"]["type"], size, channel_norm=norm)
        return EuclideanClassifier(embedding, options["embedding_vectors"])
    backbone = _pyramid(model, size)
    shape = DecoderShape(
        backbone.channels,
        backbone.strides,
        size,
        width=model["decode_head"]["decoder_params"]["embed_dim"],
        modules=options["learnable_difference_modules"],
        hidden=options["embed_dec"],
        classes=data["num_classes"],
    )
    if data["num_golden"] > 1:
        return MultiGoldenClassifier(backbone, MultiGoldenDecoder(shape))
    return LearnableClassifier(backbone, DifferenceClassifier(shape))


def _pyramid(model: dict[str, Any], size: tuple[int, int]) -> PyramidBackbone:
    options = model["backbone"]
    _check_downsample(options)
    summary = model["decode_head"]["use_summary_token"]
    return build_backbone(options["type"], size, summary=summary, channel_norm=options["channel_norm"])


def _check_downsample(options: dict[str, Any]) -> None:
    if options["feat_downsample"] and isinstance(backbone_shape(options["type"]), FanShape):
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            "model.backbone.feat_downsample is true, but no decoder accepts its output.",
            "set model.backbone.feat_downsample to false",
        )


def _check_goldens(spec: dict[str, Any]) -> None:
    count, options = spec["dataset"]["classify"]["num_golden"], spec["model"]
    if count == 1:
        return
    if options["classify"]["difference_module"] != "learnable":
        what, fix = "model.classify.difference_module euclidean", "set difference_module to learnable (with loss ce)"
    elif isinstance(backbone_shape(options["backbone"]["type"]), FanShape):
        what, fix = f"the backbone {options['backbone']['type']}", "choose a C-RADIO or NV-DINOv2 backbone"
    else:
        return
    raise SpecError(
        "E_MODEL_UNSUPPORTED",
        f"dataset.classify.num_golden is {count}, but {what} compares with one golden image only.",
        f"set dataset.classify.num_golden to 1, or {fix}",
    )
