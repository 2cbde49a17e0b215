"""Which backbone weights a training starts from, and from where they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skillrun.errors import SkillrunError, UsageError
from skillrun.spec import TEMPLATE, SpecBuilder
from skillrun.staging import Progress, Staged, pin
from skillrun.staging.sources import is_remote
from skillrun.weights import BACKBONES

KEY = "model.backbone.pretrained_backbone_path"
TYPE = "model.backbone.type"
# A checkpoint to start from brings all weights with it.
STARTS = ("train.resume_training_checkpoint_path", "train.pretrained_model_path")
RANDOM = "the backbone starts from random weights"


def wanted_source(builder: SpecBuilder, spec_params: Mapping[str, Any]) -> str:
    """The source that has to be staged; empty where the spec names a file of this host, or no weights are read.

    Nobody said anything about weights: the contract's own, as long as the backbone is the one they belong to.
    """
    given, origin = builder.latest(KEY)
    if origin != TEMPLATE:
        return str(given) if isinstance(given, str) and is_remote(given) else ""
    rule = spec_params.get(KEY)
    kind, kind_origin = builder.latest(TYPE)
    is_theirs = kind_origin == TEMPLATE or kind == builder.template(TYPE)
    starts = any(builder.latest(key)[0] for key in STARTS if key in builder.nodes)
    return str(rule["link"]) if isinstance(rule, Mapping) and is_theirs and not starts else ""


def add_backbone(
    builder: SpecBuilder,
    spec_params: Mapping[str, Any],
    *,
    here: bool,
    offline: bool,
    show: Callable[[Progress], None],
) -> Staged | None:
    """Pin the weights and add their path to the spec.

    Args:
        here: whether the run sees the files of this host.

    Raises:
        UsageError: a source for a run elsewhere; else as ``staging.stage``.
    """
    source = wanted_source(builder, spec_params)
    if not source:
        _say_random(builder)
        return None
    if not here:
        if builder.latest(KEY)[1] == TEMPLATE:
            builder.notices.append(
                f"{RANDOM}: the engine is on another host; pretrained_backbone=PATH names a file there"
            )
            return None
        raise UsageError(
            "E_STAGE_ELSEWHERE",
            f"{KEY}={source!r} would be staged on this host, but the engine is on another",
            f"{KEY}=<the path of the file on the engine's host>",
        )
    try:
        pinned = pin(source, offline=offline, show=show)
    except SkillrunError as error:
        if builder.latest(KEY)[1] == TEMPLATE:  # nobody asked for these weights by name
            error.fix += "; or start from random weights: pretrained_backbone="
        raise
    builder.add(f"staged {pinned.source}", {KEY: str(pinned.path)})
    return pinned


def _say_random(builder: SpecBuilder) -> None:
    """A transformer that learns from nothing needs far more pairs than most have; the result would tell too late."""
    kind = str(builder.latest(TYPE)[0])
    named = any(builder.latest(key)[0] for key in (KEY, *STARTS) if key in builder.nodes)
    if STARTS[0] in builder.nodes and not named and BACKBONES[kind].family != "FAN":
        builder.notices.append(f"{RANDOM}; with weights of {kind} it needs far fewer pairs: pretrained_backbone=SOURCE")
