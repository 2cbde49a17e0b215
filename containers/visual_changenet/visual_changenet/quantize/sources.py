"""Where the pairs come from that a quantized model is calibrated on and measured with."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from visual_changenet.data.classify import ClassifyDataset
from visual_changenet.data.loaders import eval_loader, segment_eval_loader
from visual_changenet.data.segment import SegmentDataset
from visual_changenet.errors import ChangeNetError, DataInvalidError
from visual_changenet.export.pairs import SEGMENT_PLACES, Pairs

CALIBRATION_PAIRS = 32
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
EVALUATED = {"classify": ("test_dataset", "validation_dataset"), "segment": ("test_split", "validation_split")}
CALIBRATED = {"classify": ("train_dataset", "validation_dataset"), "segment": ("train_split", "validation_split")}

Spec = dict[str, Any]


def evaluation_data(specs: Sequence[Spec], batch: int) -> tuple[DataLoader[Any], str] | None:
    """Labelled pairs in order, and where they are from; None where there are none.

    Args:
        specs: the given spec, complete, then those that are known of the model's past, which may be partial.
            Test data is taken before validation data, a spec before the next.

    Raises:
        MissingFileError, DataInvalidError: data that the given spec itself names can not be used.
    """
    task = specs[0]["task"]
    for place, spec in enumerate(specs):
        for data, name in _data(specs[0], spec, EVALUATED[task]):
            try:
                if task == "segment":
                    return segment_eval_loader(data, "test", batch_size=batch), name
                return eval_loader(data, "test", batch_size=batch), name
            except ChangeNetError as error:
                if place == 0 and error.code != "E_DATA_LIST_MISSING":
                    raise
    return None


def calibration_pairs(specs: Sequence[Spec]) -> tuple[Pairs, bool]:
    """At most ``CALIBRATION_PAIRS`` pairs, evenly spread, in the order of the model's inputs.

    Args:
        specs: as for ``evaluation_data``.

    Returns:
        The pairs, and whether they are those of ``quant_calibration_dataset``.

    Raises:
        DataInvalidError: ``E_QUANTIZE_CALIBRATION`` where no pairs can be read, and what the folder's pairs lack.
    """
    spec, task = specs[0], specs[0]["task"]
    folder = spec["dataset"][task]["quant_calibration_dataset"]["images_dir"]
    if folder:
        with TemporaryDirectory(prefix="calibration-") as scratch:
            return _read(*_folder_data(spec, Path(folder), Path(scratch))), True
    for past in specs:
        for data, name in _data(spec, past, CALIBRATED[task]):
            try:
                return _read(data, name), False
            except ChangeNetError:
                continue  # not on this machine: other pairs of the same kind serve as well
    raise DataInvalidError(
        "E_QUANTIZE_CALIBRATION",
        f"there are no pairs to calibrate with: dataset.{task}.quant_calibration_dataset.images_dir is empty, and "
        "neither the spec nor the model's own names training or validation data that can be read.",
        f"set dataset.{task}.quant_calibration_dataset.images_dir, or the training data",
    )


def _data(spec: Spec, candidate: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[Spec, str]]:
    """Data sections of the spec, each with the pairs that the candidate has under one of the names."""
    task = spec["task"]
    ours, theirs = spec["dataset"][task], candidate.get("dataset", {}).get(task, {})
    for name in names:
        if task == "segment":
            if theirs.get("root_dir") and theirs.get(name):
                places = {key: theirs[key] for key in (*SEGMENT_PLACES, *SEGMENT_MASKS) if key in theirs}
                split = {"test_split": theirs[name], "predict_split": theirs[name], "cache_dir": None}
                yield ours | places | split, f"{theirs['root_dir']}, list {theirs[name]}"
        elif (theirs.get(name) or {}).get("csv_path"):
            tables = {"test_dataset": theirs[name], "infer_dataset": theirs[name], "cache_dir": None}
            yield ours | tables | {"image_ext": theirs.get("image_ext", ".jpg")}, theirs[name]["csv_path"]


SEGMENT_MASKS = ("annotation_folder_name", "label_suffix", "label_transform")


def _folder_data(spec: Spec, folder: Path, scratch: Path) -> tuple[Spec, str]:
    """The data section for a folder of calibration images.

    classify: a CSV in the folder; else its folders ``golden`` and ``test``; else the spec's CSV, whose images then
    lie below the folder. segment: a ``root_dir`` of its own, all images that both of its folders have.
    """
    data = spec["dataset"][spec["task"]]
    if spec["task"] == "segment":
        first, second = data["image_folder_name"], data["change_image_folder_name"]
        names = _common(folder / first, folder / second)
        _check(names, folder, f"the folders {first} and {second} with images of equal names")
        (scratch / "all.txt").write_text("\n".join(names), encoding="utf-8")
        own = {"root_dir": str(folder), "list_folder_name": str(scratch), "predict_split": "all", "cache_dir": None}
        return data | own, str(folder)
    tables = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    names = _common(folder / "golden", folder / "test")
    known = [data[name]["csv_path"] for name in CALIBRATED["classify"] if data[name]["csv_path"]]
    extension = data["image_ext"]
    if not tables and names:
        tables, extension = [_table(names, scratch)], ""
    _check(tables or known, folder, "a CSV file, or the folders golden and test with images of equal names")
    source = {"csv_path": str((tables or known)[0]), "images_dir": str(folder)}
    return data | {"infer_dataset": source, "image_ext": extension, "cache_dir": None}, str(folder)


def _table(names: Sequence[str], scratch: Path) -> Path:
    """A CSV of pairs in ``test`` and ``golden``; object names with their endings."""
    path = scratch / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_path", "golden_path", "object_name"])
        writer.writerows(["test", "golden", name] for name in names)
    return path


def _common(first: Path, second: Path) -> list[str]:
    """Names of pictures that lie in both folders."""
    found = [
        {path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES} if folder.is_dir() else set()
        for folder in (first, second)
    ]
    return sorted(found[0] & found[1])


def _check(found: Sequence[object], folder: Path, wanted: str) -> None:
    if not found:
        raise DataInvalidError(
            "E_QUANTIZE_CALIBRATION",
            f"{folder}, the folder of calibration images, has no pairs; it needs {wanted}.",
            "correct quant_calibration_dataset.images_dir, or leave it empty to calibrate on the training pairs",
        )


def _read(data: Spec, name: str) -> Pairs:
    source: ClassifyDataset | SegmentDataset = (
        SegmentDataset(data, "predict") if "img_size" in data else ClassifyDataset(data, "infer")
    )
    count = min(CALIBRATION_PAIRS, len(source))
    chosen = [source[index * len(source) // count] for index in range(count)]
    first, second = (np.stack([np.asarray(item[side]) for item in chosen]) for side in (0, 1))
    return Pairs(first, second, name)
