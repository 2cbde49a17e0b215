"""Two models on the same labelled pairs: how well each decides, how often alike, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from visual_changenet.export.graph import Exported
from visual_changenet.latency import Latency
from visual_changenet.losses import IGNORED
from visual_changenet.mask_metrics import mask_scores
from visual_changenet.metrics import decision_metrics, inspection_metrics, ranking_metrics
from visual_changenet.models import Network
from visual_changenet.runtime import Floats
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.decision import decisions, score_values

WARM_UP, STEPS, FEWEST_STEPS = 2, 20, 3
SECONDS = 3.0  # per batch size, for both models


class Computes(Protocol):
    """A runtime, or a network that looks like one."""

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """See ``Runtime.run``."""


class TorchRun:
    """A network behind the signature of a runtime."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._device = Exported(network).eval(), device

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """See ``Runtime.run``."""
        with torch.inference_mode():
            found = self._network(*(torch.from_numpy(side).to(self._device) for side in (first, second)))
        return tuple(part.float().cpu().numpy() for part in found)


@dataclass(frozen=True)
class Quality:
    """What two models decide.

    Attributes:
        before, after: numbers by name, shares 0..1. pairs: how many were compared.
        agreement: share of pairs, or of pixels, that both decide alike.
        score_max_abs: largest difference of a score, or of a pixel's probability.
    """

    before: dict[str, float]
    after: dict[str, float]
    pairs: int
    agreement: float
    score_max_abs: float


@dataclass
class _Tally:
    """What is kept of one model while the pairs go by."""

    card: Card
    scores: list[Floats] = field(default_factory=list)
    targets: list[NDArray[np.int64]] = field(default_factory=list)
    confusion: NDArray[np.int64] | int = 0

    def add(self, values: Floats, labels: NDArray[Any]) -> None:
        if self.card.task == "classify":
            self.scores.append(values)
            self.targets.append(labels[:, 0].astype(np.int64))
            return
        truth, called, classes = labels[:, 0].astype(np.int64), decisions(self.card, values), self.card.classes
        counted = truth != IGNORED
        cells = truth[counted] * classes + called[counted]
        self.confusion = self.confusion + np.bincount(cells, minlength=classes**2).reshape(classes, classes)

    def metrics(self) -> dict[str, float]:
        if self.card.margin is None:
            counts = np.asarray(self.confusion, np.float64)
            found = mask_scores(counts)
            change = np.array([[counts[0, 0], counts[0, 1:].sum()], [counts[1:, 0].sum(), counts[1:, 1:].sum()]])
            return {"accuracy": found["acc"], "miou": found["miou"], "iou_change": mask_scores(change)["iou_1"]}
        scores, targets = np.concatenate(self.scores).astype(np.float64), np.concatenate(self.targets)
        line = inspection_metrics(scores, targets, self.card.margin)
        return {
            "accuracy": decision_metrics(scores, targets, self.card.margin)["acc"] / 100,
            "escape_rate": line["escape_rate"],
            "overkill_rate": line["overkill_rate"],
            **{name: value for name, value in ranking_metrics(scores, targets).items() if name == "average_precision"},
        }


def compare_quality(
    card: Card, before: Computes, after: Computes, batches: Iterable[Any], done: Callable[[int], None]
) -> Quality:
    """Both models over all labelled pairs.

    Args:
        batches: (first, second, labels, ...) of a loader. done: told the pairs of each batch that is through.
    """
    tallies = (_Tally(card), _Tally(card))
    pairs, alike, cells, worst = 0, 0, 0, 0.0
    for first, second, labels, *_ in batches:
        sides = (first.numpy(), second.numpy())
        values = [score_values(card, model.run(*sides)) for model in (before, after)]
        for tally, found in zip(tallies, values, strict=True):
            tally.add(found, labels.numpy())
        equal = decisions(card, values[0]) == decisions(card, values[1])
        pairs, alike, cells = pairs + len(first), alike + int(equal.sum()), cells + equal.size
        worst = max(worst, float(np.abs(values[0] - values[1]).max()))
        done(len(first))
    return Quality(tallies[0].metrics(), tallies[1].metrics(), pairs, alike / cells, worst)


def compare_latency(
    before: Computes, after: Computes, first: Floats, second: Floats, check: Callable[[], None]
) -> tuple[Latency, Latency]:
    """One batch through both models by turns, so that a busy machine slows both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    for step in range(WARM_UP + STEPS):
        if step >= WARM_UP + FEWEST_STEPS and time.perf_counter() - started > SECONDS:
            break
        for model, taken in zip((before, after), seconds, strict=True):
            clock = time.perf_counter()
            model.run(first, second)
            taken.append(time.perf_counter() - clock)
        check()
    found = [Latency.of(taken[WARM_UP:], len(first)) for taken in seconds]
    return found[0], found[1]
