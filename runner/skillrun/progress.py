"""How far a transfer of bytes is: one shape for images, weights, data and results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One moment of a transfer.

    Attributes:
        phase: ``downloading``, ``checking``, ``extracting``, ``uploading``, or what is waited for.
        done, total: bytes; ``total`` is 0 where nobody has said it, and grows where parts are named one by one.
    """

    phase: str
    done: int
    total: int
