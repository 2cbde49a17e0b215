"""Rules between keys of a spec, as data: the generator writes them into ``x-rules`` of each schema.

Each rule is a flat JSON object. It holds where every key of ``when`` has one of the listed values:

====================  ================================================================================
``op``                what must be true
====================  ================================================================================
``le`` / ``ge``       ``left`` <= / >= ``right`` (another key) or ``value`` (a number)
``lt``                ``left`` < ``value``
``eq``                ``left`` equals ``value``
``in``                ``left`` is one of ``values``
``even``              ``left`` is an even number
``len_eq``            length of the collection ``left`` equals ``right``; null counts as ``null_length``
``product_eq``        product of the numbers of ``left`` equals ``right``
``given``             ``left`` is neither null nor empty
====================  ================================================================================

``clamp: true`` means that a violation is mended: ``left`` becomes the right hand side, and a notice says so.
Every other violation is an error with ``message`` and ``fix``. A rule whose keys are absent is not looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, get_args

from visual_changenet.config.actions import ACTIONS
from visual_changenet.config.geometry import FAN_STRIDES, TRANSFORMER_STRIDES
from visual_changenet.config.model import BackboneName

_ABSENT = object()
_FAN = [name for name in get_args(BackboneName) if name.startswith("fan_")]
_TRANSFORMER = [name for name in get_args(BackboneName) if not name.startswith("fan_")]
_INPUT = "dataset.classify"
_TRT = "gen_trt_engine.tensorrt"
_TRAIN = {"commands": ["train"]}
_EPOCHS = {"train.checkpoint_interval_unit": ["epoch"]}


class RuleError(ValueError):
    """A spec breaks a rule that can not be mended without a choice of the user."""

    def __init__(self, rule_id: str, message: str, fix: str) -> None:
        super().__init__(f"{message} ({fix})")
        self.rule_id = rule_id
        self.message = message
        self.fix = fix


def _rule(rule_id: str, op: str, left: str, message: str, fix: str, **more: Any) -> dict[str, Any]:
    return {"id": rule_id, "op": op, "left": left, **more, "message": message, "fix": fix}


RULES: tuple[dict[str, Any], ...] = (
    _rule(
        "checkpoint-interval",
        "le",
        "train.checkpoint_interval",
        "No checkpoint would be written: train.checkpoint_interval is larger than train.num_epochs.",
        "Set train.checkpoint_interval to at most train.num_epochs.",
        right="train.num_epochs",
        clamp=True,
        when=_EPOCHS,
    ),
    _rule(
        "validation-interval",
        "le",
        "train.validation_interval",
        "No validation would run: train.validation_interval is larger than train.num_epochs.",
        "Set train.validation_interval to at most train.num_epochs.",
        right="train.num_epochs",
        clamp=True,
    ),
    *(
        _rule(
            f"{family}-strides",
            "eq",
            "model.decode_head.feature_strides",
            f"A {family} backbone works with feature_strides {list(strides)} only.",
            f"Set model.decode_head.feature_strides to {list(strides)}.",
            value=list(strides),
            clamp=True,
            when={"model.backbone.type": names},
        )
        for family, strides, names in (
            ("fan", FAN_STRIDES, _FAN),
            ("transformer", TRANSFORMER_STRIDES, _TRANSFORMER),
        )
    ),
    _rule(
        "fan-downsample",
        "in",
        "model.backbone.feat_downsample",
        "feat_downsample does not fit the decoder of a FAN backbone.",
        "Set model.backbone.feat_downsample to false.",
        values=[False],
        when={"model.backbone.type": _FAN},
    ),
    _rule(
        "freeze-needs-weights",
        "given",
        "model.backbone.pretrained_backbone_path",
        "A backbone with random weights must not be frozen.",
        "Give model.backbone.pretrained_backbone_path, or set model.backbone.freeze_backbone to false.",
        when={"model.backbone.freeze_backbone": [True]},
        **_TRAIN,
    ),
    _rule(
        "ce-needs-learnable",
        "in",
        "model.classify.difference_module",
        "Loss ce works with the learnable difference module only.",
        "Set model.classify.difference_module to learnable, or train.classify.loss to contrastive.",
        values=["learnable"],
        when={"train.classify.loss": ["ce"], "task": ["classify"]},
    ),
    _rule(
        "contrastive-needs-euclidean",
        "in",
        "model.classify.difference_module",
        "Loss contrastive works with the euclidean difference module only.",
        "Set model.classify.difference_module to euclidean, or train.classify.loss to ce.",
        values=["euclidean"],
        when={"train.classify.loss": ["contrastive"], "task": ["classify"]},
    ),
    _rule(
        "margin-is-probability",
        "lt",
        "model.classify.eval_margin",
        "The learnable module gives a probability: with an eval_margin of 1 or more everything passes.",
        "Set model.classify.eval_margin below 1, e.g. 0.3.",
        value=1,
        when={"model.classify.difference_module": ["learnable"], "task": ["classify"]},
    ),
    _rule(
        "class-weights",
        "len_eq",
        "train.classify.cls_weight",
        "train.classify.cls_weight needs one weight per class.",
        "Give as many weights as dataset.classify.num_classes.",
        right="dataset.classify.num_classes",
        when={"train.classify.loss": ["ce"], "task": ["classify"]},
    ),
    _rule(
        "lights",
        "len_eq",
        f"{_INPUT}.input_map",
        "dataset.classify.num_input must equal the number of lights in input_map (null counts as 1).",
        "Set dataset.classify.num_input to the number of entries of dataset.classify.input_map.",
        right=f"{_INPUT}.num_input",
        null_length=1,
        when={"task": ["classify"]},
    ),
    _rule(
        "grid-even",
        "even",
        f"{_INPUT}.num_input",
        "concat_type grid needs an even number of lights.",
        "Set dataset.classify.concat_type to linear.",
        when={f"{_INPUT}.concat_type": ["grid"], "task": ["classify"]},
    ),
    _rule(
        "grid-full",
        "product_eq",
        f"{_INPUT}.grid_map",
        "The grid of dataset.classify.grid_map must have one cell per light.",
        "Choose x and y of dataset.classify.grid_map so that x * y equals dataset.classify.num_input.",
        right=f"{_INPUT}.num_input",
        when={f"{_INPUT}.concat_type": ["grid"], "task": ["classify"]},
    ),
    *(
        _rule(
            f"{task}-batch",
            "ge",
            f"dataset.{task}.batch_size",
            "Training with a batch size of 1 fails: batch normalisation needs at least 2 pairs.",
            f"Set dataset.{task}.batch_size to 2 or more.",
            value=2,
            when={"task": [task]},
            **_TRAIN,
        )
        for task in ("classify", "segment")
    ),
    *(
        _rule(
            f"engine-{small}-{large}",
            "le",
            f"{_TRT}.{small}_batch_size",
            f"The engine profile needs {small}_batch_size <= {large}_batch_size.",
            f"Set {_TRT}.{small}_batch_size to at most {_TRT}.{large}_batch_size.",
            right=f"{_TRT}.{large}_batch_size",
        )
        for small, large in (("min", "opt"), ("opt", "max"))
    ),
)


def rules_of(action: str) -> list[dict[str, Any]]:
    """The rules of an action: those whose keys it reads. Raises KeyError for an unknown action."""
    chosen = ACTIONS[action]
    found = []
    for rule in RULES:
        keys = [rule["left"], *rule.get("when", {}), *([rule["right"]] if "right" in rule else [])]
        fits = chosen.command in rule.get("commands", [chosen.command])
        fits = fits and chosen.task in rule.get("when", {}).get("task", [chosen.task])
        if fits and all(chosen.reads_key(key) for key in keys):
            found.append({name: value for name, value in rule.items() if name != "commands"})
    return found


def apply_rules(spec: Mapping[str, Any], action: str = "train") -> tuple[dict[str, Any], list[str]]:
    """Mend what can be mended, refuse the rest.

    Args:
        spec: nested values, e.g. ``ExperimentConfig.model_dump()``; it is not changed.
        action: sub-command or full name of the action; the task of the spec picks the segment twin.

    Returns:
        The mended copy, and one sentence per change.

    Raises:
        RuleError: a rule is broken that only the user can mend.
        KeyError: the action does not exist.
    """
    name = action
    if spec.get("task") == "segment" and not name.startswith("segment_"):
        name = f"segment_{action}"
    mended = copy.deepcopy(dict(spec))
    notices: list[str] = []
    for rule in rules_of(name):
        wanted = _violation(rule, mended)
        if wanted is None:
            continue
        if not rule.get("clamp"):
            raise RuleError(rule["id"], rule["message"], rule["fix"])
        notices.append(f"{rule['left']} was {value_at(mended, rule['left'])}, now {wanted}: {rule['message']}")
        *sections, last = rule["left"].split(".")
        node = mended
        for part in sections:
            node = node[part]
        node[last] = copy.deepcopy(wanted)
    return mended, notices


def value_at(spec: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; a private marker where the spec has none."""
    node: Any = spec
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _violation(rule: Mapping[str, Any], spec: Mapping[str, Any]) -> Any:
    """None where the rule holds or does not apply, else the right hand side it asks for."""
    for key, allowed in rule.get("when", {}).items():
        if value_at(spec, key) not in allowed:
            return None
    left = value_at(spec, rule["left"])
    right = value_at(spec, rule["right"]) if "right" in rule else rule.get("value", rule.get("values", True))
    if left is _ABSENT or right is _ABSENT:
        return None
    if rule["op"] == "len_eq" and left is None:
        left = [None] * int(rule.get("null_length", 0))
    return None if _HOLDS[rule["op"]](left, right) else right


_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "le": lambda left, right: bool(left <= right),
    "ge": lambda left, right: bool(left >= right),
    "lt": lambda left, right: bool(left < right),
    "eq": lambda left, right: bool(list(left) == list(right)),
    "in": lambda left, right: left in right,
    "even": lambda left, right: left % 2 == 0,
    "len_eq": lambda left, right: len(left) == right,
    "product_eq": lambda left, right: prod(left.values()) == right,
    "given": lambda left, right: left not in (None, ""),
}
