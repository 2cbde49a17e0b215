"""The header of a ``.safetensors`` file: 8 bytes of length (little endian), then JSON, then the tensors' bytes.

A file may come from anywhere, so nothing in it is believed: lengths, types, shapes and byte ranges must agree with
each other and with the size of the file, as they do in every file that the format's own library writes and reads.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, NoReturn

from skillrun.errors import DataError, NotFoundError

LENGTH_BYTES = 8
MAX_HEADER = 100_000_000  # the format's own limit
# Every JSON value but the first stands behind one of `[`, `{`, `,` or the colon of a key, so their count bounds what
# the parser can build: 100 MB of `[],[],` would be gigabytes of objects. The largest published models have a tenth.
MAX_ITEMS = 2_000_000
MAX_RANK = 16
LARGEST = 1 << 63
METADATA = "__metadata__"
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, MAX_RANK, 3, 80
FIELDS = {"dtype", "shape", "data_offsets"}
# What is often found in a file of that name, by its first bytes.
IMPOSTORS = {
    b"version ": "a Git LFS pointer, not the file itself",
    b"<": "a web page",
    b"PK\x03\x04": "a torch or zip file",
    b"\x80\x02": "a pickle",
}


class _RefusedError(Exception):
    """The reason why a header is not believed."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry: its dtype as the file names it (``F32``, ``BF16``, ...), its shape, and its bytes in the file.

    ``start`` and ``end`` count from the beginning of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """All that a file says of itself: tensors in the order of their bytes, and free text by name."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def read_header(path: Path) -> Header:
    """Read what a ``.safetensors`` file says of its tensors; at most 100 MB are read, usually some 50 kB.

    Raises:
        NotFoundError: ``E_WEIGHTS_MISSING``.
        DataError: ``E_WEIGHTS_FILE``: it can not be read, or its header is not believed; the message says why.
    """
    try:
        require_file(path)
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            raw = _raw_header(stream, size)
        entries = _parsed(raw)
        metadata = _metadata(entries.pop(METADATA, {}))
        begin = LENGTH_BYTES + len(raw)
        tensors = {name: _tensor(name, entry, begin) for name, entry in entries.items()}
        return Header(path, _in_order(tensors, begin, size), metadata)
    except _RefusedError as refused:
        unreadable(path, str(refused))
    except OSError as error:
        unreadable(path, error.strerror or type(error).__name__)


def require_file(path: Path) -> None:
    """Refuse what is absent, no regular file (a pipe would wait for ever), or empty.

    Raises:
        NotFoundError, DataError: as ``read_header``. OSError: the file's folder can not be searched.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            "E_WEIGHTS_MISSING", f"weights {str(path)!r} do not exist", "check the path: ls -l its folder"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        unreadable(path, "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file")
    if not found.st_size:
        unreadable(path, "it is empty")


def unreadable(path: Path, reason: str) -> NoReturn:
    """Raise ``E_WEIGHTS_FILE`` for a file and the reason."""
    raise DataError(
        "E_WEIGHTS_FILE",
        f"{path} can not be used as weights: {reason}",
        f"copy or stage the file again (`ls -l {quote(str(path))}` shows its size)",
    )


def _raw_header(stream: BinaryIO, size: int) -> bytes:
    first = stream.read(LENGTH_BYTES)
    if len(first) < LENGTH_BYTES:
        raise _RefusedError(f"it ends after {len(first)} bytes, before its header")
    for mark, what in IMPOSTORS.items():
        # Such bytes may as well be a length; then it is a believable one.
        if first.startswith(mark) and int.from_bytes(first, "little") > MAX_HEADER:
            raise _RefusedError(f"it is {what}")
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER:
        raise _RefusedError(f"its header claims {length} bytes; more than {MAX_HEADER} are never read")
    if length > size - LENGTH_BYTES:
        raise _RefusedError(f"its header claims {length} bytes, but the file has only {size}")
    raw = stream.read(length)
    if len(raw) < length:
        raise _RefusedError("it became shorter while it was read")
    return raw


def _parsed(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise _RefusedError("its header is no JSON object")
    if sum(raw.count(mark) for mark in (b"[", b"{", b",")) > MAX_ITEMS:
        raise _RefusedError(f"its header has more than {MAX_ITEMS} items")
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise _RefusedError("its header is nested too deeply") from error
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise _RefusedError(f"its header is no JSON ({shown(str(error))})") from error
    return dict(entries)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _RefusedError(f"its header names {shown(twice)} twice")
    return made


def _no_number(text: str) -> NoReturn:
    raise _RefusedError(f"its header holds {text}, which is no JSON")


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _RefusedError(f"{METADATA} is not a mapping of texts")
    return found


def _tensor(name: str, entry: Any, begin: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != FIELDS:
        raise _RefusedError(f"tensor {shown(name)} has not exactly the fields dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _RefusedError(f"tensor {shown(name)} is of the unknown dtype {shown(dtype)}")
    if not _counts(shape) or len(shape) > MAX_RANK:
        raise _RefusedError(f"tensor {shown(name)} has the impossible shape {shown(shape)}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _RefusedError(f"tensor {shown(name)} has the impossible data_offsets {shown(offsets)}")
    bits = math.prod(shape) * BITS[dtype]
    if bits >= 8 * LARGEST:
        raise _RefusedError(f"tensor {shown(name)} has the impossible shape {shown(shape)}")
    start, end = offsets
    if bits != 8 * (end - start):
        needed = f"{bits // 8} bytes" if bits % 8 == 0 else f"{bits} bits"
        raise _RefusedError(
            f"tensor {shown(name)}: {dtype} {shown(shape)} needs {needed}, its data_offsets {end - start}"
        )
    return Tensor(dtype, tuple(shape), begin + start, begin + end)


def _counts(found: Any) -> bool:
    """True for a list of whole numbers from 0; ``true`` is none."""
    return isinstance(found, list) and all(type(value) is int and 0 <= value < LARGEST for value in found)


def _in_order(tensors: Mapping[str, Tensor], begin: int, size: int) -> dict[str, Tensor]:
    """The tensors by their place; each begins where the last one ends, and the last one ends the file."""
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    reached, last = begin, "the header"
    for name, tensor in ordered.items():
        if tensor.start < reached:
            raise _RefusedError(f"tensor {shown(name)} overlaps {last}")
        if tensor.start > reached:
            raise _RefusedError(
                f"{tensor.start - reached} bytes between {last} and tensor {shown(name)} belong to none"
            )
        reached, last = tensor.end, f"tensor {shown(name)}"
    if reached > size:
        raise _RefusedError(f"it is cut off: its tensors end at byte {reached}, the file at {size}")
    if reached < size:
        raise _RefusedError(f"{size - reached} bytes after {last} belong to no tensor")
    return ordered


def shown(value: object) -> str:
    """A value of the file for a message: quoted, on one line and short, whatever it is."""
    return _SHORT.repr(value)
