"""Choosing one checkpoint among candidates, with the reason in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from skillrun.errors import NotFoundError, SkillrunError, UsageError
from skillrun.lineage.candidates import Candidate

_POSITION = re.compile(r"(epoch|step)=(\d{1,12})")
_LESS = frozenset({"loss", "fpr", "fnr", "far", "error", "err", "alarm", "false", "mae", "mse", "rmse"})
_MORE = frozenset(
    {"acc", "accuracy", "ap", "map", "auc", "auroc", "iou", "miou", "f1", "mf1", "dice", "tpr", "tnr"}
) | {*("precision", "mprecision", "recall", "mrecall")}
# Where the monitored number was not recorded: the first of these that was.
_FALLBACKS = ("val_loss", "val_miou", "val_iou_1", "val_ap", "val_acc", "val_fpr")
_LISTED = 12


def direction(metric: str) -> Literal["less", "more"] | None:
    """Whether less or more of a metric is better, by the words of its name; None where they do not tell."""
    words = set(re.split(r"[^a-z0-9]+", metric.lower()))
    return "less" if words & _LESS else "more" if words & _MORE else None


def choose(name: str, found: Sequence[Candidate], pick: str, monitor: str) -> tuple[Candidate, str]:
    """One of at least one candidate, and why.

    Args:
        name: of the parent, for messages.
        monitor: the metric that the training watched.

    Raises:
        UsageError: ``pick`` is none, or several fit equally; NotFoundError: none fits.
    """
    if pick == "best":
        return _best(name, found, monitor)
    if pick == "last":
        return _last(name, found)
    match = _POSITION.fullmatch(pick)
    if match is None:
        raise UsageError("E_PARENT_PICK", f"--pick {pick!r} is none of best, last, epoch=N, step=N", "--pick best")
    return _at(name, found, match[1], int(match[2]))


def _best(name: str, found: Sequence[Candidate], monitor: str) -> tuple[Candidate, str]:
    if len(found) == 1:
        return found[0], f"best of 1: {_words(found[0], monitor)}"
    marked = [candidate for candidate in found if candidate.best]
    if len(marked) == 1:
        return marked[0], f"best of {len(found)}: {_words(marked[0], monitor)}"
    metric = _metric(marked or found, monitor)
    if metric is None:
        raise _ambiguous(name, found, "no recorded validation number tells which is best", "--pick last, or epoch=N")
    scored = [candidate for candidate in marked or found if metric in candidate.metrics]
    way = direction(metric)
    top = (min if way == "less" else max)(candidate.metrics[metric] for candidate in scored)
    equal = [candidate for candidate in scored if candidate.metrics[metric] == top]
    chosen = _latest(name, equal, f"{metric} {top:.4g} is the best")
    reason = f"best of {len(found)} by {metric} ({way} is better): {_words(chosen, metric)}"
    if metric != monitor:
        reason += f"; {monitor}, which the training watched, can not be compared here"
    if len(scored) < len(found) and not marked:
        reason += f"; {len(found) - len(scored)} without it"
    return chosen, reason + (f"; {len(equal)} are equally good, the later one is taken" if len(equal) > 1 else "")


def _metric(found: Sequence[Candidate], monitor: str) -> str | None:
    recorded = sorted({name for candidate in found for name in candidate.metrics if name.startswith("val_")})
    for metric in (monitor, *_FALLBACKS, *recorded):
        if direction(metric) and any(metric in candidate.metrics for candidate in found):
            return metric
    return None


def _last(name: str, found: Sequence[Candidate]) -> tuple[Candidate, str]:
    marked = [candidate for candidate in found if candidate.last]
    if len(marked) == 1:
        return marked[0], f"last of {len(found)}: {_words(marked[0])}"
    chosen = _latest(name, marked or found, "no mark tells which is last")
    return chosen, f"last of {len(found)} by epoch and step: {_words(chosen)}"


def _at(name: str, found: Sequence[Candidate], unit: str, number: int) -> tuple[Candidate, str]:
    fitting = [candidate for candidate in found if getattr(candidate, unit) == number]
    if not fitting:
        there = ", ".join(f"{unit}={getattr(candidate, unit)}" for candidate in found[:_LISTED])
        raise NotFoundError(
            "E_PARENT_PICK", f"{name} has no checkpoint with {unit}={number}; it has {there}", "--pick best"
        )
    chosen = _latest(name, fitting, f"several have {unit}={number}")
    more = f"; the later of {len(fitting)}" if len(fitting) > 1 else ""
    return chosen, f"{unit}={number} as asked{more}"


def _latest(name: str, equal: Sequence[Candidate], why: str) -> Candidate:
    """The one that is furthest in the training."""
    furthest = max(candidate.position for candidate in equal)
    there = [candidate for candidate in equal if candidate.position == furthest]
    if len(there) > 1:
        raise _ambiguous(name, there, f"{why}, and all are at the same epoch and step", "")
    return there[0]


def _ambiguous(name: str, found: Sequence[Candidate], why: str, pick: str) -> SkillrunError:
    names = ", ".join(candidate.path.name for candidate in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    by_path = f"name the file: checkpoint={found[-1].path}"
    return UsageError(
        "E_PARENT_AMBIGUOUS", f"{name}: {why}: {names}{more}", f"{pick}; or {by_path}" if pick else by_path
    )


def _words(candidate: Candidate, metric: str = "") -> str:
    """Where it stands and its numbers, the deciding one first."""
    place = candidate.path.name if candidate.epoch is None else f"epoch {candidate.epoch}"
    shown = dict.fromkeys([metric, "val_ap", "val_iou_1", "val_miou", "val_loss"])
    values: dict[str, Any] = candidate.metrics
    return " ".join([place, ", ".join(f"{name} {values[name]:.4g}" for name in shown if name in values)]).rstrip()
