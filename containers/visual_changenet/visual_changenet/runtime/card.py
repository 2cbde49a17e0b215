"""The card of an exported model: all that a program needs to feed it and to read its answer.

It is stored as JSON under ``METADATA_KEY`` in the ``metadata_props`` of an ONNX file, and beside an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from visual_changenet.errors import DataInvalidError

METADATA_KEY = "visual_changenet"


@dataclass(frozen=True)
class Lights:
    """How the images of one object are joined to one input; the names are those of ``dataset.classify``."""

    num_input: int
    input_map: dict[str, int] | None
    concat_type: Literal["linear", "grid"]
    grid_map: dict[str, int]


@dataclass(frozen=True)
class Card:
    """What an exported model is and what it wants.

    Attributes:
        task: ``classify`` or ``segment``.
        classes: number of logits; a network of distances has none, its card names the classes of its labels.
        margin: a score above it is a defect; None for segment, where the largest logit decides.
        score: ``softmax`` (classify: probability of class 1, segment: probabilities per pixel) or ``distance``.
        input: (height, width) in pixels of one network input, all lights joined.
        mean, std: per channel (R, G, B), of pixel values divided by 255.
        lights: None for segment.
        num_golden: golden images per test image; above 1 the second input is (B, N, 3, H, W).
        align: registration of a pair before it is normalised, ``none``, ``translation`` or ``ecc``.
        precision: number format of the computation, e.g. ``fp32``.
        spec_sha256: of the ``experiment.yaml`` that the export wrote.
        parent_run: id of the run whose checkpoint this is, where it is known.
        package_version: of the package that wrote the card.
    """

    task: Literal["classify", "segment"]
    classes: int
    margin: float | None
    score: Literal["softmax", "distance"]
    input: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    lights: Lights | None
    num_golden: int
    align: Literal["none", "translation", "ecc"]
    precision: str
    spec_sha256: str
    parent_run: str | None
    package_version: str

    @property
    def input_names(self) -> tuple[str, str]:
        """classify: test, golden. segment: golden, test."""
        return ("input0", "input1") if self.task == "segment" else ("input_1", "input_2")

    @property
    def output_names(self) -> tuple[str, ...]:
        """segment: five maps of logits, coarse to fine; classify: logits (B, classes) or distances (B,)."""
        if self.task == "segment":
            return ("output0", "output1", "output2", "output3", "output_final")
        return ("output",)

    @property
    def batch_axis(self) -> str:
        """Name of the first axis where the batch is dynamic."""
        return "batch_size" if self.task == "segment" else "batch"

    @property
    def columns(self) -> int:
        """Lights beside each other in one row of the input."""
        lights = self.lights
        return lights.grid_map["x"] if lights and lights.concat_type == "grid" and lights.num_input > 1 else 1

    @property
    def single_input(self) -> tuple[int, int]:
        """(height, width) in pixels of the image of one light."""
        rows = (self.lights.num_input if self.lights else 1) // self.columns
        return self.input[0] // rows, self.input[1] // self.columns

    def shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of both inputs."""
        one = (3, *self.input)
        goldens = (self.num_golden,) if self.num_golden > 1 else ()
        return (batch, *one), (batch, *goldens, *one)

    def to_json(self) -> str:
        """One line of JSON."""
        return _CARD.dump_json(self).decode()

    @staticmethod
    def from_json(text: str, where: str) -> Card:
        """The card that ``to_json`` wrote; entries of a later version are passed over.

        Raises:
            DataInvalidError: ``E_CARD_INVALID`` naming ``where`` and the first entry that is wrong.
        """
        try:
            return _CARD.validate_json(text)
        except ValidationError as error:
            problem: Any = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "the text"
            raise DataInvalidError(
                "E_CARD_INVALID",
                f"the card of {where} can not be read: {place}: {problem['msg']}.",
                "export the model again with visual_changenet export",
            ) from error


_CARD = TypeAdapter(Card)
