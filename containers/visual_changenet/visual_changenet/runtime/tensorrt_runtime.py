"""TensorRT behind the runtime interface; the only module that imports it to run engines.

Written against the documented Python API of TensorRT 11 (named tensors, ``execute_async_v3``), which 10 has too. It
has not been run by the project's CI, where there is no TensorRT; ``tests/gpu`` runs it where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visual_changenet.errors import DataInvalidError, RunError, SpecError
from visual_changenet.runtime import Batch, Floats
from visual_changenet.runtime.cuda import Cuda, float_bytes
from visual_changenet.runtime.pieces import check_inputs, in_pieces
from visual_changenet.runtime.sidecar import Host, Sidecar

try:
    import tensorrt as trt  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError as missing:
    raise SpecError(
        "E_ENGINE_LIBRARY",
        f"TensorRT can not be imported: {missing}.",
        "pip install tensorrt (or use the deploy image), or name the .onnx file: ONNX Runtime runs it",
    ) from missing

PROVIDER = "TensorRT"


def host(cuda: Cuda) -> Host:
    """This machine, as a sidecar records it."""
    return Host(str(trt.__version__), *cuda.gpu())


class TensorrtRuntime:
    """An engine of ours; see ``Runtime`` for the attributes.

    Buffers on the GPU are made once for the largest batch. Not for several threads at once.

    Raises:
        SpecError: ``E_ENGINE_GPU``. DataInvalidError: ``E_ENGINE_MISMATCH`` (another TensorRT, GPU or file),
            ``E_ENGINE_INVALID``. RunError: ``E_ENGINE_CUDA``.
    """

    def __init__(self, path: Path, sidecar: Sidecar, gpu: int = 0) -> None:
        self.path, self.card, self.provider = path, sidecar.card, PROVIDER
        self.batch = Batch(sidecar.profile[0], sidecar.profile[2])
        self.notices: tuple[str, ...] = ()
        self._cuda = Cuda(gpu)
        sidecar.check(path, host(self._cuda))
        self._logger = trt.Logger(trt.Logger.Severity.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        self._context: Any = self._engine.create_execution_context() if self._engine else None
        if self._context is None:
            raise DataInvalidError("E_ENGINE_INVALID", f"TensorRT can not read {path}.", sidecar.rebuild(path))
        self._stream = self._cuda.stream()
        self._buffers = {name: self._cuda.allocate(self._largest(name)) for name in self._names()}
        for name, address in self._buffers.items():
            self._context.set_tensor_address(name, address)

    def _names(self) -> tuple[str, ...]:
        found = tuple(self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors))
        if set(found) != {*self.card.input_names, *self.card.output_names}:
            raise DataInvalidError(
                "E_ENGINE_INVALID", f"{self.path} has the tensors {sorted(found)}, not those of its card.", "rebuild it"
            )
        return found

    def _largest(self, name: str) -> int:
        most = self.batch.maximum or 1
        for one, shape in zip(self.card.input_names, self.card.shapes(most), strict=True):
            self._context.set_input_shape(one, shape)
        return float_bytes(tuple(self._context.get_tensor_shape(name)))

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """See ``Runtime.run``."""
        check_inputs(self.card, self.path, first, second)
        self._cuda.use()
        return in_pieces(self._piece, first, second, *self.batch)

    def _piece(self, first: Floats, second: Floats) -> list[Floats]:
        for name, images in zip(self.card.input_names, (first, second), strict=True):
            if not self._context.set_input_shape(name, images.shape):
                raise RunError("E_ENGINE_RUN", f"{self.path} refuses the shape {images.shape} of {name}.", "rebuild it")
        kept = [np.ascontiguousarray(images) for images in (first, second)]
        for name, images in zip(self.card.input_names, kept, strict=True):
            self._cuda.upload(self._buffers[name], images, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise RunError("E_ENGINE_RUN", f"TensorRT could not run {self.path}.", "rebuild the engine")
        found = []
        for name in self.card.output_names:
            values = np.empty(tuple(self._context.get_tensor_shape(name)), np.float32)
            self._cuda.download(values, self._buffers[name], self._stream)
            found.append(values)
        self._cuda.wait(self._stream)
        return found

    def close(self) -> None:
        """Give the GPU's memory back; the runtime can not be used afterwards."""
        while self._buffers:
            self._cuda.free(self._buffers.popitem()[1])
