"""A row of a data set and where it stands, and random numbers that depend on nothing else."""

from __future__ import annotations

import random
from typing import NamedTuple


class Place(NamedTuple):
    """A row and where in which epoch it stands; a sample's augmentation depends on nothing else but the seed."""

    row: int
    epoch: int
    position: int


def random_of(seed: int, *parts: int) -> random.Random:
    """A generator that is the same for the same numbers, on every machine and in every process."""
    return random.Random("/".join(str(part) for part in (seed, *parts)))
