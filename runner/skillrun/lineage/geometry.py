"""What a later run takes over from its parent's recorded spec, and what it may not say against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from skillrun.errors import UsageError
from skillrun.lineage.folders import Parent, as_parent
from skillrun.overrides import flatten
from skillrun.runfolder import RunFolder

_TAKEN = ("model.", "dataset.", "train.classify.", "train.segment.")
_OF_THE_HOST = (".batch_size", ".workers")
_MISSING = "???"
# What the weights in a checkpoint were made for. Thresholds, freezing, batch size and data paths may differ.
_BUILT_IN = (
    "model.backbone.type",
    "model.backbone.channel_norm",
    "model.backbone.feat_downsample",
    "model.decode_head.",
    "model.classify.difference_module",
    "model.classify.learnable_difference_modules",
    "model.classify.embed_dec",
    "model.classify.embedding_vectors",
    "train.classify.loss",
    "dataset.classify.image_width",
    "dataset.classify.image_height",
    "dataset.classify.num_input",
    "dataset.classify.input_map",
    "dataset.classify.concat_type",
    "dataset.classify.grid_map.",
    "dataset.classify.num_golden",
    "dataset.classify.num_classes",
    "dataset.classify.augmentation_config.rgb_input_mean",
    "dataset.classify.augmentation_config.rgb_input_std",
    "dataset.segment.img_size",
    "dataset.segment.num_classes",
    "dataset.segment.augmentation.mean",
    "dataset.segment.augmentation.std",
)


@dataclass(frozen=True)
class Contradiction:
    """A field that the parent's checkpoint was made with and that was asked for otherwise."""

    key: str
    parent: Any
    asked: Any

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def inherited(parent: Parent | RunFolder, schema_keys: AbstractSet[str], path_keys: AbstractSet[str]) -> dict[str, Any]:
    """What a later action takes over from its parent's recorded spec: model and data geometry, never data paths.

    Args:
        schema_keys: dotted keys of the later action; path_keys: those that hold paths.

    Raises:
        UsageError: the recorded spec is no spec; the message names file and line.
    """
    values = recorded(parent, schema_keys, path_keys)
    return {key: value for key, value in values.items() if key.startswith(_TAKEN) and not key.endswith(_OF_THE_HOST)}


def recorded(parent: Parent | RunFolder, schema_keys: AbstractSet[str], but: AbstractSet[str]) -> dict[str, Any]:
    """Everything that the parent's recorded spec sets, by dotted key, without the keys in ``but``.

    Raises:
        UsageError: the recorded spec is no spec; the message names file and line.
    """
    here = as_parent(parent)
    # The published container writes what nobody set as null or ???: there the action's own default counts.
    absent = (_MISSING,) if here.run else (_MISSING, None)
    values = flatten(here.spec, schema_keys)
    return {key: value for key, value in values.items() if key in schema_keys - but and value not in absent}


def contradictions(parent_values: Mapping[str, Any], asked_values: Mapping[str, Any]) -> list[Contradiction]:
    """Fields in which what was asked does not fit the parent's checkpoint, by dotted key.

    Only keys that both have are compared, and only those that decide what the weights fit to: architecture, input
    size, lights and their arrangement, classes, normalisation and the classify loss (its class weights are in the
    checkpoint). A threshold, a batch size or a data path is never a contradiction.
    """
    return [
        Contradiction(key, parent_values[key], asked_values[key])
        for key in sorted(parent_values.keys() & asked_values.keys())
        if _built_in(key) and not _same(parent_values[key], asked_values[key])
    ]


def refuse_contradictions(name: str, parent_values: Mapping[str, Any], asked_values: Mapping[str, Any]) -> None:
    """Raises UsageError E_PARENT_CONTRADICTS with a table of the fields; name: the parent's."""
    found = contradictions(parent_values, asked_values)
    if not found:
        return
    keys = ", ".join(item.key for item in found)
    raise UsageError(
        "E_PARENT_CONTRADICTS",
        f"{len(found)} {'field does' if len(found) == 1 else 'fields do'} not fit the checkpoint of {name}: {keys}",
        f"leave out {keys}, or train anew with {'it' if len(found) == 1 else 'them'}",
        details=_table(found),
    )


def _table(found: Sequence[Contradiction]) -> list[str]:
    rows = [("field", "parent", "asked"), *((item.key, repr(item.parent), repr(item.asked)) for item in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _built_in(key: str) -> bool:
    return any(key.startswith(name) if name.endswith(".") else key == name for name in _BUILT_IN)


def _same(one: Any, other: Any) -> bool:
    """Equal as values of a spec: 224 is 224.0, but no number is True, and the order of a mapping is free."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)
