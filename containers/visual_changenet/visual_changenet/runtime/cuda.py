"""The few calls of the CUDA driver that an engine needs around it; the driver's library comes with every GPU.

Names and signatures are those of the CUDA driver API, which are kept from version to version.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from visual_changenet.errors import RunError, SpecError

LIBRARY = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
NAME_BYTES = 256


class Gpu(NamedTuple):
    """``driver`` is the newest version of CUDA that it knows."""

    name: str
    compute_capability: str
    driver: str


class Cuda:
    """One GPU, in the context that TensorRT uses too; current for the calling thread, see ``use``.

    Raises:
        SpecError: ``E_ENGINE_GPU`` where there is no driver or no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as missing:
            raise SpecError("E_ENGINE_GPU", f"there is no GPU driver here: {missing}.", GPU_FIX) from missing
        device, context = c_int(), c_void_p()
        if self._library.cuInit(0) or self._library.cuDeviceGet(byref(device), index):
            raise SpecError("E_ENGINE_GPU", f"there is no GPU with the index {index} here.", GPU_FIX)
        self._device = device
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._context = context
        self.use()

    def use(self) -> None:
        """Make the GPU current for the calling thread; each thread that works with it has to."""
        self._call("cuCtxSetCurrent", self._context)

    def gpu(self) -> Gpu:
        """What this GPU is."""
        name, version = ctypes.create_string_buffer(NAME_BYTES), c_int()
        self._call("cuDeviceGetName", name, NAME_BYTES, self._device)
        self._call("cuDriverGetVersion", byref(version))
        numbers = [c_int(), c_int()]
        for number, attribute in zip(numbers, (CAPABILITY_MAJOR, CAPABILITY_MINOR), strict=True):
            self._call("cuDeviceGetAttribute", byref(number), attribute, self._device)
        capability = f"{numbers[0].value}.{numbers[1].value}"
        driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return Gpu(name.value.decode(), capability, driver)

    def stream(self) -> int:
        """A new stream."""
        handle = c_void_p()
        self._call("cuStreamCreate", byref(handle), 1)  # CU_STREAM_NON_BLOCKING
        return int(handle.value or 0)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return int(address.value)

    def free(self, address: int) -> None:
        """Give memory of ``allocate`` back."""
        self._call("cuMemFree_v2", c_uint64(address))

    def upload(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Copy a contiguous array to the GPU; keep it until ``wait``."""
        self._call("cuMemcpyHtoDAsync_v2", c_uint64(address), _data(values), c_size_t(values.nbytes), c_void_p(stream))

    def download(self, values: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the GPU into a contiguous array, which is whole after ``wait``."""
        self._call("cuMemcpyDtoHAsync_v2", _data(values), c_uint64(address), c_size_t(values.nbytes), c_void_p(stream))

    def wait(self, stream: int) -> None:
        """Until all work of the stream is done."""
        self._call("cuStreamSynchronize", c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            text = c_char_p()
            self._library.cuGetErrorString(code, byref(text))
            reason = (text.value or b"unknown").decode()
            raise RunError("E_ENGINE_CUDA", f"{name} failed: {reason} ({code}).", "free memory of the GPU, try again")


GPU_FIX = "run on a machine with an NVIDIA GPU and its driver, or name the .onnx file"


def _data(values: NDArray[Any]) -> c_void_p:
    assert values.flags.c_contiguous
    return c_void_p(values.ctypes.data)


def float_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 array."""
    return int(np.prod(shape)) * 4
