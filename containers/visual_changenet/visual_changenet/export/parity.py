"""Whether an exported model decides as the network it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visual_changenet.atomic import write_text_atomic
from visual_changenet.errors import RejectedError
from visual_changenet.events import finite
from visual_changenet.export.pairs import Pairs
from visual_changenet.runtime import Floats, Runtime
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.decision import decisions, score_values

BATCHES = (1, 2, 7)
FILE = "parity.json"


@dataclass(frozen=True)
class Difference:
    """One run of all pairs at one batch size, against the network.

    Attributes:
        output_max_abs, output_mean_abs: over all values of all outputs.
        output_max_rel: the largest difference of an output, divided by that output's largest absolute value.
        score_max_abs, score_mean_abs: of the scores, or of the probabilities of all pixels.
        flips: share of pairs, or of pixels, that are decided otherwise.
        flips_outside: the same, without those whose own score lies within the tolerance of the margin.
    """

    batch: int
    output_max_abs: float
    output_mean_abs: float
    output_max_rel: float
    score_max_abs: float
    score_mean_abs: float
    flips: float
    flips_outside: float

    def fits(self, tolerance: float, scale: float) -> bool:
        """Whether nothing exceeds the tolerance; what is no number does."""
        near = self.output_max_rel <= tolerance and self.score_max_abs <= tolerance * scale
        return near and self.flips_outside == 0


@dataclass(frozen=True)
class Parity:
    """All comparisons of one model.

    Attributes:
        source: where the pairs are from. provider: what computed the model's outputs.
        score_scale: what the tolerance was multiplied by for scores.
    """

    passed: bool
    tolerance: float
    score_scale: float
    pairs: int
    source: str
    margin: float | None
    provider: str
    batches: list[Difference]

    def worst(self, name: str) -> float:
        """The largest value of an attribute of ``Difference``; NaN where any is."""
        return float(np.max([getattr(found, name) for found in self.batches]))

    def metrics(self) -> dict[str, float]:
        """Flat numbers for the result of an action."""
        named = {
            "parity_max_abs": "score_max_abs",
            "parity_mean_abs": "score_mean_abs",
            "parity_output_max_abs": "output_max_abs",
            "parity_output_max_rel": "output_max_rel",
            "parity_flips": "flips",
        }
        return {key: self.worst(name) for key, name in named.items()} | {"parity_pairs": float(self.pairs)}

    def write(self, path: Path, model: str, sha256: str) -> None:
        """As JSON, with the name and the digest of the model's file; what is no number becomes null."""
        content = finite({"schema_version": 1, "model": model, "sha256": sha256} | asdict(self))
        write_text_atomic(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def check(self, name: str, rejected: Path) -> None:
        """Raise where the model did not pass.

        Raises:
            RejectedError: ``E_EXPORT_PARITY`` with the numbers.
        """
        if self.passed:
            return
        raise RejectedError(
            "E_EXPORT_PARITY",
            f"{name} does not decide as the checkpoint does: over {self.pairs} pairs ({self.source}) scores differ by "
            f"up to {self.worst('score_max_abs'):.3g}, outputs by up to {self.worst('output_max_rel'):.3g} of their "
            f"largest value, {self.worst('flips'):.2%} decisions flip; allowed is {self.tolerance:g}.",
            f"do not use {rejected}; export again with another export.opset_version, or raise "
            "export.parity_tolerance where the difference is rounding",
        )


def compare(
    runtime: Runtime,
    pairs: Pairs,
    reference: Sequence[Floats],
    tolerance: float,
    done: Callable[[int], None] = lambda batch: None,
) -> Parity:
    """Run all pairs at batch 1, 2 and 7, or at the static batch, and compare.

    Args:
        reference: the network's outputs for all pairs, in the order of ``card.output_names``.
        tolerance: of scores, and of outputs relative to their largest value; distances above 1 relatively too.
        done: told each batch size that is through.
    """
    card = runtime.card
    scale = max(1.0, float(np.abs(reference[0]).max())) if card.score == "distance" else 1.0
    sizes = BATCHES if runtime.batch.maximum is None else (runtime.batch.maximum,)
    found = []
    for size in sizes:
        runs = [runtime.run(pairs.first[at : at + size], pairs.second[at : at + size]) for at in _starts(pairs, size)]
        outputs = [np.concatenate(column) for column in zip(*runs, strict=True)]
        found.append(_difference(card, size, outputs, reference, tolerance * scale))
        done(size)
    return Parity(
        passed=all(difference.fits(tolerance, scale) for difference in found),
        tolerance=tolerance,
        score_scale=scale,
        pairs=len(pairs),
        source=pairs.source,
        margin=card.margin,
        provider=runtime.provider,
        batches=found,
    )


def _starts(pairs: Pairs, size: int) -> Iterable[int]:
    return range(0, len(pairs), size)


def _difference(
    card: Card, batch: int, outputs: Sequence[Floats], reference: Sequence[Floats], band: float
) -> Difference:
    gaps = [np.abs(ours - theirs) for ours, theirs in zip(outputs, reference, strict=True)]
    relative = [
        gap.max() / max(float(np.abs(theirs).max()), 1e-12) for gap, theirs in zip(gaps, reference, strict=True)
    ]
    ours, theirs = score_values(card, outputs), score_values(card, reference)
    score_gap = np.abs(ours - theirs)
    flipped = decisions(card, ours) != decisions(card, theirs)
    return Difference(
        batch=batch,
        output_max_abs=float(np.max([gap.max() for gap in gaps])),
        output_mean_abs=float(sum(gap.sum(dtype=np.float64) for gap in gaps) / sum(gap.size for gap in gaps)),
        output_max_rel=float(np.max(relative)),
        score_max_abs=float(score_gap.max()),
        score_mean_abs=float(score_gap.mean(dtype=np.float64)),
        flips=float(flipped.mean()),
        flips_outside=float((flipped & (_distance_to_margin(card, theirs) > band)).mean()),
    )


def _distance_to_margin(card: Card, values: Floats) -> Any:
    """How far each decision is from being another one: (B,), or per pixel (B, S, S) half the lead of its class."""
    if card.margin is not None:
        return np.abs(values - card.margin)
    ranked = np.sort(values, axis=1)
    return (ranked[:, -1] - ranked[:, -2]) / 2
