"""ONNX Runtime behind the runtime interface, on a GPU that works or on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visual_changenet.errors import DataInvalidError, SpecError
from visual_changenet.runtime import Batch, Device, Floats
from visual_changenet.runtime.card import METADATA_KEY, Card
from visual_changenet.runtime.pieces import check_inputs, in_pieces

try:
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as states
except ImportError as missing:
    raise SpecError(
        "E_RUNTIME_LIBRARY",
        f"ONNX Runtime can not be imported: {missing}.",
        "pip install onnxruntime, or onnxruntime-gpu for a GPU",
    ) from missing

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ERRORS_ONLY = 3
FOREIGN_FIX = "name a file that visual_changenet export wrote"
UNREADABLE = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NotImplemented)


class OnnxRuntime:
    """A session of ONNX Runtime; see ``Runtime`` for the attributes and ``open_runtime`` for the arguments.

    Raises:
        DataInvalidError: ``E_ONNX_INVALID`` (damaged), ``E_ONNX_FOREIGN`` (no card, or other inputs than the card
            says), ``E_CARD_INVALID``.
    """

    def __init__(self, path: Path, device: Device = "auto", threads: int | None = None) -> None:
        self.path = path
        self.notices: tuple[str, ...] = ()
        self._session = self._open(CPU, threads)
        self.card = self._card()
        self.batch = self._batch()
        self.provider = CPU
        if device != "cpu":
            self._move_to_gpu(device, threads)

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """See ``Runtime.run``."""
        check_inputs(self.card, self.path, first, second)
        return in_pieces(self._piece, first, second, *self.batch)

    def _piece(self, first: Floats, second: Floats) -> list[Floats]:
        feed = dict(zip(self.card.input_names, (first, second), strict=True))
        found: list[Floats] = self._session.run(list(self.card.output_names), feed)
        return found

    def _open(self, provider: str, threads: int | None) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        if threads:
            options.intra_op_num_threads = threads
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            return ort.InferenceSession(str(self.path), options, providers=providers)
        except UNREADABLE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataInvalidError(
                "E_ONNX_INVALID", f"{self.path} can not be read as ONNX: {reason}.", "export or copy the file again"
            ) from error

    def _card(self) -> Card:
        """The card in the file, which the file's inputs and outputs have to fit."""
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise DataInvalidError("E_ONNX_FOREIGN", f"{self.path} has no {METADATA_KEY} metadata.", FOREIGN_FIX)
        card = Card.from_json(text, str(self.path))
        wanted = dict(zip(card.input_names, card.shapes(1), strict=True))
        given = {entry.name: tuple(entry.shape) for entry in self._session.get_inputs()}
        outputs = {entry.name for entry in self._session.get_outputs()}
        fits = {name: shape[1:] for name, shape in wanted.items()} == {name: shape[1:] for name, shape in given.items()}
        if not fits or not outputs >= set(card.output_names):
            raise DataInvalidError(
                "E_ONNX_FOREIGN",
                f"{self.path} takes {given} and gives {sorted(outputs)}, which is not what its card says.",
                FOREIGN_FIX,
            )
        return card

    def _batch(self) -> Batch:
        size = self._session.get_inputs()[0].shape[0]
        return Batch(size, size) if isinstance(size, int) else Batch(1, None)

    def _move_to_gpu(self, device: Device, threads: int | None) -> None:
        """Ask a session and run it once: what is listed as available may still not work."""
        if CUDA not in ort.get_available_providers():
            if device == "gpu":
                self.notices = ("this ONNX Runtime is built without CUDA: the CPU computes.",)
            return
        before = self._session
        self._session = self._open(CUDA, threads)
        reason = "it found no GPU or not its libraries"
        if self._session.get_providers()[0] == CUDA:
            shapes = self.card.shapes(self.batch.minimum)
            try:
                self._piece(*(np.zeros(shape, np.float32) for shape in shapes))
            except (*UNREADABLE, states.RuntimeException, states.EPFail) as error:
                reason = str(error).splitlines()[0]
            else:
                self.provider = CUDA
                return
        self._session = before
        self.notices = (f"ONNX Runtime can not use the GPU, the CPU computes: {reason}.",)
