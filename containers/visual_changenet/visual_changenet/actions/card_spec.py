"""What the card of an exported model says of a spec."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from visual_changenet.runtime.card import Card


def card_spec(card: Card) -> dict[str, Any]:
    """The keys of a spec that a card fixes: task, geometry, normalisation and margin, nested."""
    if card.task == "segment":
        data: dict[str, Any] = {
            "num_classes": card.classes,
            "img_size": card.input[0],
            "align": card.align,
            "augmentation": {"mean": list(card.mean), "std": list(card.std)},
        }
        return {"task": card.task, "dataset": {"segment": data}}
    assert card.lights is not None
    lights, (height, width) = card.lights, card.single_input
    data = {
        "image_height": height,
        "image_width": width,
        "num_input": lights.num_input,
        "input_map": lights.input_map,
        "concat_type": lights.concat_type,
        "grid_map": lights.grid_map,
        "num_golden": card.num_golden,
        "num_classes": card.classes,
        "align": card.align,
        "augmentation_config": {"rgb_input_mean": list(card.mean), "rgb_input_std": list(card.std)},
    }
    module = "euclidean" if card.score == "distance" else "learnable"
    model = {"difference_module": module, "eval_margin": card.margin}
    return {"task": card.task, "model": {"classify": model}, "dataset": {"classify": data}}


def take_from_card(spec: dict[str, Any], card: Card) -> tuple[dict[str, Any], list[str]]:
    """The spec with what the card fixes, and a notice per changed key."""
    merged, notices = copy.deepcopy(spec), []
    for parents, last, value in _leaves(card_spec(card)):
        target = merged
        for name in parents:
            target = target[name]
        if target.get(last) == value:
            continue
        if target.get(last) is not None:
            key = ".".join([*parents, last])
            notices.append(f"{key} is {value} as in the model file, not {target[last]}.")
        target[last] = copy.deepcopy(value)
    return merged, notices


SECTIONS = ("dataset", "classify", "segment", "model", "augmentation", "augmentation_config")


def _leaves(node: dict[str, Any], parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for name, value in node.items():
        if name in SECTIONS:
            yield from _leaves(value, (*parents, name))
        else:
            yield parents, name, value
