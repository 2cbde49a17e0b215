"""A checkpoint's network behind the runtime interface; needs torch."""

from __future__ import annotations

from pathlib import Path

import torch

from visual_changenet.checkpoints import load_weights, read_checkpoint
from visual_changenet.config import ExperimentConfig
from visual_changenet.config.geometry import network_input_size
from visual_changenet.device import choose_device
from visual_changenet.errors import DataInvalidError
from visual_changenet.export.graph import Exported, make_card
from visual_changenet.models import build_model
from visual_changenet.quantize.stored import dequantized, is_quantized
from visual_changenet.runtime import Batch, Device, Floats
from visual_changenet.runtime.pieces import check_inputs
from visual_changenet.spec import validate


class NetworkRuntime:
    """See ``Runtime``.

    Raises:
        MissingFileError, DataInvalidError: as ``read_checkpoint``; ``E_CHECKPOINT_SPEC`` (it holds no spec).
        SpecError: ``E_DEVICE``.
    """

    def __init__(self, path: Path, device: Device = "auto", threads: int | None = None) -> None:
        content = read_checkpoint(path, "--model")
        if not isinstance(content.get("spec"), dict):
            raise DataInvalidError(
                "E_CHECKPOINT_SPEC", f"{path} has no spec of its own.", "export it with visual_changenet export"
            )
        spec = validate(content["spec"])
        spec["train"]["device"] = device
        if threads:
            torch.set_num_threads(threads)
        self.path, self._device = path, choose_device(spec)
        network = build_model(spec)
        load_weights(network, dequantized(content) if is_quantized(content) else content, path)
        size = network_input_size(ExperimentConfig.model_validate(spec))
        self.card = make_card(spec, network, size, "", None)
        self.provider, self.batch = f"torch ({self._device.type})", Batch(1, None)
        self.notices: tuple[str, ...] = ()
        self._network = Exported(network).eval().to(self._device)

    def run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        """See ``Runtime.run``."""
        check_inputs(self.card, self.path, first, second)
        with torch.inference_mode():
            found = self._network(*(torch.from_numpy(part).to(self._device) for part in (first, second)))
            return tuple(part.float().cpu().numpy() for part in found)
