"""DeepStream's configuration files for a classify model with one golden image.

DeepStream computes ``factor * (pixel - offset)`` with an offset per channel and one factor for all, so standard
deviations that differ between channels are met on average only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from visual_changenet.atomic import write_text_atomic
from visual_changenet.errors import SpecError
from visual_changenet.runtime.card import Card

LIBRARIES = "/opt/nvidia/deepstream/deepstream/lib"
STREAMS = 16  # even ones carry the first input, odd ones the second


def check_deepstream(spec: dict[str, Any]) -> None:
    """Refuse what DeepStream has no place for.

    Raises:
        SpecError: ``E_EXPORT_DEEPSTREAM``.
    """
    goldens = spec["dataset"]["classify"]["num_golden"]
    if not spec["export"]["serialize_nvdsinfer"] or (spec["task"] == "classify" and goldens == 1):
        return
    what = f"task {spec['task']}" if spec["task"] != "classify" else f"num_golden {goldens}"
    raise SpecError(
        "E_EXPORT_DEEPSTREAM",
        f"export.serialize_nvdsinfer is true, but DeepStream files exist for classify with one golden image only, "
        f"not for {what}.",
        "set export.serialize_nvdsinfer to false",
    )


def write_deepstream(card: Card, model: Path) -> tuple[list[Path], str | None]:
    """Write the four files beside the model.

    Returns:
        Their paths, and a notice where the normalisation is not exactly that of the training.
    """
    folder = model.parent
    texts = {
        "labels.txt": ";".join(str(index) for index in range(card.classes)) + "\n",
        "nvdsinfer_config.yaml": _yaml({"property": _inference(card, model.name)}),
        **{f"nvdspreprocess_config_{index}.yaml": _yaml(_preprocessing(card, index)) for index in (0, 1)},
    }
    for name, text in texts.items():
        write_text_atomic(folder / name, text)
    notice = None
    if len(set(card.std)) > 1:
        worst = max(abs(std / _deviation(card) - 1) for std in card.std)
        notice = (
            f"DeepStream scales all channels alike: with std {list(card.std)} its input differs from that of the "
            f"training by up to {worst:.1%}."
        )
    return [folder / name for name in texts], notice


def _deviation(card: Card) -> float:
    return sum(card.std) / len(card.std)


def _factor(card: Card) -> float:
    return round(1 / (255 * _deviation(card)), 12)


def _offsets(card: Card) -> str:
    return ";".join(f"{255 * mean:.6g}" for mean in card.mean)


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False)


def _inference(card: Card, name: str) -> dict[str, Any]:
    """Images come ready from the preprocessing (``input-tensor-from-meta``)."""
    height, width = card.input
    return {
        "classifier-threshold": 0.5,
        "cluster-mode": 2,
        "custom-lib-path": f"{LIBRARIES}/libnvds_infercustomparser_tao.so",
        "gie-unique-id": 1,
        "infer-dims": f"3;{height};{width}",
        "input-tensor-from-meta": 1,
        "labelfile-path": "labels.txt",
        "maintain-aspect-ratio": 1,
        "model-color-format": 0,
        "net-scale-factor": _factor(card),
        "network-mode": 2,
        "network-type": 1,
        "num-detected-classes": card.classes,
        "offsets": _offsets(card),
        "onnx-file": name,
        "output-blob-names": ";".join(card.output_names),
        "output-tensor-meta": 1,
        "parse-classifier-func-name": "NvDsInferClassiferParseNonSoftmax",
        "workspace-size": 1048576,
    }


def _preprocessing(card: Card, index: int) -> dict[str, Any]:
    height, width = card.input
    sources = ";".join(str(number) for number in range(index, STREAMS, 2))
    return {
        "property": {
            "tensor-name": card.input_names[index],
            "processing-width": width,
            "processing-height": height,
            "network-input-shape": f"2;3;{height};{width}",
            "network-color-format": 0,
            "network-input-order": 0,
            "tensor-data-type": 0,
            "maintain-aspect-ratio": 1,
            "symmetric-padding": 1,
            "scaling-pool-memory-type": 0,
            "scaling-pool-compute-hw": 0,
            "scaling-filter": 0,
            "scaling-buf-pool-size": 6,
            "tensor-buf-pool-size": 6,
            "target-unique-ids": 1,
            "process-on-frame": 1,
            "unique-id": 5,
            "custom-lib-path": f"{LIBRARIES}/gst-plugins/libcustom2d_preprocess.so",
            "custom-tensor-preparation-function": "CustomTensorPreparation",
            "enable": 1,
        },
        "user-configs": {"pixel-normalization-factor": _factor(card), "offsets": _offsets(card)},
        "group": {
            "src-ids": sources,
            "custom-input-transformation-function": "CustomAsyncTransformation",
            "process-on-roi": 0,
        },
    }
