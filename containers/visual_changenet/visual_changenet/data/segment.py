"""The segment data set: golden and test images with a mask of what changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from visual_changenet.data.align import Alignment, Motion, find_motion, registered
from visual_changenet.data.augment import Augmenter
from visual_changenet.data.cache import disk_cache
from visual_changenet.data.images import Pixels, load_rgb
from visual_changenet.data.masks import IGNORED, MaskRule, load_classes, mask_notices
from visual_changenet.data.pixels import Floats, Levels
from visual_changenet.data.place import Place, random_of
from visual_changenet.data.splits import Entry, SplitList, find_list, split_list
from visual_changenet.data.store import PixelStore
from visual_changenet.errors import DataInvalidError, MissingFileError

SegmentSplit = Literal["train", "validation", "test", "predict"]
if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    Base = Dataset["SegmentItem"]
else:
    Base = object  # a loader asks for the length and for items only; where models are run there is no torch
SegmentItem = tuple["Tensor", "Tensor", "Tensor", int]


class SegmentDataset(Base):
    """Items are (golden (3,S,S) float32, test (3,S,S) float32, mask (1,S,S) uint8, row number).

    The mask holds class indices, 255 is ignored; without masks it is 255 everywhere. Augmentation (split train
    only) is drawn from seed, epoch and position; a plain index stands for that position in epoch 0.

    Args:
        data: the resolved ``dataset.segment`` section.
        split: which of its four lists; predict falls back to the list of test and needs no masks.
        seed: fixes the augmentation.
        labelled: False reads no masks.

    Attributes:
        names: the file names in order. notices: what was changed or ignored that a user should know.

    Raises:
        MissingFileError: a folder or the list does not exist.
        DataInvalidError: the list, an image or a mask can not be used; the message names file and line.
    """

    def __init__(self, data: dict[str, Any], split: SegmentSplit, seed: int = 1234, labelled: bool = True) -> None:
        self.data, self.seed = data, seed
        self.labelled = labelled and split != "predict"
        self.notices: list[str] = []
        root = _folder(data["root_dir"], "dataset.segment.root_dir")
        self.folders = {key: _below(root, data, key) for key in _FOLDER_KEYS if key in _ALWAYS or self.labelled}
        self.list = self._find_list(split)
        self.names = [entry.name for entry in self.list.entries]
        self.rule = MaskRule.of(data)
        self._files = [self._pair(entry) for entry in self.list.entries]
        self._masks = [self._mask_path(entry) for entry in self.list.entries] if self.labelled else []
        side: int = data["img_size"]
        self.size = (side, side)
        options = data["augmentation"]
        train = split == "train"
        self.augmenter = Augmenter(options, self.size) if train else None
        self.normalise = Levels(options["mean"], options["std"])
        self.align: Alignment = data.get("align") or "none"
        self._motions: dict[int, Motion | None] = {}
        self._images, self._classes = self._stores()
        self.notices += mask_notices(self._masks, self.rule)

    def _stores(self) -> tuple[PixelStore, PixelStore]:
        """Decoded images and masks."""
        folder, resample = self.data.get("cache_dir"), Image.Resampling.BICUBIC
        shape = (*self.size, 3)
        load = partial(load_rgb, size=self.size, resample=resample)
        images = [path for pair in self._files for path in pair]
        classes = partial(load_classes, rule=self.rule, size=self.size)
        return (
            PixelStore(images, shape, load, cache=disk_cache(folder, shape, f"rgb {resample.name}")),
            PixelStore(self._masks, self.size, classes, cache=disk_cache(folder, self.size, f"mask {self.rule}")),
        )

    def __len__(self) -> int:
        return len(self.names)

    def pictures(self, index: int) -> tuple[Pixels, Pixels, Pixels | None]:
        """uint8 before augmentation: golden (S,S,3), test (S,S,3) and classes (S,S), None without masks.

        Registration moves the golden image: the mask belongs to the test image.
        """
        golden, test = (self._images.get(path) for path in self._files[index])
        if self.align != "none":
            if index not in self._motions:
                self._motions[index] = find_motion(golden, test, self.align)
            golden = registered(golden, self._motions[index])
        return golden, test, self._classes.get(self._masks[index]) if self.labelled else None

    def __getitem__(self, place: int | Place) -> SegmentItem:
        import torch

        golden, test, mask, index = self.arrays(place)
        return torch.from_numpy(golden), torch.from_numpy(test), torch.from_numpy(mask), index

    def arrays(self, place: int | Place) -> tuple[Floats, Floats, Pixels, int]:
        """The item as arrays."""
        index, epoch, position = place if isinstance(place, Place) else (place, 0, place)
        golden, test, mask = self.pictures(index)
        if mask is None:
            mask = np.full(self.size, IGNORED, np.uint8)
        if self.augmenter is not None:
            draw = self.augmenter.draw(random_of(self.seed, epoch, position))
            golden, test, mask = draw.apply(golden), draw.apply(test), draw.apply_mask(mask)
        return self.normalise(golden), self.normalise(test), mask.copy()[None], index

    def _find_list(self, split: SegmentSplit) -> SplitList:
        lists, images = self.folders["list_folder_name"], self.folders["image_folder_name"]
        if split == "predict" and find_list(lists, self.data["predict_split"] or "predict") is None:
            wanted, used = self.data["predict_split"], self.data["test_split"]
            self.notices.append(f"{lists} has no list {wanted!r} (predict_split); the list {used!r} is used instead.")
            split = "test"
        key = f"{split}_split"
        return split_list(lists, self.data[key] or "", images, key=f"dataset.segment.{key}")

    def _pair(self, entry: Entry) -> tuple[Path, Path]:
        golden = self.folders["image_folder_name"] / entry.name
        test = self.folders["change_image_folder_name"] / entry.name
        if not test.is_file():
            raise self._line_error(entry, "E_DATA_IMAGE_MISSING", f"there is no image {test}")
        return golden, test

    def _mask_path(self, entry: Entry) -> Path:
        """As published ``.jpg`` becomes ``label_suffix`` wherever it stands; else the ending, whichever it is."""
        folder, suffix = self.folders["annotation_folder_name"], self.data["label_suffix"]
        published = folder / entry.name.replace(".jpg", suffix)
        name = PurePosixPath(entry.name)
        by_stem = folder / name.parent / f"{name.stem}{suffix}"
        if published.is_file():
            return published
        if not by_stem.is_file():
            raise self._line_error(entry, "E_DATA_MASK_MISSING", f"there is no mask {by_stem}")
        return by_stem

    def _line_error(self, entry: Entry, code: str, what: str) -> DataInvalidError:
        return DataInvalidError(
            code,
            f"{self.list.path} line {entry.line}: {what}.",
            "add the file, remove the line, or correct dataset.segment's folder names or label_suffix",
        )


_ALWAYS = ("list_folder_name", "image_folder_name", "change_image_folder_name")
_FOLDER_KEYS = (*_ALWAYS, "annotation_folder_name")


def _folder(value: str | None, key: str) -> Path:
    if not value or not Path(value).is_dir():
        raise MissingFileError(
            "E_DATA_FOLDER_MISSING", f"{key} is {value!r}, which is not a folder.", f"set {key} to the data's folder"
        )
    return Path(value)


def _below(root: Path, data: dict[str, Any], key: str) -> Path:
    folder = root / str(data[key])
    if not folder.is_dir():
        raise MissingFileError(
            "E_DATA_FOLDER_MISSING",
            f"dataset.segment.{key} is {data[key]!r}, but {folder} is not a folder.",
            f"make the folder, or set dataset.segment.{key} to its name",
        )
    return folder
