"""Which backbone weights a training starts from, and from where they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skillrun.errors import SkillrunError, UsageError
from skillrun.spec import TEMPLATE, SpecBuilder
from skillrun.staging import Progress, Staged, pin
from skillrun.staging.sources import is_remote

KEY = "model.backbone.pretrained_backbone_path"
TYPE = "model.backbone.type"
# A checkpoint to start from brings all weights with it.
STARTS = ("train.resume_training_checkpoint_path", "train.pretrained_model_path")
NO_SOURCE = "the backbone starts from random weights; where there are weights for it: pretrained_backbone=SOURCE"


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
        return None
    if not here:
        if builder.latest(KEY)[1] == TEMPLATE:
            builder.notices.append(f"the engine is on another host: {NO_SOURCE.replace('SOURCE', 'PATH-THERE')}")
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
