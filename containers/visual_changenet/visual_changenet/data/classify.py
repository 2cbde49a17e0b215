"""The classify data set: pairs of test and golden images with a PASS / NO_PASS label."""

from __future__ import annotations

import random
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from visual_changenet.data.align import Alignment, Motion, find_motion, registered
from visual_changenet.data.augment import Augmenter, Draw
from visual_changenet.data.cache import disk_cache
from visual_changenet.data.images import Pixels, load_rgb
from visual_changenet.data.input_size import classify_input_size
from visual_changenet.data.pixels import Floats, Levels, combine, mean_light
from visual_changenet.data.place import Place, random_of
from visual_changenet.data.store import PixelStore
from visual_changenet.data.table import Row, Table, read_table
from visual_changenet.errors import DataInvalidError, MissingFileError, SpecError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    Base = Dataset["Item"]
else:
    Base = object  # a loader asks for the length and for items only; where models are run there is no torch

Split = Literal["train", "validation", "test", "infer"]
Item = tuple["Tensor", "Tensor", "Tensor"]


class ClassifyDataset(Base):
    """Items are (test (3,H,W), golden (3,H,W) or (N,3,H,W), label (1,): 0 PASS, 1 defect), all float32.

    Args:
        data: the resolved ``dataset.classify`` section.
        split: which of its four sub-sections names the CSV and the images.
        seed: fixes the choice of goldens where num_golden > 1.

    Raises:
        MissingFileError: the CSV or the images folder does not exist.
        DataInvalidError: the CSV or an image can not be used; the message names file and row.
        SpecError: lights and num_input disagree.
    """

    def __init__(self, data: dict[str, Any], split: Split, seed: int = 1234) -> None:
        source, key = data[f"{split}_dataset"], f"dataset.classify.{split}_dataset"
        self.table: Table = read_table(source["csv_path"] or "", key=f"{key}.csv_path", labelled=split != "infer")
        self.images_dir = _folder(source["images_dir"], f"{key}.images_dir")
        self.extension: str = data["image_ext"]
        self.suffixes = light_suffixes(data)
        self.columns = data["grid_map"]["x"] if data["concat_type"] == "grid" and data["num_input"] > 1 else 1
        classify_input_size(data)
        self.num_golden: int = data["num_golden"]
        self.align: Alignment = data.get("align") or "none"
        self.seed = seed
        options = data["augmentation_config"]
        self.normalise = Levels(options["rgb_input_mean"], options["rgb_input_std"])
        size = (data["image_height"], data["image_width"])
        augmented = split == "train" and options["augment"]
        self.augmenter = Augmenter(options, size) if augmented else None
        resample = Image.Resampling.BICUBIC if augmented else Image.Resampling.BILINEAR
        self._motions: dict[int, Motion | None] = {}
        self._folders: dict[str, list[list[Path]]] = {}
        self._files = [(self.paths(row, "input_path"), self.golden_paths(row)) for row in self.table.rows]
        self.store = PixelStore(
            self._check_files(),
            (*size, 3),
            partial(load_rgb, size=size, resample=resample),
            cache=disk_cache(data.get("cache_dir"), (*size, 3), f"rgb {resample.name}"),
        )

    def __len__(self) -> int:
        return len(self.table.rows)

    def targets(self) -> list[int]:
        """0 PASS, 1 defect, in row order."""
        return [row.target for row in self.table.rows]

    def paths(self, row: Row, folder: str) -> list[Path]:
        """The files of one object, one per light, in input_map order."""
        stem = self.images_dir / row.cells[folder]
        return [stem / f"{row.cells['object_name']}{suffix}{self.extension}" for suffix in self.suffixes]

    def golden_paths(self, row: Row) -> list[list[Path]]:
        """Files per golden and light. With several goldens ``golden_path`` is a folder to choose from.

        The choice depends on the seed and the folder only, so it is the same in every evaluation.
        """
        if self.num_golden == 1:
            return [self.paths(row, "golden_path")]
        name = row.cells["golden_path"]
        if name not in self._folders:
            self._folders[name] = self._choose_goldens(row, self.images_dir / name)
        return self._folders[name]

    def _choose_goldens(self, row: Row, folder: Path) -> list[list[Path]]:
        endings = [f"{suffix}{self.extension}" for suffix in self.suffixes]
        found = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        stems = sorted({name[: -len(e)] for name in found for e in endings if name.endswith(e)})
        if not stems:
            raise self._row_error(row, "E_DATA_IMAGE_MISSING", f"{folder} has no image {endings[0]!r}")
        rng = random.Random(zlib.crc32(str(folder).encode()) ^ (self.seed & 0xFFFFFFFF))
        enough = len(stems) >= self.num_golden
        chosen = rng.sample(stems, self.num_golden) if enough else rng.choices(stems, k=self.num_golden)
        return [[folder / f"{stem}{ending}" for ending in endings] for stem in chosen]

    def pixels(self, index: int) -> tuple[list[Pixels], list[list[Pixels]]]:
        """uint8 images before augmentation: test lights, and lights per golden; the test registered if asked."""
        tests, references = self._files[index]
        test = [self.store.get(path) for path in tests]
        goldens = [[self.store.get(path) for path in paths] for paths in references]
        if self.align != "none":
            if index not in self._motions:
                self._motions[index] = find_motion(mean_light(test), mean_light(goldens[0]), self.align)
            test = [registered(image, self._motions[index]) for image in test]
        return test, goldens

    def __getitem__(self, place: int | Place) -> Item:
        import torch

        test, golden, label = self.arrays(place)
        return torch.from_numpy(test), torch.from_numpy(golden), torch.from_numpy(label)

    def arrays(self, place: int | Place) -> tuple[Floats, Floats, Floats]:
        """The item as arrays."""
        index, epoch, position = place if isinstance(place, Place) else (place, 0, place)
        test, goldens = self.pixels(index)
        draw = self.augmenter.draw(random_of(self.seed, epoch, position)) if self.augmenter else Draw()
        unit = self._array(test, draw)
        references = [self._array(golden, draw) for golden in goldens]
        golden = references[0] if self.num_golden == 1 else np.stack(references)
        return unit, golden, np.array([self.table.rows[index].target], np.float32)

    def _array(self, lights: list[Pixels], draw: Draw) -> Floats:
        if self.augmenter is not None:
            lights = [draw.apply(image) for image in lights]
        return self.normalise(combine(lights, self.columns))

    def _check_files(self) -> list[Path]:
        """All image files; the first one that is missing is an error."""
        known: dict[Path, bool] = {}
        for row, (tests, references) in zip(self.table.rows, self._files, strict=True):
            for path in [*tests, *(path for golden in references for path in golden)]:
                if path not in known:
                    known[path] = path.is_file()
                if not known[path]:
                    raise self._row_error(row, "E_DATA_IMAGE_MISSING", f"there is no image {path}")
        return list(known)

    def _row_error(self, row: Row, code: str, what: str) -> DataInvalidError:
        return DataInvalidError(
            code,
            f"{self.table.path} row {row.line}: {what}.",
            "correct the row, dataset.classify.image_ext, input_map or images_dir",
        )


def light_suffixes(data: dict[str, Any]) -> list[str]:
    """File name suffixes in the order of input_map's keys; its integer values do not matter.

    Raises:
        SpecError: ``E_SPEC_LIGHTS`` where the number of lights is not num_input.
    """
    lights = data.get("input_map") or {}
    count = len(lights) or 1
    if count != data["num_input"]:
        raise SpecError(
            "E_SPEC_LIGHTS",
            f"dataset.classify.input_map names {count} image(s), but num_input is {data['num_input']}.",
            f"set dataset.classify.num_input to {count}, or correct input_map",
        )
    return [f"_{name}" for name in lights] or [""]


def _folder(value: str | None, key: str) -> Path:
    if not value or not Path(value).is_dir():
        raise MissingFileError(
            "E_DATA_FOLDER_MISSING",
            f"{key} is {value!r}, which is not a folder.",
            f"set {key} to the images' folder",
        )
    return Path(value)
