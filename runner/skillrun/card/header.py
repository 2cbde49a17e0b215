"""The metadata that the model hub reads at the top of a card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skillrun.card.family import Family
from skillrun.card.markdown import plain
from skillrun.card.measures import Measures
from skillrun.card.origin import Source

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_PIPELINES = {"classify": "image-classification", "segment": "image-segmentation"}


def title(family: Family) -> str:
    """The name of the model: its task and the run that was asked for."""
    return f"Visual ChangeNet {family.subject.task} {family.subject.name}"


def header(family: Family, measures: Measures | None, dataset: str, weights: list[Source]) -> str:
    """YAML between two lines of dashes.

    Args:
        dataset: name of the test set.
    """
    from huggingface_hub import ModelCardData

    task = family.subject.task
    bases = [one.hub_id for one in weights if one.hub_id]
    data = ModelCardData(
        base_model=bases or None,
        eval_results=_results(task, measures, dataset) if measures else None,
        library_name="skillrun",
        license="unknown" if weights else None,
        model_name=plain(title(family)),
        pipeline_tag=_PIPELINES.get(task),
        tags=["visual-changenet", "change-detection", "visual-inspection", task],
    )
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---\n"


def _results(task: str, measures: Measures, dataset: str) -> list[EvalResult] | None:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=_PIPELINES.get(task, task),
            dataset_type="private",
            dataset_name=plain(dataset),
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 6),
        )
        for kind, name, value in _metrics(measures)
        if value is not None
    ] or None


def _metrics(measures: Measures) -> list[tuple[str, str, float | None]]:
    """(kind as the hub knows it, name for people, value)."""
    changes = [one for one in measures.classes if one.name in ("NO_PASS", "change")]
    found: list[tuple[str, str, float | None]] = [("accuracy", "overall accuracy", measures.accuracy)]
    for one in changes:
        found += [
            ("precision", f"precision of {one.name}", one.precision),
            ("recall", f"recall of {one.name}", one.recall),
        ]
        found += [("f1", f"F1 of {one.name}", one.f1), ("iou", f"IoU of {one.name}", one.iou)]
    found.append(("mean_iou", "mean IoU", measures.means.get("iou")))
    for name, rate in (("escape_rate", measures.escape), ("overkill_rate", measures.overkill)):
        found.append((name, name.replace("_", " "), rate.value if rate else None))
    return found
