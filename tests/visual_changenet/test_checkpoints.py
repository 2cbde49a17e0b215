"""Checkpoint files: whole or absent, the newest one that can be read, and a clear word where one does not fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from visual_changenet.atomic import remove_leftovers, write_atomic
from visual_changenet.checkpoints import (
    checkpoint_name,
    checkpoint_number,
    latest_name,
    link_latest,
    load_weights,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from visual_changenet.errors import ChangeNetError, DataInvalidError

DYING_WRITER = """
import os, signal, sys
from pathlib import Path
from visual_changenet.atomic import write_atomic

def write(stream):
    if sys.argv[2] == "die":
        import torch
        torch.save({"state_dict": {"model.w": torch.ones(1000)}}, stream)
        stream.flush()
        stream.truncate(stream.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    stream.write(b"half")
    stream.flush()
    sys.stdout.write("half\\n")
    sys.stdout.flush()
    sys.stdin.read()

write_atomic(Path(sys.argv[1]), write)
"""


def content(value: float = 1.0, task: str = "classify") -> dict[str, Any]:
    return {
        "epoch": 0,
        "state_dict": {"model.w": torch.full((4,), value)},
        "tao_model": f"visual_changenet_{task}",
    }


def value_of(path: Path | None) -> float:
    return float(read_checkpoint(path, "key")["state_dict"]["model.w"][0])


def test_a_writer_killed_in_the_middle_leaves_the_previous_checkpoint(hostile_dir: Path) -> None:
    path = hostile_dir / checkpoint_name(0, 2)
    write_checkpoint(content(1.0), path)
    died = subprocess.run([sys.executable, "-c", DYING_WRITER, str(path), "die"], timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert value_of(path) == 1.0
    assert newest_checkpoint(hostile_dir, "classify")[0] == path
    assert len(list(hostile_dir.iterdir())) == 2
    write_checkpoint(content(2.0), hostile_dir / checkpoint_name(1, 4))
    assert sorted(entry.name for entry in hostile_dir.iterdir()) == [checkpoint_name(0, 2), checkpoint_name(1, 4)]


def test_the_half_file_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / checkpoint_name(0, 2)
    command = [sys.executable, "-c", DYING_WRITER, str(path), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == b"half\n"
        half = [entry.name for entry in tmp_path.iterdir()]
        remove_leftovers(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == half
        writer.stdin.close()
    assert writer.returncode == 0
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_atomic(path, lambda stream: stream.write(b"new" * (1 // 0)))
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model_epoch_000_step_00012.pth", (0, 12)),
        ("model_epoch_1000_step_123456.pth", (1000, 123456)),
        ("model_epoch=003-step=00012.tlt", (3, 12)),
        ("changenet_model_classify_latest.pth", None),
        (".model_epoch_000_step_00012.pth.77.tmp", None),
    ],
)
def test_epoch_and_step_are_read_from_published_names(name: str, expected: tuple[int, int] | None) -> None:
    assert checkpoint_number(name) == expected


@pytest.fixture
def folder(hostile_dir: Path) -> Path:
    """Three checkpoints, values 1 to 3, and the link to the newest."""
    for index in range(3):
        path = hostile_dir / checkpoint_name(index, 9 + index)
        write_checkpoint(content(index + 1.0), path)
    link_latest(path, "classify")
    return hostile_dir


def test_the_link_names_the_newest(folder: Path) -> None:
    found, notices = newest_checkpoint(folder, "classify")
    assert found == folder / checkpoint_name(2, 11)
    assert notices == []


def test_a_link_to_an_older_one_counts_as_the_newest(folder: Path) -> None:
    link_latest(folder / checkpoint_name(0, 9), "classify")
    assert value_of(newest_checkpoint(folder, "classify")[0]) == 1.0


def test_a_copied_latest_file_is_used(folder: Path) -> None:
    link = folder / latest_name("classify")
    link.unlink()
    torch.save(content(7.0), link)
    assert newest_checkpoint(folder, "classify")[0] == link


def test_a_dangling_link_falls_back_to_the_numbered_files(folder: Path) -> None:
    (folder / checkpoint_name(2, 11)).unlink()
    found, notices = newest_checkpoint(folder, "classify")
    assert found == folder / checkpoint_name(1, 10)
    assert checkpoint_name(2, 11) in notices[0]


def test_a_newest_file_cut_short_falls_back_to_the_one_before_with_a_notice(folder: Path) -> None:
    broken = folder / checkpoint_name(2, 11)
    broken.write_bytes(broken.read_bytes()[:-40])
    found, notices = newest_checkpoint(folder, "classify")
    assert found == folder / checkpoint_name(1, 10)
    assert len(notices) == 1
    assert checkpoint_name(2, 11) in notices[0]


def test_the_highest_step_is_the_newest_where_there_is_no_link(folder: Path) -> None:
    (folder / latest_name("classify")).unlink()
    write_checkpoint(content(9.0), folder / checkpoint_name(0, 100))
    assert value_of(newest_checkpoint(folder, "classify")[0]) == 9.0


def test_a_checkpoint_of_the_other_task_is_passed_over(folder: Path) -> None:
    found, notices = newest_checkpoint(folder, "segment")
    assert found is None
    assert len(notices) == 3


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, "classify")[0] is None
    assert newest_checkpoint(tmp_path / "none", "classify")[0] is None


def test_a_copy_stands_in_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    path = tmp_path / checkpoint_name(0, 1)
    write_checkpoint(content(4.0), path)
    link_latest(path, "classify")
    assert not (tmp_path / latest_name("classify")).is_symlink()
    assert value_of(newest_checkpoint(tmp_path, "classify")[0]) == 4.0


class Network(nn.Module):
    """As small as a network can be that has position codes and a size-dependent classifier."""

    def __init__(self, side: int = 2, features: int = 8) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.register_parameter("pos_embed", nn.Parameter(torch.randn(1, 1 + side * side, 3)))
        self.decoder = nn.Module()
        self.decoder.classifier = nn.Sequential(nn.Linear(features, 2))


def saved(model: nn.Module, **extra: Tensor) -> dict[str, Any]:
    return {"state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()} | extra}


@pytest.mark.parametrize("extra", [{}, {"criterion.weight": torch.ones(2)}])
def test_weights_load_with_and_without_the_losss_class_weights(extra: dict[str, Tensor]) -> None:
    source, target = Network(), Network()
    assert load_weights(target, saved(source, **extra), "x.pth") == []
    assert all(torch.equal(t, source.state_dict()[name]) for name, t in target.state_dict().items())


def test_a_compiled_networks_names_are_the_same_as_a_plain_ones() -> None:
    source, target = Network(), Network()
    content = {"state_dict": {f"model._orig_mod.{name}": tensor for name, tensor in source.state_dict().items()}}
    load_weights(target, content, "x.pth")
    assert torch.equal(target.backbone.pos_embed, source.backbone.pos_embed)  # type: ignore[arg-type]


def test_a_safetensors_file_serves_as_a_checkpoint(tmp_path: Path) -> None:
    source, target = Network(), Network()
    save_file({f"model.{name}": t for name, t in source.state_dict().items()}, tmp_path / "x.safetensors")
    load_weights(target, read_checkpoint(tmp_path / "x.safetensors", "evaluate.checkpoint"), "x.safetensors")
    assert torch.equal(target.backbone.pos_embed, source.backbone.pos_embed)  # type: ignore[arg-type]


def test_position_codes_of_another_image_size_are_resized_only_where_asked() -> None:
    source, target = Network(side=2), Network(side=4)
    with pytest.raises(DataInvalidError, match=r"pos_embed is \[1, 5, 3\], the model needs \[1, 17, 3\]"):
        load_weights(target, saved(source), "x.pth")
    (notice,) = load_weights(target, saved(source), "x.pth", resize_positions=True)
    assert "from [1, 5, 3] to [1, 17, 3]" in notice
    codes = target.state_dict()["backbone.pos_embed"]
    old = source.state_dict()["backbone.pos_embed"]
    grid = old[:, 1:].reshape(1, 2, 2, 3).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, (4, 4), mode="bicubic", align_corners=False).permute(0, 2, 3, 1).reshape(1, 16, 3)
    torch.testing.assert_close(codes, torch.cat([old[:, :1], wanted], dim=1))


def test_a_classifier_of_another_image_size_is_refused_with_the_keys_to_set() -> None:
    with pytest.raises(DataInvalidError, match=r"classifier\.0\.weight is \[2, 32\]") as caught:
        load_weights(Network(features=8), saved(Network(features=32)), "x.pth", resize_positions=True)
    assert "dataset.classify.image_height" in caught.value.fix


def test_a_missing_tensor_is_named_and_nothing_is_changed() -> None:
    target = Network()
    before = target.state_dict()["backbone.pos_embed"].clone()
    content = saved(Network())
    del content["state_dict"]["model.decoder.classifier.0.bias"]
    with pytest.raises(DataInvalidError, match=r"decoder\.classifier\.0\.bias is missing in the checkpoint"):
        load_weights(target, content, "x.pth")
    assert torch.equal(target.state_dict()["backbone.pos_embed"], before)


def test_a_forgotten_summary_token_is_named_as_such() -> None:
    source, target = Network(), Network()
    source.backbone.fc_summary = nn.Linear(2, 2)
    with pytest.raises(DataInvalidError) as caught:
        load_weights(target, saved(source), "x.pth")
    assert caught.value.fix == "set model.decode_head.use_summary_token to True"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"state_dict_encrypted": True, "state_dict": b"\x00"}, "E_CHECKPOINT_ENCRYPTED"),
        ({"weights": 1}, "E_CHECKPOINT_INVALID"),
        ([1, 2], "E_CHECKPOINT_INVALID"),
    ],
)
def test_a_file_without_readable_tensors_is_refused(tmp_path: Path, entry: object, code: str) -> None:
    torch.save(entry, tmp_path / "x.pth")
    with pytest.raises(ChangeNetError) as caught:
        read_checkpoint(tmp_path / "x.pth", "evaluate.checkpoint")
    assert caught.value.code == code
    assert str(tmp_path / "x.pth") in caught.value.message
