"""Weights files that carry code: no reader of them runs it, and the converter keeps only the tensors."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import re
import runpy
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from visual_changenet.actions.convert_checkpoint import convert_checkpoint
from visual_changenet.actions.train import SafeCheckpointIO
from visual_changenet.checkpoints import newest_checkpoint, read_checkpoint
from visual_changenet.errors import DataInvalidError
from visual_changenet.models.pretrained import load_backbone
from visual_changenet.weights.foreign import describe

TENSOR = torch.arange(6.0).reshape(2, 3)


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __call__(self) -> None:
        """Only so that a call can itself be called in a pickle."""

    def __reduce__(self) -> Any:
        return self.call


def write_code(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


ATTACKS: dict[str, Callable[[Path], Any]] = {
    "system": lambda canary: Call(os.system, f"touch '{canary}'"),
    "exec": lambda canary: Call(builtins.exec, write_code(canary)),
    "eval": lambda canary: Call(builtins.eval, write_code(canary)),
    "open": lambda canary: Call(open, str(canary), "w"),
    "mkdir": lambda canary: Call(os.mkdir, str(canary)),
    "subprocess": lambda canary: Call(subprocess.run, ["touch", str(canary)]),
    "nested": lambda canary: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(canary)))),
    "run_path": lambda canary: Call(runpy.run_path, str(canary.with_name("inner.py"))),
    "getattr": lambda canary: Call(Call(getattr, canary, "mkdir")),
    "socket": lambda canary: Call(socket.create_connection, ("127.0.0.1", 9)),
}


def evil_file(folder: Path, attack: str, *, legacy: bool) -> tuple[Path, Path]:
    """A sound checkpoint with the attack among its entries, and the file or folder that the attack would make."""
    canary = folder / "canary"
    (folder / "inner.py").write_text(write_code(canary), encoding="utf-8")
    content = {
        "epoch": 0,
        "state_dict": {"model.weight": TENSOR},
        "hyper_parameters": ATTACKS[attack](canary),
    }
    path = folder / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path, canary


READERS: dict[str, Callable[[Path], object]] = {
    "read_checkpoint": lambda path: read_checkpoint(path, "evaluate.checkpoint"),
    "load_backbone": lambda path: load_backbone(torch.nn.Linear(3, 2), path),
    "resume": lambda path: SafeCheckpointIO().load_checkpoint(path),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_reader_runs_code_and_the_class_is_named(hostile_dir: Path, attack: str, legacy: bool) -> None:
    path, canary = evil_file(hostile_dir, attack, legacy=legacy)
    for name, reader in READERS.items():
        with pytest.raises(DataInvalidError, match="it asks for ") as caught:
            reader(path)
        assert caught.value.code == "E_CHECKPOINT_UNSAFE", name
        assert "convert-checkpoint" in caught.value.fix
        assert not canary.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_converter_keeps_the_tensors_and_drops_the_code(hostile_dir: Path, attack: str, legacy: bool) -> None:
    path, canary = evil_file(hostile_dir, attack, legacy=legacy)
    convert_checkpoint(path, hostile_dir / "out.pth")
    assert not canary.exists()
    content = torch.load(hostile_dir / "out.pth", weights_only=True)
    assert set(content) == {"epoch", "state_dict"}
    assert torch.equal(content["state_dict"]["model.weight"], TENSOR)


def test_looking_for_the_newest_checkpoint_runs_nothing(tmp_path: Path) -> None:
    path, canary = evil_file(tmp_path, "system", legacy=False)
    path.rename(tmp_path / "model_epoch_000_step_00001.pth")
    assert newest_checkpoint(tmp_path, "classify")[0] is None
    assert not canary.exists()


def raw_zip(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return path


def laughs() -> bytes:
    """Ten to the power of forty items in a hundred bytes."""
    stream = io.BytesIO(b"")
    stream.write(b"\x80\x02]q\x00")
    for level in range(40):
        stream.write(b"]q" + bytes([level + 1]) + b"(" + (b"h" + bytes([level])) * 10 + b"e")
    stream.write(b".")
    return stream.getvalue()


BOMBS = {
    "endless list": b"\x80\x02]q\x00h\x00a.",
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "laughs": laughs(),
    "claims a terabyte": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b".",
    "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "state of a class": b"\x80\x02cos\nsystem\n}X\x01\x00\x00\x00aK\x01sb.",
    "state of a builder": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00buildK\x01sb.",
    "extension": b"\x80\x02\x82\x01.",
    "no end": b"\x80\x02]",
    "tensor outside": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\x7ftQK\x00K\x05\x85K\x01\x85\x89NtR.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_that_would_fill_memory_or_time_is_refused(tmp_path: Path, bomb: str) -> None:
    path = raw_zip(tmp_path / "bomb.pth", BOMBS[bomb])
    with pytest.raises(DataInvalidError) as caught:
        convert_checkpoint(path, tmp_path / "out.pth")
    assert caught.value.code == "E_CHECKPOINT_INVALID"
    assert "refused: " not in caught.value.message
    assert [entry.name for entry in tmp_path.iterdir()] == ["bomb.pth"]


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        (b"K\xff\x85", b"K\x01\x85"),
        (b"J\xff\xff\xff\x7f\x85", b"K\x00\x85"),
        (b"K\x04\x85", b")"),
        (b"J\xff\xff\xff\xff\x85", b")"),
    ],
    ids=["too long", "repeated without end", "no stride", "negative"],
)
def test_a_tensor_that_reaches_beyond_its_data_is_refused(tmp_path: Path, size: bytes, stride: bytes) -> None:
    torch.save({"state_dict": {"w": torch.zeros(4)}, "x": Call(os.getpid)}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as source, zipfile.ZipFile(tmp_path / "bad.pth", "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith("data.pkl"):
                data, count = re.subn(rb"(?s)K\x04\x85(q.)K\x01\x85", lambda m: size + m[1] + stride, data)
                assert count == 1
            target.writestr(info.filename, data)
    with pytest.raises(DataInvalidError, match="outside the file"):
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "out.pth")


def test_the_reading_process_can_neither_write_nor_import_nor_connect(tmp_path: Path) -> None:
    probe = """
import os, runpy, socket, sys
module = runpy.run_path(sys.stdin.readline().strip(), run_name="unpickle")
module["isolate"]()
def attempt(name, action):
    try:
        action()
    except (RuntimeError, OSError) as error:
        return
    sys.stdout.write(name + " ")
attempt("open", lambda: open("x", "w"))
attempt("read", lambda: open("/etc/hostname"))
attempt("os.open", lambda: os.open("x", os.O_CREAT | os.O_WRONLY))
attempt("socket", lambda: socket.socket())
attempt("system", lambda: os.system("true"))
attempt("import", lambda: __import__("colorsys"))
attempt("exec", lambda: exec("1"))
attempt("remove", lambda: os.remove("x"))
sys.stdout.flush()
os._exit(0)
"""
    from visual_changenet.weights import unpickle

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", probe],
        input=f"{unpickle.__file__}\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_a_plain_file_asks_for_no_class(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"w": TENSOR.half()}, "n": [1, (2.5, "ü")], "p": torch.nn.Parameter(TENSOR)}, tmp_path / "p"
    )
    assert describe(tmp_path / "p").asked == ()
