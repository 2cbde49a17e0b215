"""The margin that was chosen on an evaluation of a checkpoint goes with that checkpoint, and with no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.inference_functions import PARENT_FILES
from skillrun.inspection.threshold import FILE, Threshold, digest, read_threshold
from skillrun.lineage.data import line
from skillrun.lineage.folders import Parent
from skillrun.lineage.takeover import Wish
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder
from skillrun.spec import SpecBuilder

MARGIN = "model.classify.eval_margin"
# These carry a margin of their own, which no spec changes.
_MODEL_FILES = (".onnx", ".engine")
# What measures anew with weights of its own, or knows no margin.
_WITHOUT = ("train", "segment_")


def add_margin(builder: SpecBuilder, wish: Wish, spec_params: Mapping[str, Any], runs: Path) -> None:
    """The margin chosen for the checkpoint that the run will read, unless an override names another.

    To be called after the overrides: they may name another checkpoint. An exported model keeps its own margin; where
    another one was chosen, a notice says how to export it.

    Args:
        runs: folder of the workspace's runs; those beside the parent are looked at too.

    Raises:
        DataError: ``E_THRESHOLD_FILE``: a threshold that can not be read.
    """
    reads = [key for key, name in spec_params.items() if str(name) in PARENT_FILES]
    file = next((str(value) for key in reads if (value := builder.latest(key)[0])), "")
    if wish.relation != "parent" or builder.action.startswith(_WITHOUT) or not Path(file).is_file():
        return
    stored = _stored(wish.parent, (runs, wish.parent.path.parent))
    if not stored:
        return
    if file.endswith(_MODEL_FILES):
        _say_what_it_carries(builder, wish.parent, Path(file), stored)
        return
    chosen = _of(digest(Path(file)), stored, wish.parent)
    if chosen is not None and MARGIN in builder.nodes and not _typed(builder):
        builder.add(f"{FILE} of {chosen.run_id}", {MARGIN: chosen.margin})
        builder.notices.append(f"margin {chosen.margin:.6g} from {FILE} of {chosen.run_id} ({chosen.rule})")


def _typed(builder: SpecBuilder) -> bool:
    return builder.latest(MARGIN)[1] == "command line"


def _stored(parent: Parent, folders: Iterable[Path]) -> list[Threshold]:
    found = [path.parent for folder in dict.fromkeys(folders) for path in sorted(folder.glob(f"*/{FILE}"))]
    thresholds = [read_threshold(RunFolder(path)) for path in dict.fromkeys([parent.path, *found])]
    return [threshold for threshold in thresholds if threshold is not None and threshold.sha256]


def _of(sha256: str, stored: list[Threshold], parent: Parent) -> Threshold | None:
    """The threshold of a model: that of the evaluation which was named, else the newest."""
    fitting = [threshold for threshold in stored if threshold.sha256 == sha256]
    named = [threshold for threshold in fitting if threshold.run_id == parent.name]
    return max(named or fitting, key=lambda threshold: threshold.at, default=None)


def _say_what_it_carries(builder: SpecBuilder, parent: Parent, file: Path, stored: list[Threshold]) -> None:
    export = exported_by(parent)
    chosen = _of(export.sha256, stored, parent) if export else None
    if export is None or chosen is None or export.margin == chosen.margin:
        return
    builder.notices.append(
        f"{file.name} carries margin {export.margin}, {FILE} of {chosen.run_id} has {chosen.margin:.6g} for its "
        f"checkpoint; to write it anew: skillrun visual_changenet {export.action} --parent {export.parent}"
    )


@dataclass(frozen=True)
class Export:
    """How a model file came to be: the action, the run whose checkpoint (sha256) it took, and the margin it got."""

    action: str
    parent: str
    sha256: str
    margin: float | None


def exported_by(parent: Parent) -> Export | None:
    """The export or quantization that a run is, or that its model file came from; None where there is none."""
    for ancestor in line(parent):
        record = ancestor.run.read_record().get("parent") if ancestor.run else None
        if ancestor.action in ("export", "quantize") and isinstance(record, Mapping):
            margin = get_dotted(ancestor.spec, MARGIN)
            return Export(ancestor.action, str(record["run_id"]), str(record.get("sha256")), margin)
    return None
