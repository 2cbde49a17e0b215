"""Describes the pickle of a torch file without running anything it names; a process of its own.

Started as ``python -I -S unpickle.py < FILE``; writes one JSON object to stdout: ``tree`` (the content, tagged),
``storages`` (key -> place and size in FILE, in bytes) and ``asked`` (names of classes that FILE would have run),
or ``error``. It imports nothing but the standard library, and nothing at all once it has begun to read.
Names in the pickle are never looked up: a few builders of torch are imitated, everything else becomes an inert
object that is left out of the tree.
"""

from __future__ import annotations

import base64
import codecs
import ctypes
import io
import json
import os
import pickle
import resource
import struct
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 60
PICKLE_BYTES = 256 << 20
MAX_DEPTH, MAX_NODES = 150, 500_000
NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ITEM_BYTES = {
    **dict.fromkeys(("float64", "int64", "complex64"), 8),
    **dict.fromkeys(("float32", "int32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}
BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)


class Sealed:
    """An object that a pickle can hold, but not change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Whatever state the pickle gives is dropped."""


class Dtype(Sealed):
    """A torch dtype or typed storage class."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Storage(Sealed):
    """A run of ``count`` items in the file."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, key: str, dtype: str, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count


class TensorView(Sealed):
    """A tensor: a strided view of a storage."""

    __slots__ = ("dtype", "offset", "size", "storage", "stride")

    def __init__(self, storage: Storage, offset: int, size: Any, stride: Any, *_: object) -> None:
        if not isinstance(storage, Storage):
            raise ValueError("a tensor without a storage")
        self.storage, self.offset, self.dtype = storage, int(offset), storage.dtype
        self.size, self.stride = [int(n) for n in size], [int(n) for n in stride]


class Plain(dict[Any, Any]):
    """An OrderedDict or defaultdict; attributes set on it are dropped."""

    def __init__(self, *given: Any) -> None:
        super().__init__(given[0] if given and isinstance(given[0], dict | list | tuple) else ())

    def __setstate__(self, state: object) -> None:
        """Such as the version metadata of a state_dict."""


class Inert:
    """What every unknown class and function becomes: takes anything, does nothing."""

    asked: ClassVar[str] = ""
    state: Any = None

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Ignores what the pickle would have passed."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *_: object, **__: object) -> Inert:
        """The result of an inert call is inert."""
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, *_: object) -> None:
        """As if it were a list."""

    extend = add = update = append


class Builder(Sealed):
    """Imitates one function of torch or the standard library."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build

    def __call__(self, *given: Any, **named: Any) -> Any:
        """What the function would have returned."""
        return self.build(*given, **named)


def _first(value: Any = None, *_: object) -> Any:
    return value


def _typed(storage: Storage, offset: Any, size: Any, stride: Any, *rest: Any) -> TensorView:
    """An untyped storage seen as ``rest[2]``; the offset counts items of that type."""
    view = TensorView(storage, offset, size, stride)
    if len(rest) < 3 or not isinstance(rest[2], Dtype):
        raise ValueError("a tensor without a dtype")
    view.dtype = rest[2].name
    return view


def _encode(text: str, encoding: str = "latin1", *_: object) -> bytes:
    return text.encode("utf-8" if encoding in ("utf-8", "utf8") else "latin-1")


def _unwrap(build: Any, kind: Any, given: Any, *_: object) -> Any:
    return build(*given) if isinstance(build, Builder) else Inert()


BUILDERS: dict[str, Any] = {
    "collections.OrderedDict": Plain,
    "collections.defaultdict": Plain,
    "torch._utils._rebuild_tensor": Builder(TensorView),
    "torch._utils._rebuild_tensor_v2": Builder(TensorView),
    "torch._utils._rebuild_tensor_v3": Builder(_typed),
    "torch._utils._rebuild_parameter": Builder(_first),
    "torch._utils._rebuild_parameter_with_state": Builder(_first),
    "torch._tensor._rebuild_from_type_v2": Builder(_unwrap),
    "torch.nn.parameter.Parameter": Builder(_first),
    "torch.Size": Builder(lambda items=(): tuple(items)),
    "_codecs.encode": Builder(_encode),
    "builtins.set": Builder(lambda items=(): list(items)),
}


class Reader(pickle.Unpickler):
    """An unpickler that looks no name up."""

    def __init__(self, stream: BinaryIO, asked: dict[str, type[Inert]], used: dict[str, Storage]) -> None:
        super().__init__(stream, encoding="latin-1")
        self.asked, self.used = asked, used

    def find_class(self, module: str, name: str) -> Any:
        """An imitation or an inert class; never the real thing."""
        module, name = NAME_MAPPING.get((module, name), (module, name))  # names of Python 2, as pickle writes them
        full = f"{IMPORT_MAPPING.get(module, module)}.{name}"
        if full in BUILDERS:
            return BUILDERS[full]
        if module.split(".")[0] == "torch" and name in STORAGES:
            return Dtype(STORAGES[name])
        if module == "torch" and name in ITEM_BYTES:
            return Dtype(name)
        if full not in self.asked:
            self.asked[full] = type("Stranger", (Inert,), {"asked": full})
        return self.asked[full]

    def persistent_load(self, pid: Any) -> Storage:
        """("storage", class, key, device, count[, view]) -> where its bytes are."""
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or not isinstance(dtype, Dtype) or any(part is not None for part in view):
            raise ValueError("an unknown kind of storage")
        return self.used.setdefault(str(key), Storage(str(key), dtype.name, int(count)))


class Tree:
    """Turns what was read into tagged JSON; inert objects are tagged ``o``."""

    def __init__(self) -> None:
        self.nodes = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        """Raises ValueError where the content is endless or too deep."""
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise ValueError("the content is nested too deeply or too large")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, TensorView):
            return {"x": [value.storage.key, value.dtype, value.offset, value.size, value.stride]}
        if isinstance(value, bytes | bytearray):
            return {"b": base64.b64encode(value).decode("ascii")}
        if isinstance(value, dict):
            return {"d": [[self.encode(k, depth + 1), self.encode(v, depth + 1)] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            tag = "t" if isinstance(value, tuple) else "l"
            return {tag: [self.encode(item, depth + 1) for item in value]}
        if isinstance(value, Inert) and isinstance(value.state, dict) and "_parameters" in value.state:
            return {"d": [["state_dict", {"d": list(self.module(value, "", depth))}]]}
        return {"o": getattr(value, "asked", type(value).__name__)}

    def module(self, value: Any, prefix: str, depth: int) -> Any:
        """Names and tensors of a pickled ``torch.nn.Module``, as its state_dict would name them."""
        if depth > MAX_DEPTH:
            raise ValueError("the modules are nested too deeply")
        state = value.state if isinstance(value, Inert) and isinstance(value.state, dict) else {}
        for group in ("_parameters", "_buffers"):
            for name, tensor in dict(state.get(group) or {}).items():
                if isinstance(tensor, TensorView):
                    yield [f"{prefix}{name}", self.encode(tensor, depth + 1)]
        for name, child in dict(state.get("_modules") or {}).items():
            yield from self.module(child, f"{prefix}{name}.", depth + 1)


def describe(stream: BinaryIO) -> dict[str, Any]:
    """The description of one file; see the module's text.

    Raises:
        One of ``BROKEN``: the file is damaged, or is none.
    """
    asked: dict[str, type[Inert]] = {}
    used: dict[str, Storage] = {}
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        content, places = _read_zip(stream, asked, used)
    else:
        content, places = _read_legacy(stream, asked, used)
    return {"tree": Tree().encode(content), "storages": places, "asked": sorted(asked)}


def _read_zip(stream: BinaryIO, asked: dict[str, Any], used: dict[str, Storage]) -> tuple[Any, dict[str, list[int]]]:
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        pickled = members["data.pkl"]
        if pickled.file_size > PICKLE_BYTES:
            raise ValueError("data.pkl is too large")
        if "byteorder" in members and archive.read(members["byteorder"])[:6] == b"big":
            raise ValueError("the file is of a big-endian machine")
        content = Reader(io.BytesIO(archive.read(pickled)), asked, used).load()
    places = {}
    for key in used:
        info = members[f"data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("a compressed storage")
        stream.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", stream.read(4))
        places[key] = [info.header_offset + 30 + name + extra, info.file_size]
    return content, places


def _read_legacy(stream: BinaryIO, asked: dict[str, Any], used: dict[str, Storage]) -> tuple[Any, dict[str, list[int]]]:
    """A plain pickle, or torch's old layout: magic, version, machine, content, keys, then the storages' bytes."""
    content = Reader(stream, asked, used).load()
    if content != LEGACY_MAGIC:
        return content, {}
    for _ in range(2):
        Reader(stream, asked, used).load()
    content = Reader(stream, asked, used).load()
    places = {}
    for key in Reader(stream, asked, used).load():
        (count,) = struct.unpack("<q", stream.read(8))
        size = count * ITEM_BYTES[used[str(key)].dtype]
        places[str(key)] = [stream.tell(), size]
        stream.seek(size, io.SEEK_CUR)
    return content, places


def isolate() -> None:
    """Give up network, files, new processes and most memory; from here on every audited event is refused."""
    ctypes.CDLL(None).unshare(NEW_USER_AND_NETWORK)  # refused in some containers; the audit hook holds anyway
    limits = (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    )
    for kind, limit in limits:
        resource.setrlimit(kind, (limit, limit))
    sys.addaudithook(_refuse)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    raise RuntimeError(f"refused: {event}")


def main() -> None:
    """Describe stdin on stdout and end at once."""
    stream, out = sys.stdin.buffer, sys.stdout
    codecs.lookup("cp437")  # what zipfile decodes names with; nothing can be imported later
    isolate()
    try:
        text = json.dumps(describe(stream))
    except BROKEN as error:
        text = json.dumps({"error": f"{type(error).__name__}: {error}"[:300].rstrip(": .")})
    out.write(text)
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
