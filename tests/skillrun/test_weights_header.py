"""A safetensors header is read as the format's own library reads it, and no more of the file is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file

from skillrun.errors import DataError, NotFoundError
from skillrun.weights import Header, read_header

DTYPES = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}


def arrays() -> dict[str, np.ndarray]:
    made = {f"block.{name}": np.ones((3, 4), kind) for name, kind in DTYPES.items()}
    return made | {"scalar": np.array(1.5, np.float32), "none": np.zeros((0, 7), np.float32), "é\"'\n": np.ones(2)}


def test_names_types_shapes_and_bytes_are_those_of_the_library(hostile_dir: Path) -> None:
    path = hostile_dir / "w.safetensors"
    written = arrays()
    save_file(written, path, metadata={"format": "pt", "by": "me"})
    header = read_header(path)
    assert header.path == path
    assert header.metadata == {"format": "pt", "by": "me"}
    assert header.shapes == {name: array.shape for name, array in written.items()}
    raw = path.read_bytes()
    for name, tensor in header.tensors.items():
        assert raw[tensor.start : tensor.end] == written[name].tobytes()
    for name, kind in DTYPES.items():
        assert header.tensors[f"block.{name}"].dtype == name
        assert (
            np.dtype(kind).itemsize * 12 == header.tensors[f"block.{name}"].end - header.tensors[f"block.{name}"].start
        )


@given(
    shapes=st.dictionaries(st.text(max_size=12), st.lists(st.integers(0, 4), max_size=4), max_size=6),
    kind=st.sampled_from(sorted(DTYPES)),
)
def test_whatever_the_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], kind: str
) -> None:
    shapes.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    path.write_bytes(save({name: np.zeros(shape, DTYPES[kind]) for name, shape in shapes.items()}))
    assert read_header(path).shapes == {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("dtype", "count", "size"), [("F4", 6, 3), ("F6_E2M3", 4, 3), ("F8_E4M3", 5, 5), ("C64", 2, 16)]
)
def test_types_that_are_smaller_or_larger_than_bytes_are_counted_in_bits(
    tmp_path: Path, dtype: str, count: int, size: int
) -> None:
    raw = json.dumps({"w": {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(size))
    with safe_open(path, framework="numpy") as library:
        assert library.get_slice("w").get_shape() == [count]
    assert read_header(path).tensors["w"].dtype == dtype


def test_a_link_is_followed(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "blob")
    (tmp_path / "w.safetensors").symlink_to("blob")
    assert isinstance(read_header(tmp_path / "w.safetensors"), Header)


def test_an_absent_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        read_header(tmp_path / "gone.safetensors")
    assert caught.value.code == "E_WEIGHTS_MISSING"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl", "a torch or zip file"),
        (b"\x80\x02}q\x00X\x05\x00\x00\x00", "a pickle"),
    ],
)
def test_what_is_often_found_under_that_name_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        read_header(path)
    assert caught.value.code == "E_WEIGHTS_FILE"


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16)}, tmp_path / "whole")
    size = (tmp_path / "whole").stat().st_size
    for length in range(size):
        path = Path(shutil.copy(tmp_path / "whole", tmp_path / "cut.safetensors"))
        with path.open("r+b") as stream:
            stream.truncate(length)
        with pytest.raises(DataError):
            read_header(path)
