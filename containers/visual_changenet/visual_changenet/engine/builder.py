"""Building the engine; the only module that imports TensorRT to build.

Written against the documented Python API of TensorRT 11: networks are strongly typed (the flag that 10 needs is
ignored by 11), there are no calibrators and no switches for number formats. It has not been run by the project's CI,
where there is no TensorRT; ``tests/gpu`` runs it where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visual_changenet.engine.profile import Profile
from visual_changenet.errors import RunError, SpecError
from visual_changenet.runtime.card import Card

try:
    import tensorrt as trt  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError as missing:
    raise SpecError(
        "E_ENGINE_LIBRARY",
        f"TensorRT can not be imported: {missing}.",
        "pip install tensorrt on the machine with the GPU, or run in the deploy image; without it, name the .onnx "
        "file in evaluate and inference",
    ) from missing

MIB = 1 << 20


@dataclass(frozen=True)
class Built:
    """``engine`` and ``timing_cache`` are the bytes of their files; ``log`` what TensorRT said, oldest first."""

    engine: bytes
    timing_cache: bytes
    log: tuple[str, ...]


class _Log(trt.ILogger):  # type: ignore[misc]
    """Keeps what TensorRT says: its own logger writes to stdout."""

    def __init__(self, verbose: bool) -> None:
        trt.ILogger.__init__(self)
        self.verbose = verbose
        self.lines: list[str] = []
        self.errors: list[str] = []

    def log(self, severity: Any, text: str) -> None:
        """Called by TensorRT."""
        levels = trt.ILogger.Severity
        if severity in (levels.ERROR, levels.INTERNAL_ERROR):
            self.errors.append(text)
        if self.verbose or severity != levels.VERBOSE:
            self.lines.append(text)


def build(
    model: bytes, card: Card, profile: Profile, workspace_mib: int, timing_cache: bytes = b"", verbose: bool = False
) -> Built:
    """Build an engine from a serialised ONNX model, for the GPU that is current.

    Args:
        model: its types are those of the engine.
        workspace_mib: largest scratch memory; 0 leaves TensorRT's own limit.
        timing_cache: of an earlier build, b"" for none; one of another GPU or version is passed over.

    Raises:
        RunError: ``E_ENGINE_PARSE``, ``E_ENGINE_BUILD`` with what TensorRT said.
    """
    log = _Log(verbose)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(model, network, log)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32: the engine must decide as the checkpoint does
    if workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * MIB)
    _add_profile(builder, config, card, profile)
    cache = config.create_timing_cache(timing_cache)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
        log.lines.append("the timing cache is of another GPU or another TensorRT; it is made anew.")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RunError("E_ENGINE_BUILD", f"TensorRT could not build the engine: {_said(log)}.", BUILD_FIX)
    return Built(bytes(engine), bytes(config.get_timing_cache().serialize()), tuple(log.lines))


BUILD_FIX = "raise gen_trt_engine.tensorrt.workspace_size, lower max_batch_size, or set gen_trt_engine.verbose"


def _parse(model: bytes, network: Any, log: _Log) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(model):
        return
    first = parser.get_error(0).desc() if parser.num_errors else _said(log)
    raise RunError("E_ENGINE_PARSE", f"TensorRT can not read the ONNX model: {first}.", "export with another opset")


def _add_profile(builder: Any, config: Any, card: Card, profile: Profile) -> None:
    shapes = builder.create_optimization_profile()
    for name, shape in zip(card.input_names, card.shapes(1), strict=True):
        shapes.set_shape(name, *profile.shapes(shape[1:]))
    if config.add_optimization_profile(shapes) < 0:
        raise RunError("E_ENGINE_BUILD", f"TensorRT refuses the profile {tuple(profile)}.", BUILD_FIX)


def _said(log: _Log) -> str:
    return log.errors[-1].strip().rstrip(".") if log.errors else "it gave no reason"
