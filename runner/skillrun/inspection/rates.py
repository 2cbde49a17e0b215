"""A share of a count, with the interval in which the true share lies."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
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

    def to_json(self) -> dict[str, Any]:
        """Share, 95 % interval and counts."""
        low, high = self.interval()
        return {"value": self.value, "low": low, "high": high, "count": self.count, "total": self.total}
