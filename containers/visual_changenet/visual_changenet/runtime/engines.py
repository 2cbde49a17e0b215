"""Opening an engine: by TensorRT where it works, else its ONNX file by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from visual_changenet.errors import MissingFileError, SpecError
from visual_changenet.runtime.sidecar import Sidecar, read_sidecar

if TYPE_CHECKING:
    from visual_changenet.runtime import Device, Runtime


def open_engine(path: Path, device: Device, threads: int | None) -> Runtime:
    """The engine at ``path``, which has a sidecar; see ``open_runtime`` for the arguments.

    Raises:
        MissingFileError: ``E_ENGINE_SIDECAR``, or ``E_ENGINE_LIBRARY`` where neither TensorRT nor the ONNX file is
            there. DataInvalidError: ``E_ENGINE_SIDECAR``, ``E_ENGINE_MISMATCH``, ``E_ENGINE_INVALID``.
    """
    sidecar = read_sidecar(path)
    if device == "cpu":
        return _onnx(path, sidecar, "the CPU is asked for", device, threads)
    try:
        from visual_changenet.runtime.tensorrt_runtime import TensorrtRuntime

        return TensorrtRuntime(path, sidecar)
    except SpecError as missing:  # no TensorRT or no GPU; an engine that does not fit is another error
        return _onnx(path, sidecar, missing.message.rstrip("."), device, threads)


def _onnx(path: Path, sidecar: Sidecar, reason: str, device: Device, threads: int | None) -> Runtime:
    from visual_changenet.runtime.onnx_runtime import OnnxRuntime

    found = sidecar.onnx_file(path)
    if found is None:
        raise MissingFileError(
            "E_ENGINE_LIBRARY",
            f"{path} can not be used here ({reason}), and the ONNX file it was built from, {sidecar.onnx} "
            f"(sha256 {sidecar.onnx_sha256[:12]}), is not there.",
            f"pip install tensorrt on a machine with a GPU, or put {Path(sidecar.onnx).name} beside the engine",
        )
    runtime = OnnxRuntime(found, device, threads)
    precision = sidecar.card.precision
    runtime.notices = (
        f"{path} can not be used here ({reason}): ONNX Runtime computes from {found}, in {runtime.card.precision} "
        f"where the engine has {precision}.",
        *runtime.notices,
    )
    return runtime
