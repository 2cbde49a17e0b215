"""What a new run takes over from its parent: the recorded spec, and the files that the contract infers from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from skillrun.errors import UsageError
from skillrun.inference_functions import NEW_FILES, PARENT_FILES
from skillrun.lineage.data import add_data
from skillrun.lineage.folders import Parent
from skillrun.lineage.functions import Context, infer, made
from skillrun.lineage.geometry import inherited, recorded, refuse_contradictions
from skillrun.lineage.pick import ParentCheckpoint, pick_checkpoint
from skillrun.spec import SpecBuilder, path_keys

WEIGHTS_OF = "train.pretrained_model_path"
RESUME_FROM = "train.resume_training_checkpoint_path"
Relation = Literal["parent", "resume"]


@dataclass(frozen=True)
class Wish:
    """The parent that a request names.

    Attributes:
        relation: ``parent``: its model is read; ``resume``: its training goes on.
        pick: which checkpoint; empty for the best of a parent, the last of a training that goes on.
    """

    parent: Parent
    relation: Relation
    pick: str

    @property
    def picked(self) -> str:
        return self.pick or ("last" if self.relation == "resume" else "best")


def add_outputs(builder: SpecBuilder, spec_params: Mapping[str, Any], results: Path) -> None:
    """The results folder, and the output files whose names the contract derives from it."""
    files = {
        key: infer(str(name), Context(results, key)) for key, name in spec_params.items() if str(name) in NEW_FILES
    }
    builder.add("run folder", {"results_dir": str(results), **files})


def add_recorded(builder: SpecBuilder, wish: Wish) -> None:
    """The parent's model and data geometry, and its data; the whole recorded spec where its training goes on."""
    keys, paths = set(builder.nodes), path_keys(builder.schema)
    if wish.relation == "resume":
        values = recorded(wish.parent, keys, {key for key, (_, way) in paths.items() if way == "out"})
    else:
        values = inherited(wish.parent, keys, set(paths))
    builder.add(f"{wish.relation} {wish.parent.name}", values)
    if wish.relation == "parent":
        add_data(builder, wish.parent)


def add_files(builder: SpecBuilder, wish: Wish, spec_params: Mapping[str, Any], results: Path) -> dict[str, Any]:
    """The parent's checkpoint, ONNX file or engine, at every key that reads one.

    Returns:
        What the plan records of the parent.

    Raises:
        UsageError: the action reads no model of a parent, or several files fit equally; NotFoundError: the parent has
        none; ConflictError: it still runs.
    """
    reads = {key: str(name) for key, name in spec_params.items() if str(name) in PARENT_FILES}
    if wish.relation == "resume":
        _require_training(builder, wish)
        reads = {RESUME_FROM: "parent_model"}
    elif not reads and WEIGHTS_OF in builder.nodes:
        reads = {WEIGHTS_OF: "parent_model"}
    if not reads:
        raise UsageError("E_PARENT_NOT_READ", f"{builder.action} reads no model of a parent", "leave out --parent")
    context = Context(results, parent=wish.parent, pick=wish.picked)
    values = {key: infer(name, replace(context, key=key)) for key, name in reads.items()}
    chosen = pick_checkpoint(wish.parent, wish.picked) if made(wish.parent) == "checkpoint" else None
    why = f" ({chosen.reason})" if chosen else ""
    builder.add(f"{wish.relation} {wish.parent.name}{why}", values)
    return _record(wish, chosen, str(next(iter(values.values()))))


def _record(wish: Wish, chosen: ParentCheckpoint | None, file: str) -> dict[str, Any]:
    if chosen is not None:
        return {**chosen.to_json(), "relation": wish.relation}
    return {
        "run_id": wish.parent.name,
        "checkpoint": file,
        "reason": f"the only {Path(file).suffix} file of it",
        "sha256": None,
        "relation": wish.relation,
    }


def _require_training(builder: SpecBuilder, wish: Wish) -> None:
    if RESUME_FROM not in builder.nodes:
        raise UsageError("E_RESUME", f"{builder.action} can not go on: that belongs to train", "--parent RUN")
    if wish.parent.run is None or not wish.parent.action.endswith("train"):
        what = f"is a run of {wish.parent.action}" if wish.parent.run else "is a plain folder of results"
        raise UsageError(
            "E_RESUME",
            f"{wish.parent.name} {what}: only a training of this tool can go on where it stopped",
            f"to start from its weights: --parent {wish.parent.reference}",
        )


def check_asked(builder: SpecBuilder, wish: Wish) -> None:
    """Raises UsageError E_PARENT_CONTRADICTS where the spec file or an override does not fit the parent's weights."""
    theirs = inherited(wish.parent, set(builder.nodes), set(path_keys(builder.schema)))
    refuse_contradictions(wish.parent.name, theirs, builder.by_user())
