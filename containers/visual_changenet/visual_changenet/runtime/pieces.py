"""Feeding a model that takes a range of batches with any number of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from visual_changenet.errors import DataInvalidError
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.decision import Floats

Piece = Callable[[Floats, Floats], Sequence[Floats]]


def check_inputs(card: Card, path: Path, first: Floats, second: Floats) -> None:
    """Refuse arrays that are not what the card of the model at ``path`` says.

    Raises:
        DataInvalidError: ``E_RUNTIME_INPUT``.
    """
    count = len(first)
    for name, array, shape in zip(card.input_names, (first, second), card.shapes(count), strict=True):
        if array.shape != shape or array.dtype != np.float32 or count == 0:
            raise DataInvalidError(
                "E_RUNTIME_INPUT",
                f"{name} is {array.dtype} {list(array.shape)}, {path} takes float32 {list(shape)} with at "
                "least one row.",
                "prepare the images as the model's card says",
            )


def in_pieces(run: Piece, first: Floats, second: Floats, smallest: int, largest: int | None) -> tuple[Floats, ...]:
    """Call ``run`` with at most ``largest`` pairs at a time; one row per pair in each output.

    A piece of fewer than ``smallest`` pairs is filled up with its last pair, and the surplus is cut off.
    """
    size = largest or len(first)
    parts = [_filled(run, first[at : at + size], second[at : at + size], smallest) for at in range(0, len(first), size)]
    return tuple(np.concatenate(column) if len(parts) > 1 else column[0] for column in zip(*parts, strict=True))


def _filled(run: Piece, first: Floats, second: Floats, smallest: int) -> list[Floats]:
    count = len(first)
    surplus = max(smallest - count, 0)
    if surplus:
        first, second = (np.concatenate([x, np.repeat(x[-1:], surplus, axis=0)]) for x in (first, second))
    return [output[:count] for output in run(first, second)]
