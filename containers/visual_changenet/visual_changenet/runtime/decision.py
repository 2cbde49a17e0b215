"""From the outputs of a runtime to scores and classes, the same for every runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visual_changenet.runtime.card import Card

Floats = NDArray[np.float32]


def softmax(logits: Floats) -> Floats:
    """Probabilities over axis 1, float32."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    out: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return out


def score_values(card: Card, outputs: Sequence[Floats]) -> Floats:
    """What the decision is taken from.

    Returns:
        classify: one score per pair (B,), a probability 0..1 or a distance >= 0.
        segment: probabilities per class and pixel (B, classes, S, S) of the finest map.
    """
    if card.task == "segment":
        return softmax(outputs[-1])
    return outputs[0] if card.score == "distance" else softmax(outputs[0])[:, 1]


def decisions(card: Card, values: Floats) -> NDArray[np.int64]:
    """From ``score_values``: classify (B,) with 1 for a defect, segment classes (B, S, S)."""
    if card.margin is None:
        classes: NDArray[np.int64] = values.argmax(axis=1)
        return classes
    return (values > card.margin).astype(np.int64)
