"""A share of a count, with the interval in which the true share lies."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist
from typing import Any


@dataclass(frozen=True)
class Rate:
    """``count`` out of ``total``, both ≥ 0."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """The share in 0..1; None where nothing was counted."""
        return self.count / self.total if self.total else None

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's score interval (E. B. Wilson 1927, equation of the JASA paper 22:209), both ends in 0..1.

        Nothing counted gives (0, 1): all is possible.
        """
        if not self.total:
            return 0.0, 1.0
        z, share = NormalDist().inv_cdf((1 + confidence) / 2), self.count / self.total
        middle = share + z * z / (2 * self.total)
        reach = z * sqrt(share * (1 - share) / self.total + z * z / (4 * self.total**2))
        scale = 1 + z * z / self.total
        low = 0.0 if self.count == 0 else max(0.0, (middle - reach) / scale)
        high = 1.0 if self.count == self.total else min(1.0, (middle + reach) / scale)
        return low, high

    def within(self, limit: float) -> bool:
        """Whether the upper end of the 95 % interval keeps a limit in 0..1: proven, not only counted."""
        return self.interval()[1] <= limit

    def to_json(self) -> dict[str, Any]:
        """Share, 95 % interval and counts."""
        low, high = self.interval()
        return {"value": self.value, "low": low, "high": high, "count": self.count, "total": self.total}


def needed_to_prove(limit: float) -> int | None:
    """How many must be looked at without one that counts, for the 95 % interval to end at a limit in 0..1.

    None for the limit 0, which no number proves. From the upper end of Wilson's interval at 0 of n, z² / (n + z²).
    """
    z = NormalDist().inv_cdf(0.975)
    return ceil(z * z * (1 - limit) / limit) if limit > 0 else None
