"""Safetensors headers that lie, exhaust, or point where they must not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skillrun.errors import DataError
from skillrun.weights import identify, read_header

MIB = 1 << 20


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write(folder: Path, header: bytes | object, data: int = 8, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "w.safetensors"
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(data))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_header(path)
    assert caught.value.code == "E_WEIGHTS_FILE"
    assert str(path) in caught.value.message
    assert caught.value.fix
    caught.value.message.encode("utf-8")
    reason = caught.value.message.removeprefix(f"{path} can not be used as weights: ")
    assert len(reason) < 400
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("header", "length", "reason"),
    [
        (b"{}", 100_000_001, "more than 100000000 are never read"),
        (b"{}", 2**64 - 1, "more than 100000000 are never read"),
        (b"{}", 11, "the file has only 18"),
        (b"{}", 0, "no JSON object"),
        (b"[]", None, "no JSON object"),
        (b'"text"', None, "no JSON object"),
        (b" {}", None, "no JSON object"),
        (b"\xef\xbb\xbf{}", None, "no JSON object"),
        (b'{"a":', None, "no JSON"),
        (b"{} {}", None, "no JSON"),
        (b'{"\xff": 1}', None, "no JSON"),
        (b'{"a": NaN}', None, "NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", None, "no JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None, "nested too deeply"),
        (b'{"\\ud800": 1}', None, "has not exactly the fields"),
    ],
)
def test_a_header_that_is_no_header_is_refused(tmp_path: Path, header: bytes, length: int | None, reason: str) -> None:
    assert reason in refusal(write(tmp_path, header, length=length))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (1, "has not exactly the fields"),
        ([], "has not exactly the fields"),
        ({"dtype": "F32", "shape": [2]}, "has not exactly the fields"),
        (entry() | {"extra": 1}, "has not exactly the fields"),
        (entry(dtype="F33"), "unknown dtype 'F33'"),
        (entry(dtype=["F32"]), "unknown dtype"),
        (entry(dtype=None), "unknown dtype"),
        (entry(dtype="f" * 9999), "unknown dtype"),
        (entry(shape=[-2]), "impossible shape"),
        (entry(shape=[2.0]), "impossible shape"),
        (entry(shape=[True, 2]), "impossible shape"),
        (entry(shape="2"), "impossible shape"),
        (entry(shape={"0": 2}), "impossible shape"),
        (entry(shape=[2**64, 0]), "impossible shape"),
        (entry(shape=[1] * 99), "impossible shape"),
        (entry(shape=[[[[[[2]]]]]]), "impossible shape"),
        (entry(shape=[2**62] * 9), "impossible shape"),
        (entry(shape=[3]), "F32 [3] needs 12 bytes, its data_offsets 8"),
        (entry(dtype="F4", shape=[3], offsets=[0, 2]), "needs 12 bits"),
        (entry(offsets=[0]), "impossible data_offsets"),
        (entry(offsets=[0, 4, 8]), "impossible data_offsets"),
        (entry(offsets=[8, 0]), "impossible data_offsets"),
        (entry(offsets=[-8, 0]), "impossible data_offsets"),
        (entry(offsets=["0", "8"]), "impossible data_offsets"),
        (entry(offsets=[2**63 - 8, 2**63]), "impossible data_offsets"),
        (entry(offsets=[2**62, 2**62 + 8]), "belong to none"),
    ],
)
def test_an_entry_that_can_not_be_is_refused_by_name(tmp_path: Path, found: Any, reason: str) -> None:
    said = refusal(write(tmp_path, {"some.weight": found}))
    assert reason in said
    assert "some.weight" in said


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ({"a": entry(), "b": entry(offsets=[4, 12])}, 12, "'b' overlaps tensor 'a'"),
        ({"a": entry(), "b": entry()}, 8, "'b' overlaps tensor 'a'"),
        ({"a": entry(), "b": entry(shape=[0], offsets=[4, 4])}, 8, "overlaps"),
        ({"a": entry(), "b": entry(offsets=[12, 20])}, 20, "4 bytes between tensor 'a' and tensor 'b'"),
        ({"a": entry(offsets=[4, 12])}, 12, "4 bytes between the header and tensor 'a'"),
        ({"a": entry()}, 7, "it is cut off"),
        ({"a": entry()}, 9, "1 bytes after tensor 'a' belong to no tensor"),
        ({}, 1, "1 bytes after the header"),
    ],
)
def test_bytes_belong_to_one_tensor_each(tmp_path: Path, header: Any, data: int, reason: str) -> None:
    path = write(tmp_path, header, data)
    assert reason in refusal(path)
    with pytest.raises(SafetensorError), safe_open(path, framework="numpy"):
        pass


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": %(a)s, "a": %(a)s}',
        b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"__metadata__": {"k": "1", "k": "2"}, "a": %(a)s}',
        b'{"a": %(a)s, "\\u0061": %(a)s}',
    ],
)
def test_a_name_given_twice_is_refused(tmp_path: Path, raw: bytes) -> None:
    filled = raw.replace(b"%(a)s", json.dumps(entry()).encode())
    assert "twice" in refusal(write(tmp_path, filled))


@pytest.mark.parametrize("metadata", [1, "text", ["a"], {"a": 1}, {"a": {"b": "c"}}, None])
def test_metadata_are_texts(tmp_path: Path, metadata: Any) -> None:
    assert "__metadata__" in refusal(write(tmp_path, {"__metadata__": metadata}, 0))


@pytest.mark.parametrize(
    "name",
    ["a" * 100_000, "blocks." + "9" * 5000 + ".norm1.weight", "\n\x1b[31m", "patch_generator.pos_embed", "\u202e"],
)
def test_an_odd_name_is_identified_without_a_crash_and_shown_short(tmp_path: Path, name: str) -> None:
    text = str(identify(read_header(write(tmp_path, {name: entry()}))))
    assert len(text) < 300
    assert text.isprintable()


LIMITED = """
import resource, sys, time
from pathlib import Path
from skillrun.errors import DataError
from skillrun.weights import read_header
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
start = time.process_time()
try:
    read_header(Path(sys.argv[1]))
except DataError as error:
    print(error.code, time.process_time() - start)
"""


@pytest.mark.parametrize(
    ("item", "count"),
    [
        (b"[],", 30 * MIB),
        (b'{"":0},', 13 * MIB),
        (b"4294967296,", 8 * MIB),
        (b"[],", 1_900_000 // 2),
        (b"12345678901234567890,", 1_900_000),
        (b"\\u1234", 15 * MIB),
    ],
)
def test_the_largest_headers_take_bounded_memory_and_time(tmp_path: Path, item: bytes, count: int) -> None:
    quote = b'"' if item.startswith(b"\\") else b""
    body = quote + item * count + quote if quote else b"[" + item * count + b"0]"
    path = write(tmp_path, b'{"a":' + body + b"}", 0)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    code, seconds = done.stdout.split()
    assert code == "E_WEIGHTS_FILE"
    assert float(seconds) < 10


def test_damaged_bytes_are_read_or_refused_but_never_crash(tmp_path: Path) -> None:
    whole = save({"a.b": np.ones((2, 3), np.float32), "c": np.ones(5, np.float16)}, metadata={"format": "pt"})
    chance = random.Random(5)
    path = tmp_path / "w.safetensors"
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            str(identify(read_header(path)))
        except DataError as error:
            assert error.code == "E_WEIGHTS_FILE"
            continue
        with safe_open(path, framework="numpy") as library:
            list(library.keys())
