"""Parents: which file of an earlier run a new run starts from, why that one, and what else it takes over."""

from __future__ import annotations

from skillrun.lineage.candidates import Candidate, candidates
from skillrun.lineage.data import told
from skillrun.lineage.folders import Parent, find_parent
from skillrun.lineage.functions import Context, infer, model_of
from skillrun.lineage.geometry import Contradiction, contradictions, inherited, refuse_contradictions
from skillrun.lineage.margin import Export, add_margin, exported_by
from skillrun.lineage.pick import Explanation, ParentCheckpoint, explain, pick_checkpoint
from skillrun.lineage.takeover import Wish, add_files, add_outputs, add_recorded, check_asked

__all__ = [
    "Candidate",
    "Context",
    "Contradiction",
    "Explanation",
    "Export",
    "Parent",
    "ParentCheckpoint",
    "Wish",
    "add_files",
    "add_margin",
    "add_outputs",
    "add_recorded",
    "candidates",
    "check_asked",
    "contradictions",
    "explain",
    "exported_by",
    "find_parent",
    "infer",
    "inherited",
    "model_of",
    "pick_checkpoint",
    "refuse_contradictions",
    "told",
]
