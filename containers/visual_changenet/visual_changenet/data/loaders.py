"""Loaders over the data sets of both tasks."""

from __future__ import annotations

from typing import Any

import cv2
from torch.utils.data import DataLoader

from visual_changenet.data.classify import ClassifyDataset, Item, Split
from visual_changenet.data.order import EpochSampler
from visual_changenet.data.segment import SegmentDataset, SegmentItem, SegmentSplit
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


def train_loader(
    data: dict[str, Any], seed: int, *, devices: int = 1, pin: bool = False, rank: int = 0, world: int = 1
) -> DataLoader[Item]:
    """Weighted sampling with replacement, whole batches only; (B,3,H,W), (B,3,H,W), (B,1).

    The order and every augmentation are functions of seed, epoch (``loader.sampler.set_epoch``) and position,
    whatever the number of workers. ``rank`` of ``world`` processes gets its share of one global draw.

    Raises:
        DataInvalidError: ``E_DATA_TOO_SMALL`` where there is not one whole batch per device,
            ``E_DATA_CLASS_MISSING`` where all rows are PASS or none is.
    """
    dataset = ClassifyDataset(data, "train", seed)
    _check_size(len(dataset), data["batch_size"], max(devices, world), "classify", f"{dataset.table.path} has")
    _check_classes(dataset)
    weights = sampling_weights(dataset.targets(), data["fpratio_sampling"])
    sampler = EpochSampler(len(dataset), seed, weights=weights, rank=rank, world=world)
    return DataLoader(dataset, data["batch_size"], sampler=sampler, drop_last=True, **_loader_options(data, pin=pin))


def eval_loader(
    data: dict[str, Any],
    split: Split,
    *,
    batch_size: int | None = None,
    seed: int = 1234,
    pin: bool = False,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[Item]:
    """Rows ``rank::world`` in order, the last incomplete batch included."""
    dataset = ClassifyDataset(data, split, seed)
    share = range(rank, len(dataset), world)
    return DataLoader(dataset, batch_size or data["batch_size"], sampler=share, **_loader_options(data, pin=pin))


def segment_train_loader(
    data: dict[str, Any], seed: int, *, devices: int = 1, pin: bool = False, rank: int = 0, world: int = 1
) -> DataLoader[SegmentItem]:
    """Every pair once per epoch, whole batches only; (B,3,S,S), (B,3,S,S), (B,1,S,S) uint8, (B,) int64.

    In a new order every epoch where ``shuffle`` is true, else as listed; for the rest see ``train_loader``.

    Raises:
        DataInvalidError: ``E_DATA_TOO_SMALL`` where there is not one whole batch per device.
    """
    dataset = SegmentDataset(data, "train", seed)
    _check_size(len(dataset), data["batch_size"], max(devices, world), "segment", f"{dataset.list.path} names")
    sampler = EpochSampler(len(dataset), seed, shuffle=data["shuffle"], rank=rank, world=world)
    return DataLoader(dataset, data["batch_size"], sampler=sampler, drop_last=True, **_loader_options(data, pin=pin))


def segment_eval_loader(
    data: dict[str, Any],
    split: SegmentSplit,
    *,
    batch_size: int | None = None,
    seed: int = 1234,
    pin: bool = False,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[SegmentItem]:
    """Pairs ``rank::world`` in order, the last incomplete batch included."""
    dataset = SegmentDataset(data, split, seed)
    share = range(rank, len(dataset), world)
    return DataLoader(dataset, batch_size or data["batch_size"], sampler=share, **_loader_options(data, pin=pin))


def _check_size(count: int, batch: int, devices: int, task: str, source: str) -> None:
    if count < batch * devices:
        raise DataInvalidError(
            "E_DATA_TOO_SMALL",
            f"{source} {count} rows, less than {devices} batch(es) of {batch}.",
            f"set dataset.{task}.batch_size to at most {max(1, count // devices)}",
        )


def _check_classes(dataset: ClassifyDataset) -> None:
    defects = sum(dataset.targets())
    if 0 < defects < len(dataset):
        return
    missing = "no row with the label PASS" if defects else "no defect: the label of every row is PASS"
    raise DataInvalidError(
        "E_DATA_CLASS_MISSING",
        f"{dataset.table.path} has {missing}; a comparison is learnt from both.",
        "add rows of the other class",
    )


def _loader_options(data: dict[str, Any], *, pin: bool) -> dict[str, Any]:
    workers: int = data["workers"]
    # Here too, before workers are forked: a forked copy of OpenCV's thread pool has no threads and waits forever.
    cv2.setNumThreads(1)
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": pin,
        "worker_init_fn": _start_worker,
    }


def _start_worker(number: int) -> None:
    # Workers run beside each other; threads inside one only fight for the same cores.
    cv2.setNumThreads(1)
