"""One pair after the other through a trained model, for programs on a line.

::

    from visual_changenet import Predictor

    predictor = Predictor("model.onnx")
    found = predictor.predict("golden.png", "test.png")
    print(found.score, found.decision)

ONNX Runtime is all that an ``.onnx`` file needs beside numpy, Pillow and OpenCV; torch is not imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.images import Pixels
from visual_changenet.errors import SpecError
from visual_changenet.preparation import Lights, Preparation, Prepared
from visual_changenet.runtime import Device, Runtime, open_runtime
from visual_changenet.runtime.decision import score_values

CHECKPOINTS = (".pth", ".safetensors", ".ckpt", ".tlt")


@dataclass(frozen=True)
class Prediction:
    """What a model says of a pair.

    Attributes:
        score: classify: the defect score, a probability 0..1 or a distance >= 0. segment: the highest probability of
            a change over all pixels, 0..1.
        decision: ``NO_PASS`` or ``PASS``; segment: ``CHANGE`` or ``NO_CHANGE``.
        mask: segment: class per pixel, uint8 (S, S) in the size of the model, 0 is no change; classify: None.
        golden, test: what the model saw, uint8 RGB (H, W, 3).
    """

    score: float
    decision: str
    mask: NDArray[np.uint8] | None
    golden: Pixels
    test: Pixels


class Predictor:
    """An opened model.

    Args:
        model: ``.onnx`` of action export or quantize, ``.engine`` of action gen_trt_engine, or ``.pth`` of a training
            (needs torch).
        margin: a score above it is a defect; None takes the model's. Not for segment, where the largest class counts.
        device: auto and gpu take a GPU that works, else the CPU.
        threads: of the CPU; None leaves the choice to the library.

    Attributes:
        card: what the model is and wants. provider: what computes. notices: what the user should know.

    Raises:
        MissingFileError, DataInvalidError, SpecError: as ``open_runtime``; ``E_PREDICT_MARGIN``.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        margin: float | None = None,
        device: Device = "auto",
        threads: int | None = None,
    ) -> None:
        self._runtime = _opened(Path(model), device, threads)
        self.card, self.provider = self._runtime.card, self._runtime.provider
        self.notices = self._runtime.notices
        if margin is not None and self.card.margin is None:
            raise SpecError("E_PREDICT_MARGIN", "a margin is given, but masks have none.", "leave the margin out")
        self.margin = self.card.margin if margin is None else margin
        self._preparation = Preparation(self.card)

    def predict(self, golden: Lights | Sequence[Lights], test: Lights) -> Prediction:
        """Compare ``test`` with ``golden``; see ``Preparation.pair`` for what both may be.

        Raises:
            DataInvalidError: ``E_DATA_IMAGE``, ``E_PREDICT_INPUT``.
        """
        pair = self._preparation.pair(golden, test)
        values = score_values(self.card, self._runtime.run(pair.first, pair.second))
        return (
            self._mask(pair, values[0]) if self.margin is None else self._decided(pair, float(values[0]), self.margin)
        )

    def _decided(self, pair: Prepared, score: float, margin: float) -> Prediction:
        return Prediction(score, "NO_PASS" if score > margin else "PASS", None, pair.golden, pair.test)

    def _mask(self, pair: Prepared, probabilities: NDArray[np.float32]) -> Prediction:
        classes = probabilities.argmax(axis=0).astype(np.uint8)
        score = float((1 - probabilities[0]).max())
        return Prediction(score, "CHANGE" if classes.any() else "NO_CHANGE", classes, pair.golden, pair.test)


def _opened(model: Path, device: Device, threads: int | None) -> Runtime:
    if model.suffix.lower() not in CHECKPOINTS:
        return open_runtime(model, device, threads)
    from visual_changenet.runtime.network_runtime import NetworkRuntime

    return NetworkRuntime(model, device, threads)
