"""Running an exported model, whichever library computes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from visual_changenet.errors import MissingFileError, SpecError
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.engines import open_engine
from visual_changenet.runtime.sidecar import sidecar_path

__all__ = ["Batch", "Device", "Floats", "Runtime", "open_runtime"]

Device = Literal["auto", "gpu", "cpu"]
Floats = NDArray[np.float32]

ENGINE = ".engine"
ONNX_FIRST_BYTE = b"\x08"  # field 1 of a ModelProto, ir_version, is written first


class Batch(NamedTuple):
    """How many pairs the model itself takes at once; None is any number. ``Runtime.run`` takes any number."""

    minimum: int
    maximum: int | None


class Runtime(Protocol):
    """An opened model.

    Attributes:
        card: what it is and wants.
        provider: what really computes, e.g. ``CPUExecutionProvider``.
        batch: the batch of the model itself.
        notices: what the user should know, e.g. that a GPU was asked for and the CPU computes.
    """

    card: Card
    provider: str
    batch: Batch
    notices: tuple[str, ...]

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """Outputs in the order of ``card.output_names``, float32, as many rows as pairs.

        Args:
            first, second: normalised images (B, 3, H, W) in the order of ``card.input_names``; the second is
                (B, N, 3, H, W) with N > 1 golden images. B >= 1; batches that the model does not take are cut
                into pieces, the last piece is filled up and its surplus cut off.

        Raises:
            DataInvalidError: ``E_RUNTIME_INPUT`` where shapes or dtype do not fit.
        """


def open_runtime(path: Path, device: Device = "auto", threads: int | None = None) -> Runtime:
    """Open an exported model by what the file is: an ONNX file, or an engine with its sidecar.

    An engine on a machine without TensorRT or GPU, or with ``device`` cpu, gives its ONNX file; ``notices`` says so.

    Args:
        device: as ``train.device``; auto and gpu take a GPU that works, else the CPU, and ``notices`` says so.
        threads: of the CPU; None leaves the choice to the library.

    Raises:
        MissingFileError: ``E_MODEL_MISSING``, ``E_ENGINE_SIDECAR``, ``E_ENGINE_LIBRARY``. SpecError:
        ``E_RUNTIME_KIND`` (neither ONNX nor an engine), ``E_RUNTIME_LIBRARY`` (ONNX Runtime is not installed).
        DataInvalidError: ``E_ONNX_INVALID``, ``E_ONNX_FOREIGN``, ``E_CARD_INVALID``, ``E_ENGINE_SIDECAR``,
        ``E_ENGINE_MISMATCH``, ``E_ENGINE_INVALID``.
    """
    if not path.is_file():
        raise MissingFileError("E_MODEL_MISSING", f"there is no model file {path}.", "name an .onnx or .engine file")
    with path.open("rb") as stream:
        onnx = path.suffix.lower() == ".onnx" or stream.read(1) == ONNX_FIRST_BYTE
    if path.suffix.lower() == ENGINE or (not onnx and sidecar_path(path).is_file()):
        return open_engine(path, device, threads)
    if not onnx:
        raise SpecError(
            "E_RUNTIME_KIND",
            f"{path} is neither an ONNX file nor an engine.",
            "name the .onnx file of action export, or the .engine file of action gen_trt_engine",
        )
    from visual_changenet.runtime.onnx_runtime import OnnxRuntime

    return OnnxRuntime(path, device, threads)
