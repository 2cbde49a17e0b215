"""How long a model takes, as numbers that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Of repeated steps on one machine.

    Attributes:
        p50_ms, p95_ms: milliseconds for one step of ``batch`` pairs.
        pairs_per_s: over all steps.
    """

    batch: int
    steps: int
    p50_ms: float
    p95_ms: float
    pairs_per_s: float

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Latency:
        """From the seconds of each step; at least one."""
        p50, p95 = np.percentile(np.asarray(seconds, np.float64) * 1000, [50, 95])
        return cls(batch, len(seconds), float(p50), float(p95), batch * len(seconds) / sum(seconds))
