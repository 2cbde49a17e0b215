"""A stand-in of TensorRT: the shape of its documented Python API (11.x) as far as the package calls it.

Not TensorRT: nothing is optimised. An "engine" is the ONNX file behind a mark, and ONNX Runtime computes it on the
memory that the addresses name. It shows that the calls are made, in order and with fitting arguments; that real
engines are built and right is for ``tests/gpu``.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

MARK = b"ENGINE"
VERSION = "11.4.0.106"


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self.ready = True


class Logger(ILogger):
    def __init__(self, least: Any = ILogger.Severity.WARNING) -> None:
        super().__init__()


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 3


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class HostMemory:
    """Has the buffer protocol in TensorRT; ``bytes()`` is all that is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __bytes__(self) -> bytes:
        return self.data


class TimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> HostMemory:
        return HostMemory(self.data or b"timings")


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
        self.shapes[name] = (tuple(low), tuple(best), tuple(high))


class Config:
    def __init__(self) -> None:
        self.cleared: list[Any] = []
        self.pools: dict[Any, int] = {}
        self.profiles: list[Profile] = []
        self.cache: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.cleared.append(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, data: bytes) -> TimingCache:
        return TimingCache(data)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if cache.data.startswith(b"foreign"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model = b""


class ParserError:
    def desc(self) -> str:
        return "no importer for the operator"


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self.network, self.num_errors = network, 0

    def parse(self, model: bytes) -> bool:
        self.network.model = model
        self.num_errors = int(b"Unsupported" in model)
        return not self.num_errors

    def get_error(self, index: int) -> ParserError:
        return ParserError()


class Builder:
    last: Builder

    def __init__(self, logger: Any) -> None:
        self.logger, Builder.last = logger, self
        self.fails = False

    def create_network(self, flags: int) -> Network:
        self.network = Network(flags)
        return self.network

    def create_builder_config(self) -> Config:
        self.config = Config()
        return self.config

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> HostMemory | None:
        self.logger.log(ILogger.Severity.INFO, "built")
        self.logger.log(ILogger.Severity.VERBOSE, "every step")
        if MemoryPoolType.WORKSPACE in config.pools and config.pools[MemoryPoolType.WORKSPACE] < 2 << 20:
            self.logger.log(ILogger.Severity.ERROR, "not enough workspace.")
            return None
        return HostMemory(MARK + network.model)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            feed = {entry.name: np.zeros(self.shapes[entry.name], np.float32) for entry in self.engine.inputs}
            return tuple(self.engine.session.run([name], feed)[0].shape)
        return self.shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        feed = {entry.name: self._memory(entry.name) for entry in self.engine.inputs}
        names = [entry.name for entry in self.engine.outputs]
        for name, values in zip(names, self.engine.session.run(names, feed), strict=True):
            self._memory(name)[...] = values
        return stream_handle != 0

    def _memory(self, name: str) -> Any:
        shape = self.get_tensor_shape(name)
        kind = ctypes.c_float * int(np.prod(shape))
        return np.ctypeslib.as_array(kind.from_address(self.addresses[name])).reshape(shape)


class Engine:
    def __init__(self, model: bytes) -> None:
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = self.session.get_inputs(), self.session.get_outputs()

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return str([*self.inputs, *self.outputs][index].name)

    def create_execution_context(self) -> Context:
        return Context(self)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        return Engine(data.removeprefix(MARK)) if data.startswith(MARK) else None


def module(version: str = VERSION) -> ModuleType:
    """A module to stand in ``sys.modules`` under the name ``tensorrt``."""
    made = ModuleType("tensorrt")
    made.__dict__.update(vars(sys.modules[__name__]))
    made.__dict__["__version__"] = version
    return made
