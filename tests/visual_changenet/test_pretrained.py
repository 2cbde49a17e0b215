"""Backbone weights from files: published prefixes are understood, a wrong or hostile file is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visual_changenet.errors import DataInvalidError, MissingFileError
from visual_changenet.models.backbones import build_backbone
from visual_changenet.models.pretrained import load_backbone, renamed


@pytest.fixture(scope="module")
def source() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(build_backbone("fan_tiny_8_p4_hybrid").state_dict())


@pytest.fixture
def backbone() -> torch.nn.Module:
    torch.manual_seed(2)
    return build_backbone("fan_tiny_8_p4_hybrid")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("module.blocks.0.norm1.weight", "blocks.0.norm1.weight"),
        ("backbone.blocks.0.norm1.weight", "blocks.0.norm1.weight"),
        ("model.backbone.x", "x"),
        ("model.model.backbone.x", "x"),
        ("model.encoder.x", "x"),
        ("model.x", "x"),
        ("ema_x", None),
        ("x", "x"),
    ],
)
def test_a_wrappers_prefix_is_taken_off(key: str, expected: str | None) -> None:
    assert renamed(key) == expected


@pytest.mark.parametrize("prefix", ["", "model.backbone."])
def test_all_tensors_of_a_safetensors_file_arrive(
    hostile_dir: Path, source: dict[str, torch.Tensor], backbone: torch.nn.Module, prefix: str
) -> None:
    path = hostile_dir / "weights.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in source.items()}, path)
    said = load_backbone(backbone, path)
    assert f"loaded {len(source)} of the backbone's {len(source)}" in said
    assert all(torch.equal(tensor, source[name]) for name, tensor in backbone.state_dict().items())


def test_a_torch_file_with_a_head_loads_and_says_what_it_ignored(
    tmp_path: Path, source: dict[str, torch.Tensor], backbone: torch.nn.Module
) -> None:
    torch.save({"state_dict": source | {"head.fc.weight": torch.zeros(3)}}, tmp_path / "weights.pth")
    assert "ignored 1" in load_backbone(backbone, tmp_path / "weights.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path, backbone: torch.nn.Module) -> None:
    save_file({"blocks.99.foreign": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataInvalidError, match=r"other\.safetensors.*none of its 1 tensors"):
        load_backbone(backbone, tmp_path / "other.safetensors")


def test_weights_of_another_width_are_refused_with_both_shapes(
    tmp_path: Path, source: dict[str, torch.Tensor], backbone: torch.nn.Module
) -> None:
    name = next(key for key, tensor in source.items() if tensor.ndim == 2)
    save_file(
        {**{key: t.contiguous() for key, t in source.items()}, name: torch.zeros(7, 7)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(DataInvalidError, match=r"\[7, 7\], the backbone needs"):
        load_backbone(backbone, tmp_path / "w.safetensors")


class Bomb:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_is_no_weights_is_refused(
    tmp_path: Path, backbone: torch.nn.Module, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataInvalidError) as caught:
        load_backbone(backbone, tmp_path / name)
    assert caught.value.code == "E_BACKBONE_INVALID"


def test_code_in_a_weights_file_is_not_run(tmp_path: Path, backbone: torch.nn.Module) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "canary")}, tmp_path / "evil.pth")
    with pytest.raises(DataInvalidError):
        load_backbone(backbone, tmp_path / "evil.pth")
    assert not (tmp_path / "canary").exists()


def test_a_missing_file_is_named(tmp_path: Path, backbone: torch.nn.Module) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pth"):
        load_backbone(backbone, tmp_path / "nowhere.pth")
