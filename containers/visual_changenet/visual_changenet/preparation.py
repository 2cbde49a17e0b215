"""The pre-processing of the training, from a model's card alone: pictures of a pair to the arrays of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from visual_changenet.data.align import find_motion, registered
from visual_changenet.data.images import Pixels, load_rgb
from visual_changenet.data.pixels import Levels, combine, mean_light
from visual_changenet.errors import DataInvalidError
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.decision import Floats

Picture = Path | str | Pixels
Lights = Picture | Sequence[Picture]


@dataclass(frozen=True)
class Prepared:
    """``first`` and ``second`` are a batch of one for the model; ``golden`` and ``test`` what it sees, uint8 RGB."""

    first: Floats
    second: Floats
    golden: Pixels
    test: Pixels


class Preparation:
    """Resizes, registers, joins and normalises as the data sets of the training do for evaluation."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.lights = card.lights.num_input if card.lights else 1
        self.levels = Levels(card.mean, card.std)
        self.resample = Image.Resampling.BICUBIC if card.task == "segment" else Image.Resampling.BILINEAR

    def pair(self, golden: Lights | Sequence[Lights], test: Lights) -> Prepared:
        """Arrays of one pair.

        Args:
            golden, test: a file or uint8 RGB (H, W, 3) of any size; with several lights a sequence of them in the
                order of the card. With several golden images ``golden`` is a sequence of ``card.num_golden`` such.

        Raises:
            DataInvalidError: ``E_DATA_IMAGE`` (can not be read), ``E_PREDICT_INPUT`` (another number of images).
        """
        tests = self._pictures(test, "test")
        many: Sequence[Lights] = golden if self.card.num_golden > 1 else [golden]  # type: ignore[assignment,list-item]
        _check_count("golden", "golden images", self.card.num_golden, many)
        goldens = [self._pictures(one, "golden") for one in many]
        if self.card.task == "segment":
            motion = find_motion(goldens[0][0], tests[0], self.card.align)
            goldens = [[registered(goldens[0][0], motion)]]  # the mask belongs to the test image
        else:
            motion = find_motion(mean_light(tests), mean_light(goldens[0]), self.card.align)
            tests = [registered(image, motion) for image in tests]
        joined_test = combine(tests, self.card.columns)
        joined = [combine(lights, self.card.columns) for lights in goldens]
        seen = self.levels(joined_test)[None]
        wanted = np.stack([self.levels(image) for image in joined])
        if self.card.num_golden > 1:
            wanted = wanted[None]
        first, second = (wanted, seen) if self.card.task == "segment" else (seen, wanted)
        return Prepared(first, second, joined[0], joined_test)

    def _pictures(self, given: Lights, side: str) -> list[Pixels]:
        """Images of one object, one per light, in the size of the model."""
        lights = [given] if isinstance(given, Path | str | np.ndarray) else list(given)
        _check_count(side, "images, one per light", self.lights, lights)
        return [self._resized(picture, side) for picture in lights]

    def _resized(self, picture: Picture, side: str) -> Pixels:
        height, width = self.card.single_input
        if not isinstance(picture, np.ndarray):
            return load_rgb(Path(picture), (height, width), self.resample)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise DataInvalidError(
                "E_PREDICT_INPUT",
                f"{side} is an array of {picture.dtype} {list(picture.shape)}, not of uint8 [height, width, 3].",
                "give RGB pixels of 0 to 255",
            )
        if picture.shape[:2] == (height, width):
            return picture
        return np.array(Image.fromarray(picture).resize((width, height), self.resample), dtype=np.uint8)


def _check_count(side: str, what: str, wanted: int, given: Sequence[object]) -> None:
    if isinstance(given, Path | str | np.ndarray) or len(given) != wanted:
        count = 1 if isinstance(given, Path | str | np.ndarray) else len(given)
        raise DataInvalidError(
            "E_PREDICT_INPUT", f"{side} has {count}, the model takes {wanted} {what}.", f"give {wanted}"
        )
