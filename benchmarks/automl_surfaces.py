"""What `automl.py` searches: formulas with a known best value, and trainings that were recorded.

Every surface is minimised, and its axes are a `Space` as a study has one, so that each searcher draws through the same
code. Branin, Hartmann and Rosenbrock are the usual test functions; the two `training` formulas are our own and name
what they imitate. `automl_record.py` recorded the table.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from skillrun.automl import Condition, Param, Space

TABLE = Path(__file__).with_name("automl_table.json")
Values = Mapping[str, Any]

HARTMANN_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
HARTMANN_SCALES = (
    (10.0, 3.0, 17.0, 3.5, 1.7, 8.0),
    (0.05, 10.0, 17.0, 0.1, 8.0, 14.0),
    (3.0, 3.5, 1.7, 10.0, 17.0, 8.0),
    (17.0, 8.0, 0.05, 10.0, 0.1, 14.0),
)
HARTMANN_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


@dataclass(frozen=True)
class Surface:
    """A value for every point of a space, ``best`` the lowest; ``noise`` is the deviation of what a searcher sees."""

    name: str
    space: Space
    value: Callable[[Values], float]
    best: float
    noise: float = 0.0


@dataclass(frozen=True)
class Curves:
    """A value after every epoch, at every point of a space; ``best`` is the lowest there is."""

    name: str
    space: Space
    curve: Callable[[Values], Sequence[float]]
    best: float
    epochs: int


def number(key: str, low: float, high: float, *, log: bool = False, kind: str = "float", only: str = "") -> Param:
    """A searched number; ``only`` is ``other=value`` of a choice that it needs."""
    middle = math.sqrt(low * high) if log else (low + high) / 2
    parent, _, value = only.partition("=")
    when = (Condition(parent, (value,)),) if only else ()
    return Param(key, kind, int(middle) if kind == "int" else middle, low, high, log, when=when)


def choice(key: str, *options: Any) -> Param:
    """A searched choice."""
    return Param(key, "choice", options[0], choices=options)


def branin(values: Values) -> float:
    """Three equal valleys, lowest 0.397887."""
    x, y = values["x"], values["y"]
    bowl = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return float(bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def hartmann(values: Values) -> float:
    """Four overlapping pits in six dimensions, lowest -3.32237."""
    point = list(values.values())
    return -sum(
        weight * math.exp(-sum(a * (x - c) ** 2 for a, x, c in zip(scales, point, centres, strict=True)))
        for weight, scales, centres in zip(HARTMANN_WEIGHTS, HARTMANN_SCALES, HARTMANN_CENTRES, strict=True)
    )


def rosenbrock(values: Values) -> float:
    """A bent valley over the decimal logarithms of four keys, lowest 0 where all are 10."""
    point = [math.log10(value) for value in values.values()]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(point))


def training_error(values: Values) -> float:
    """Like the error of a training: the best rate hangs on optimiser and batch, far off it all is equally bad.

    Lowest 0: adamw, cosine, batch 16, augmented, rate 10^-3.5, decay 10^-4, warm-up 3.
    """
    sgd, step = values["optimizer"] == "sgd", values["policy"] == "step"
    rate = (-1.8 if sgd else -3.5) + 0.3 * math.log2(values["batch"] / 16)
    loss = 0.6 * (math.log10(values["lr"]) - rate) ** 2 + 0.05 * (math.log10(values["decay"]) + 4) ** 2
    loss += 0.04 + 2 * (values["momentum"] - 0.9) ** 2 if sgd else 0
    loss += 0.02 + 0.3 * (values["gamma"] - 0.3) ** 2 if step else 0.05 * (values["policy"] == "linear")
    loss += 0.003 * (values["warmup"] - 3) ** 2 + {8: 0.03, 16: 0.0, 32: 0.01, 64: 0.06}[values["batch"]]
    return 1 - math.exp(-loss - 0.08 * (not values["augment"]))


def training_curve(values: Values, epochs: int = 27) -> list[float]:
    """Like the loss of a training: a power of the epoch, slow at low rates, so that curves cross.

    The end value is 0.1 where the rate is 10^-3.5 and the decay 10^-4, above it elsewhere.
    """
    rate, decay = math.log10(values["lr"]), math.log10(values["decay"])
    end = 0.1 + 0.5 * (1 - math.exp(-0.1 * (rate + 3.5) ** 2 - 0.01 * (decay + 4) ** 2))
    speed = 0.4 + 0.6 * (rate + 6) / 5
    ends = epochs**-speed
    return [end + (0.7 - end) * max(epoch**-speed - ends, 0) for epoch in range(1, epochs + 1)]


class Recorded:
    """The recorded trainings: by batch and augmentation as recorded, between two learning rates on a line."""

    def __init__(self, metric: str = "val_loss") -> None:
        rows = json.loads(TABLE.read_text(encoding="utf-8"))
        self.rates = sorted({math.log10(row["lr"]) for row in rows})
        self.batches = tuple(sorted({row["batch"] for row in rows}))
        self.epochs = len(rows[0][metric])
        self._curves = {(math.log10(row["lr"]), row["batch"], row["augment"]): row[metric] for row in rows}
        self.best = min(map(min, self._curves.values()))

    def space(self) -> Space:
        """Learning rate, batch, augmentation."""
        low, high = (10**rate for rate in (self.rates[0], self.rates[-1]))
        return Space(
            (number("lr", low, high, log=True), choice("batch", *self.batches), choice("augment", True, False))
        )

    def curve(self, values: Values) -> list[float]:
        """The metric after every epoch."""
        rate = min(max(math.log10(values["lr"]), self.rates[0]), self.rates[-1])
        place = min(bisect_right(self.rates, rate), len(self.rates) - 1)
        below, above = self.rates[place - 1], self.rates[place]
        share = (rate - below) / (above - below)
        low, high = (self._curves[end, values["batch"], values["augment"]] for end in (below, above))
        return [(1 - share) * a + share * b for a, b in zip(low, high, strict=True)]

    def lowest(self, values: Values) -> float:
        """The metric of the best epoch."""
        return min(self.curve(values))


def surfaces() -> dict[str, Surface]:
    """All surfaces by name; that of the recorded trainings is missing where the record is."""
    plane = Space((number("x", -5, 10), number("y", 0, 15)))
    mixed = (
        choice("optimizer", "adamw", "sgd"),
        number("lr", 1e-5, 1e-1, log=True),
        number("decay", 1e-6, 1e-2, log=True),
        number("momentum", 0.5, 0.99, only="optimizer=sgd"),
        choice("policy", "linear", "step", "cosine"),
        number("gamma", 0.1, 0.9, only="policy=step"),
        number("warmup", 0, 10, kind="int"),
        choice("batch", 8, 16, 32, 64),
        choice("augment", True, False),
    )
    found = [
        Surface("branin", plane, branin, 0.397887),
        Surface("hartmann", Space(tuple(number(f"x{place}", 0, 1) for place in range(6))), hartmann, -3.32237),
        Surface("rosenbrock", Space(tuple(number(f"x{n}", 1e-2, 1e2, log=True) for n in range(4))), rosenbrock, 0.0),
        Surface("mixed", Space(mixed), training_error, 0.0),
        Surface("noisy", plane, branin, 0.397887, noise=5.0),
    ]
    if TABLE.exists():
        table = Recorded()
        found.append(Surface("recorded", table.space(), table.lowest, table.best))
    return {surface.name: surface for surface in found}


def learning_curves() -> dict[str, Curves]:
    """Recorded and parametric learning curves by name."""
    space = Space((number("lr", 1e-6, 1e-1, log=True), number("decay", 1e-6, 1e-2, log=True)))
    found = [Curves("parametric", space, training_curve, 0.1, 27)]
    if TABLE.exists():
        table = Recorded()
        found.append(Curves("recorded", table.space(), table.curve, table.best, table.epochs))
    return {curves.name: curves for curves in found}
