"""Networks from a resolved spec."""

from __future__ import annotations

from typing import Any

from visual_changenet.config import ExperimentConfig
from visual_changenet.errors import SpecError
from visual_changenet.models.backbones import build_backbone
from visual_changenet.models.classify import DifferenceClassifier, EuclideanClassifier, LearnableClassifier
from visual_changenet.models.geometry import classify_input_size
from visual_changenet.models.layers import ChannelNormForm

ClassifyNetwork = EuclideanClassifier | LearnableClassifier


def build_model(spec: dict[str, Any], channel_norm: ChannelNormForm = "unbiased") -> ClassifyNetwork:
    """The network that a spec describes, randomly initialised, in training mode.

    A partial spec is filled with the defaults of the config classes.

    Raises:
        pydantic.ValidationError: an unknown key, a wrong type, a value out of bounds.
        SpecError: ``E_MODEL_UNSUPPORTED`` (task or backbone), ``E_MODEL_SIZE`` (input not a multiple of 16),
            ``E_MODEL_STRIDES``.
    """
    spec = ExperimentConfig.model_validate(spec).model_dump(mode="json")
    if spec["task"] != "classify":
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            f"task is {spec['task']!r}, which this container can not build.",
            "set task to classify",
        )
    model = spec["model"]
    backbone = build_backbone(model["backbone"]["type"], channel_norm)
    if model["backbone"].get("feat_downsample"):
        raise SpecError(
            "E_MODEL_UNSUPPORTED",
            "model.backbone.feat_downsample is true, but no decoder accepts its output.",
            "set model.backbone.feat_downsample to false",
        )
    size = classify_input_size(spec["dataset"]["classify"])
    _check_size(size)
    options = model["classify"]
    if options["difference_module"] == "euclidean":
        return EuclideanClassifier(backbone, size, options["embedding_vectors"])
    strides = list(model["decode_head"]["feature_strides"])
    if strides != list(backbone.strides):
        raise SpecError(
            "E_MODEL_STRIDES",
            f"model.decode_head.feature_strides is {strides}, the backbone's are {list(backbone.strides)}.",
            f"set model.decode_head.feature_strides to {list(backbone.strides)}",
        )
    decoder = DifferenceClassifier(
        backbone.channels,
        strides,
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
