"""Networks from a resolved spec."""

from __future__ import annotations

from typing import Any

from visual_changenet.config import ExperimentConfig
from visual_changenet.errors import SpecError
from visual_changenet.models.backbones import build_backbone
from visual_changenet.models.classify import DifferenceClassifier, EuclideanClassifier, LearnableClassifier
from visual_changenet.models.geometry import classify_input_size
from visual_changenet.models.segment import SegmentDecoder, SegmentNetwork

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
    return build_segment(spec) if spec["task"] == "segment" else build_classify(spec)


def build_segment(spec: dict[str, Any]) -> SegmentNetwork:
    """The network of task segment from a complete spec; see ``build_model``."""
    data = spec["dataset"]["segment"]
    _check_size((data["img_size"], data["img_size"]))
    backbone = build_backbone(spec["model"]["backbone"])
    width = spec["model"]["decode_head"]["decoder_params"]["embed_dim"]
    return SegmentNetwork(backbone, SegmentDecoder(backbone.channels, backbone.strides, width, data["num_classes"]))


def build_classify(spec: dict[str, Any]) -> ClassifyNetwork:
    """The network of task classify from a complete spec; see ``build_model``."""
    model = spec["model"]
    backbone = build_backbone(model["backbone"])
    size = classify_input_size(spec["dataset"]["classify"])
    _check_size(size)
    options = model["classify"]
    if options["difference_module"] == "euclidean":
        return EuclideanClassifier(backbone, size, options["embedding_vectors"])
    decoder = DifferenceClassifier(
        backbone.channels,
        backbone.strides,
        size,
        width=model["decode_head"]["decoder_params"]["embed_dim"],
        modules=options["learnable_difference_modules"],
        hidden=options["embed_dec"],
        classes=spec["dataset"]["classify"]["num_classes"],
    )
    return LearnableClassifier(backbone, decoder)


def _check_size(size: tuple[int, int]) -> None:
    if size[0] % 16 or size[1] % 16 or min(size) < 16:
        raise SpecError(
            "E_MODEL_SIZE",
            f"the network input is {size[0]} x {size[1]} pixels, but each side must be a multiple of 16.",
            "choose dataset.classify.image_height and image_width as multiples of 16",
        )
