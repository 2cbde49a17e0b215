"""The order of an epoch: a function of seed and epoch, shared out between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from visual_changenet.data.place import Place


class EpochSampler(Sampler[Place]):
    """One global draw per epoch, of which this process gets every ``world``-th row.

    Args:
        count: rows of the data set.
        seed: with the epoch it fixes the order.
        weights: draws with replacement by these weights; None takes every row once.
        shuffle: False keeps the rows in order (without weights only).
        rank, world: this process and the number of processes; all get equally many rows.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        *,
        weights: list[float] | None = None,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.shuffle = shuffle
        self.epoch = 0
        self._resumed = (0, 0)

    def resume_at(self, epoch: int, done: int) -> None:
        """The next iteration draws ``epoch`` (from 0) without the first ``done`` rows of this process."""
        self.epoch, self._resumed = epoch, (epoch, done)

    def set_epoch(self, epoch: int) -> None:
        """The epoch (from 0) that the next iteration draws, never one before that of ``resume_at``.

        Lightning calls this itself. It counts an epoch as done only after the callbacks that save it, and so
        names the saved epoch once more when a run continues.
        """
        self.epoch = max(epoch, self._resumed[0])

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[Place]:
        order, epoch = self._order(), self.epoch
        done = self._resumed[1] if self._resumed[0] == epoch else 0
        for position in range(self.rank + done * self.world, len(self) * self.world, self.world):
            yield Place(order[position], epoch, position)

    def _order(self) -> list[int]:
        if self.weights is None and not self.shuffle:
            return list(range(self.count))
        digest = hashlib.sha256(f"order/{self.seed}/{self.epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        if self.weights is None:
            found = torch.randperm(self.count, generator=generator)
        else:
            found = torch.multinomial(self.weights, self.count, True, generator=generator)
        return [int(index) for index in found]
