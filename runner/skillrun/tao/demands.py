"""What NVIDIA's published container can not run with, and where it does something else with the same value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from skillrun.errors import UsageError

CHECKPOINT_KEYS = ("train.resume_training_checkpoint_path", "evaluate.checkpoint", "inference.checkpoint")
# Side of the only input that the adapter of a C-RADIO backbone takes there, in pixels.
RADIO_SIDE = 224


def refuse(flat: Mapping[str, Any]) -> None:
    """Stop on a value with which every known release fails, or which it would run as code.

    Args:
        flat: dotted keys of a spec.

    Raises:
        UsageError: it names key, value and a value that works.
    """
    _refuse_interpolation(flat)
    if flat.get("train.optim.policy") == "step" and flat["train.num_epochs"] < 3:
        raise UsageError(
            "E_TAO_STEP_POLICY",
            f"train.optim.policy='step' with train.num_epochs={flat['train.num_epochs']}: NVIDIA's container divides "
            "by a third of the epochs and stops",
            "train.optim.policy=linear, or train.num_epochs=3",
        )
    for key in CHECKPOINT_KEYS:
        path = str(flat.get(key) or "")
        strict = key.startswith("train.") or flat["task"] == "segment"
        if path and strict and not path.endswith((".pth", ".tlt")):
            raise UsageError(
                "E_TAO_CHECKPOINT_NAME",
                f"{key}={path!r}: NVIDIA's container reads .pth and .tlt files only",
                f"skillrun runs list, then name a checkpoint of a run: {key}=<file>.pth",
            )
    if flat.get("export.serialize_nvdsinfer") and (
        flat["task"] == "segment" or flat["dataset.classify.num_golden"] > 1
    ):
        raise UsageError(
            "E_TAO_NVDSINFER",
            "export.serialize_nvdsinfer=true: NVIDIA's container writes DeepStream files for task classify with one "
            "golden image only",
            "export.serialize_nvdsinfer=false",
        )


def _refuse_interpolation(flat: Mapping[str, Any]) -> None:
    for key, value in flat.items():
        if any("${" in text for text in _texts(value)):
            raise UsageError(
                "E_TAO_INTERPOLATION",
                f"{key}={value!r}: NVIDIA's container does not read this as text, it evaluates what stands in ${{...}}",
                f"write the value of {key} itself, without ${{...}}",
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def differences(flat: Mapping[str, Any]) -> list[str]:
    """One sentence per value that the published container treats otherwise than this runner's own container."""
    find = _segment if flat["task"] == "segment" else _classify
    return [*find(flat), *_network(flat), *_action(flat)]


def _segment(flat: Mapping[str, Any]) -> Iterator[str]:
    data = "dataset.segment."
    if flat.get(f"{data}multi_scale_train"):
        yield f"{data}multi_scale_train=true has no effect in NVIDIA's container: it trains on the full-size map only"
    if flat.get(f"{data}multi_scale_infer"):
        yield f"{data}multi_scale_infer=true has no effect in NVIDIA's container: it reads the full-size map only"
    colour = f"{data}augmentation.random_color."
    if flat.get(f"{colour}enable") and flat[f"{colour}color_probability"] < 1:
        yield (
            f"{colour}color_probability has no effect in NVIDIA's container: it changes the colours of every image, "
            "of test and golden image independently"
        )
    for name in ("mean", "std"):
        value = flat.get(f"{data}augmentation.{name}")
        if value is not None and any(number != 0.5 for number in value):
            yield f"{data}augmentation.{name}={value}: NVIDIA's container uses it in training only, elsewhere 0.5"


def _classify(flat: Mapping[str, Any]) -> Iterator[str]:
    augmentation = "dataset.classify.augmentation_config."
    if flat.get(f"{augmentation}augment"):
        colour = f"{augmentation}random_color."
        chance = flat[f"{colour}color_probability"]
        if flat[f"{colour}enable"] and chance != 0.5:
            yield f"{colour}color_probability={chance}: NVIDIA's container changes colours with {1 - chance:g} instead"
        if flat[f"{augmentation}with_scale_random_crop.enable"]:
            yield f"{augmentation}with_scale_random_crop has no effect in NVIDIA's container"
    if flat.get("train.classify.loss") == "contrastive" and "train.num_epochs" in flat:
        yield (
            "train.classify.loss=contrastive: NVIDIA's container averages it over all pairs of a batch, so that only "
            "the share of defects counts"
        )
    if flat.get("dataset.classify.num_golden", 1) > 1:
        yield "dataset.classify.num_golden: NVIDIA's container draws golden images anew each time, also in evaluation"


def _network(flat: Mapping[str, Any]) -> Iterator[str]:
    """Only a notice: a later release may do it."""
    adapted = flat["task"] == "segment" or flat.get("model.classify.difference_module") == "learnable"
    if not (adapted and str(flat["model.backbone.type"]).startswith("c_radio_")):
        return
    keys = (
        ["dataset.segment.img_size"]
        if flat["task"] == "segment"
        else ["dataset.classify.image_height", "dataset.classify.image_width", "dataset.classify.num_input"]
    )
    wanted = [RADIO_SIDE, RADIO_SIDE, 1][: len(keys)]
    if [flat[key] for key in keys] != wanted:
        shown = ", ".join(f"{key}={flat[key]}" for key in keys)
        yield f"{shown}: release 6.25 of NVIDIA's container runs C-RADIO at {RADIO_SIDE} x {RADIO_SIDE} pixels only"


def _action(flat: Mapping[str, Any]) -> Iterator[str]:
    monitor = flat.get("train.optim.monitor_name", "val_loss")
    if monitor != "val_loss":
        yield f"train.optim.monitor_name={monitor} has no effect inside NVIDIA's container; the result is ordered by it"
    if flat.get("export.on_cpu"):
        yield "export.on_cpu=true: NVIDIA's container selects a GPU all the same"
    if "quantize.backend" in flat:
        yield "releases of NVIDIA's container before 7.0 have no command quantize"
