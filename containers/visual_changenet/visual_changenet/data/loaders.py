"""Loaders over the classify data set."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

from visual_changenet.data.classify import ClassifyDataset, Item, Split
from visual_changenet.errors import DataInvalidError


def sampling_weights(targets: list[int], fpratio: float) -> list[float]:
    """Weight per row: PASS 1, defect ``passes / defects * fpratio``, so that defects : passes is fpratio : 1.

    Where one of the two classes is absent all rows weigh the same.
    """
    defects = sum(targets)
    passes = len(targets) - defects
    if not defects or not passes or fpratio <= 0:
        return [1.0] * len(targets)
    weight = passes / defects * fpratio
    return [weight if target else 1.0 for target in targets]


def _loader_options(data: dict[str, Any], *, pin: bool) -> dict[str, Any]:
    workers: int = data["workers"]
    return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": pin}


def train_loader(data: dict[str, Any], seed: int, *, devices: int = 1, pin: bool = False) -> DataLoader[Item]:
    """Weighted sampling with replacement, whole batches only; (B,3,H,W), (B,3,H,W), (B,1).

    Raises:
        DataInvalidError: ``E_DATA_TOO_SMALL`` where there is not one whole batch.
    """
    dataset = ClassifyDataset(data, "train", seed)
    batch = data["batch_size"]
    if len(dataset) < batch * devices:
        raise DataInvalidError(
            "E_DATA_TOO_SMALL",
            f"{dataset.table.path} has {len(dataset)} rows, less than {devices} batch(es) of {batch}.",
            f"set dataset.classify.batch_size to at most {max(2, len(dataset) // devices)}",
        )
    weights = sampling_weights(dataset.targets(), data["fpratio_sampling"])
    generator = torch.Generator().manual_seed(max(seed, 0))
    sampler = WeightedRandomSampler(weights, len(dataset), replacement=True, generator=generator)
    return DataLoader(dataset, batch, sampler=sampler, drop_last=True, **_loader_options(data, pin=pin))


def eval_loader(
    data: dict[str, Any], split: Split, *, batch_size: int | None = None, seed: int = 1234, pin: bool = False
) -> DataLoader[Item]:
    """Rows in order, the last incomplete batch included."""
    dataset = ClassifyDataset(data, split, seed)
    return DataLoader(dataset, batch_size or data["batch_size"], **_loader_options(data, pin=pin))
