"""Backbone weights from files: published prefixes are understood, a wrong or hostile file is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from visual_changenet.errors import DataInvalidError, MissingFileError
from visual_changenet.models.backbones.dinov2 import DinoPyramid, DinoShape
from visual_changenet.models.backbones.fan import FAN_FAMILY, Fan, FanShape
from visual_changenet.models.backbones.radio import RadioPyramid, RadioShape
from visual_changenet.models.pretrained import inner_name, load_backbone, renamed
from visual_changenet.weights.adapt import adapt
from visual_changenet.weights.identify import identify

SMALL = FanShape(width=16, blocks=4, heads=2, third_map_after=3, stem_depths=(1, 1))


@pytest.fixture(scope="module")
def source() -> dict[str, Tensor]:
    """A tensor of its own constant under every name of a small FAN."""
    shapes = Fan(SMALL).state_dict()
    return {name: torch.full_like(tensor, index + 1) for index, (name, tensor) in enumerate(shapes.items())}


@pytest.fixture(scope="session")
def parity_folder(shared: Path) -> Path:
    return shared / "parity"


@pytest.fixture
def backbone() -> nn.Module:
    return Fan(SMALL)


class Published(nn.Module):
    """Parameters by published names: an inner vision transformer, and a task layer outside of it."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], inside: str) -> None:
        super().__init__()
        self.inside = inside
        self.add("outer.weight", torch.zeros(2))
        for name, shape in shapes.items():
            self.add(f"{inside}.{name}", torch.zeros(shape))

    def add(self, name: str, value: Tensor) -> None:
        *parents, last = name.split(".")
        module: nn.Module = self
        for part in parents:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(value))

    def pretrained_part(self) -> nn.Module:
        return self.get_submodule(self.inside)


def transformer(width: int, depth: int, hidden: int, *, scale: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of vision transformer blocks."""
    block = {
        "norm1.weight": (width,),
        "attn.qkv.weight": (3 * width, 2),
        "mlp.fc1.weight": (hidden, 2),
    } | ({"ls1.gamma": (width,)} if scale else {})
    return {f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}


def radio(width: int = 8, depth: int = 2, side: int = 128, patch: int = 16) -> dict[str, tuple[int, ...]]:
    generator = {
        "pos_embed": (1, side * side, width),
        "embedder.weight": (width, 3 * patch * patch),
        "cls_token.token": (8, width),
    }
    blocks = transformer(width, depth, 4 * width)
    return blocks | {f"patch_generator.{name}": shape for name, shape in generator.items()}


def dino(width: int = 8, side: int = 37, patch: int = 14) -> dict[str, tuple[int, ...]]:
    stem = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side * side, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "norm.weight": (width,),
    }
    return stem | transformer(width, 2, 5472, scale=True)


def drawn(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {prefix + name: torch.randn(shape) for name, shape in shapes.items()}


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


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("radio_model.model.blocks.0.norm1.weight", "blocks.0.norm1.weight"),
        ("base_model.blocks.0.norm1.weight", "blocks.0.norm1.weight"),
        ("model.backbone.radio.radio.radio.model.patch_generator.pos_embed", "patch_generator.pos_embed"),
        ("radio_model.model.blocks.3.ls1.grandma", "blocks.3.ls1.gamma"),
    ],
)
def test_a_c_radio_key_loses_its_wrappers_and_its_misspelling(key: str, expected: str) -> None:
    assert inner_name(key, "c_radio") == expected


@pytest.mark.parametrize("prefix", ["", "model.backbone."])
def test_all_tensors_of_a_safetensors_file_arrive(
    hostile_dir: Path, source: dict[str, Tensor], backbone: nn.Module, prefix: str
) -> None:
    path = hostile_dir / "weights.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in source.items()}, path)
    said = load_backbone(backbone, path)
    assert f"loaded {len(source)} of the backbone's {len(source)}" in said
    assert all(torch.equal(tensor, source[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("container", ["state_dict", "model", ""])
def test_a_torch_file_with_a_head_loads_and_says_what_it_ignored(
    tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module, container: str
) -> None:
    content = source | {"head.fc.weight": torch.zeros(3), "norm.weight": torch.zeros(3)}
    torch.save({container: content} if container else content, tmp_path / "weights.pth")
    assert "ignored 2" in load_backbone(backbone, tmp_path / "weights.pth")


def test_a_classification_checkpoint_loads(tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module) -> None:
    state = {f"model.{name}": tensor for name, tensor in source.items()} | {"model.head.weight": torch.zeros(3)}
    torch.save({"tao_model": "classification", "state_dict": state}, tmp_path / "weights.pth")
    assert f"loaded {len(source)}" in load_backbone(backbone, tmp_path / "weights.pth")


def test_a_changenet_checkpoint_gives_its_backbone(
    tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module
) -> None:
    state = {f"model.backbone.{name}": tensor for name, tensor in source.items()}
    state |= {"model.decoder.classifier.0.weight": torch.zeros(5, 4), "criterion.weight": torch.ones(2)}
    torch.save({"tao_model": "visual_changenet_classify", "state_dict": state}, tmp_path / "whole.pth")
    said = load_backbone(backbone, tmp_path / "whole.pth")
    assert f"loaded {len(source)} of the backbone's {len(source)} tensors, ignored 2" in said
    assert torch.equal(backbone.state_dict()["patch_embed.proj.weight"], source["patch_embed.proj.weight"])


def test_weights_that_lack_only_the_unused_class_token_load_with_a_table(
    tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module
) -> None:
    kept = {name: t.contiguous() for name, t in source.items() if name != "cls_attn_blocks.0.attn.q.weight"}
    save_file(kept, tmp_path / "w.safetensors")
    said = load_backbone(backbone, tmp_path / "w.safetensors")
    assert "missing     1  cls_attn_blocks.0.attn.q.weight" in said


def test_weights_that_lack_a_used_tensor_are_refused_with_counts(
    tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module
) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    kept = {name: t.contiguous() for name, t in source.items() if not name.startswith("blocks.3.attn.")}
    save_file(kept, tmp_path / "w.safetensors")
    with pytest.raises(DataInvalidError, match=rf"lacks 6 tensors.*loaded {len(kept)} of {len(source)}") as caught:
        load_backbone(backbone, tmp_path / "w.safetensors")
    assert caught.value.code == "E_BACKBONE_MISMATCH"
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path: Path, backbone: nn.Module) -> None:
    save_file({"blocks.99.foreign": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataInvalidError, match=r"none of the 1 tensors of .*other\.safetensors.*FAN of width 16"):
        load_backbone(backbone, tmp_path / "other.safetensors")


def test_weights_of_another_family_are_refused_by_name(tmp_path: Path, backbone: nn.Module) -> None:
    save_file(drawn(radio(side=4), "radio_model.model."), tmp_path / "radio.safetensors")
    with pytest.raises(
        DataInvalidError, match=r"C-RADIO ViT-of another size \(width 8, depth 2\).*asks for FAN of width"
    ):
        load_backbone(backbone, tmp_path / "radio.safetensors")


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        tiny, small = (Fan(FAN_FAMILY[f"fan_{size}_p4_hybrid"]) for size in ("tiny_8", "small_12"))
    zeros = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in small.state_dict().items()}
    torch.save({"model": zeros}, tmp_path / "small.pth")
    with pytest.raises(DataInvalidError, match=r"is FAN small, but model\.backbone\.type asks for FAN tiny"):
        load_backbone(tiny, tmp_path / "small.pth")


def test_weights_of_another_width_are_refused_with_both_shapes(
    tmp_path: Path, source: dict[str, Tensor], backbone: nn.Module
) -> None:
    name = next(key for key, tensor in source.items() if tensor.ndim == 2)
    save_file(
        {**{key: t.contiguous() for key, t in source.items()}, name: torch.zeros(7, 7)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(DataInvalidError, match=r"\[7, 7\], the backbone needs"):
        load_backbone(backbone, tmp_path / "w.safetensors")


def test_a_published_c_radio_file_fills_the_inner_transformer(tmp_path: Path) -> None:
    backbone = Published(radio(), "radio.radio.radio.model")
    file = drawn(radio(), "radio_model.model.") | {"radio_model.input_conditioner.norm_mean": torch.zeros(3, 1, 1)}
    save_file(file, tmp_path / "model.safetensors")
    said = load_backbone(backbone, tmp_path / "model.safetensors")
    assert f"loaded {len(radio())} of the backbone's {len(radio())} tensors, ignored 1" in said
    for name, tensor in backbone.pretrained_part().state_dict().items():
        assert torch.equal(tensor, file[f"radio_model.model.{name}"])


def test_a_c_radio_file_of_another_grid_and_patch_is_resized_corner_to_corner(tmp_path: Path) -> None:
    backbone, small = Published(radio(), "radio.model"), radio(side=20, patch=8)
    file = drawn(small, "radio_model.model.")
    save_file(file, tmp_path / "model.safetensors")
    assert "Resized: patch_generator.embedder.weight, patch_generator.pos_embed" in "Resized: " + ", ".join(
        sorted(load_backbone(backbone, tmp_path / "model.safetensors").split("Resized: ")[1].rstrip(".").split(", "))
    )
    state = backbone.pretrained_part().state_dict()
    grid = file["radio_model.model.patch_generator.pos_embed"].reshape(1, 20, 20, 8).permute(0, 3, 1, 2)
    large = F.interpolate(grid, (128, 128), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    torch.testing.assert_close(state["patch_generator.pos_embed"], large.reshape(1, -1, 8))
    # Corner to corner: the four corners keep their codes.
    torch.testing.assert_close(state["patch_generator.pos_embed"][0, 0], grid[0, :, 0, 0])
    torch.testing.assert_close(state["patch_generator.pos_embed"][0, -1], grid[0, :, -1, -1])
    patches = file["radio_model.model.patch_generator.embedder.weight"].reshape(8, 3, 8, 8)
    wanted = F.interpolate(patches, (16, 16), mode="bicubic", align_corners=True)
    torch.testing.assert_close(state["patch_generator.embedder.weight"], wanted.reshape(8, -1))


def test_a_nvdinov2_file_is_resized_and_its_class_code_kept(tmp_path: Path) -> None:
    backbone = Published(dino(side=14, patch=16), "vit")
    file = drawn(dino())
    torch.save({"state_dict": file}, tmp_path / "dino.ckpt")
    load_backbone(backbone, tmp_path / "dino.ckpt")
    state = backbone.pretrained_part().state_dict()
    assert torch.equal(state["pos_embed"][:, 0], file["pos_embed"][:, 0])
    grid = file["pos_embed"][:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, (14, 14), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(state["pos_embed"][:, 1:], wanted.reshape(1, -1, 8))
    proj = F.interpolate(file["patch_embed.proj.weight"], (16, 16), mode="bicubic", align_corners=False)
    torch.testing.assert_close(state["patch_embed.proj.weight"], proj)


def test_a_resize_changes_nothing_that_no_rule_names() -> None:
    tensors = {"blocks.0.attn.qkv.weight": torch.ones(6, 2), "pos_embed": torch.ones(1, 6, 4)}
    wanted = {"blocks.0.attn.qkv.weight": torch.Size([9, 3]), "pos_embed": torch.Size([1, 17, 4])}
    assert {name: t.shape for name, t in adapt(tensors, wanted).items()} == {n: t.shape for n, t in tensors.items()}


def test_real_pyramids_take_published_names_and_keep_their_adapter(tmp_path: Path) -> None:
    shape = RadioShape(32, 4, 16)
    pyramid = RadioPyramid(shape, summary=False)
    spm = pyramid.state_dict()["spm.stem.0.weight"].clone()
    wanted = {name: tuple(tensor.shape) for name, tensor in pyramid.pretrained_part().state_dict().items()}
    file = drawn(wanted, "radio_model.model.")
    save_file(file, tmp_path / "radio.safetensors")
    assert f"loaded {len(file)} of the backbone's {len(file)} tensors" in load_backbone(
        pyramid, tmp_path / "radio.safetensors"
    )
    prefix = "radio.radio.radio.model."
    state = pyramid.state_dict()
    assert all(torch.equal(state[prefix + name], file["radio_model.model." + name]) for name in wanted)
    assert torch.equal(state["spm.stem.0.weight"], spm)


def test_a_real_nvdinov2_pyramid_does_without_the_final_norm(tmp_path: Path) -> None:
    pyramid = DinoPyramid(DinoShape(32, 4, 16), side=64)
    wanted = {name: tuple(tensor.shape) for name, tensor in pyramid.pretrained_part().state_dict().items()}
    file = drawn(wanted | {"pos_embed": (1, 1 + 37 * 37, 32), "patch_embed.proj.weight": (32, 3, 14, 14)})
    torch.save({name: t for name, t in file.items() if not name.startswith("norm.")}, tmp_path / "dino.ckpt")
    said = load_backbone(pyramid, tmp_path / "dino.ckpt")
    assert "missing     2  norm.weight, norm.bias" in said
    assert "Resized: pos_embed, patch_embed.proj.weight" in said
    assert torch.equal(pyramid.state_dict()["blocks.1.attn.qkv.weight"], file["blocks.1.attn.qkv.weight"])


def test_a_changenet_network_gives_its_adapter_too(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source, target = (DinoPyramid(DinoShape(32, 4, 16), side=side) for side in (64, 96))
    state = {f"model.backbone.{name}": tensor for name, tensor in source.state_dict().items()}
    state["model.decoder.change_probability.conv2d.weight"] = torch.zeros(2, 4, 3, 3)
    torch.save({"state_dict": state}, tmp_path / "segment.pth")
    said = load_backbone(target, tmp_path / "segment.pth")
    assert "Resized: pos_embed." in said
    assert torch.equal(target.state_dict()["spm.stem.0.weight"], source.state_dict()["spm.stem.0.weight"])


@pytest.mark.parametrize("name", ["pos_embed", "patch_embed.proj.weight"])
def test_an_essential_tensor_that_is_missing_is_an_error(tmp_path: Path, name: str) -> None:
    torch.save({key: value for key, value in drawn(dino()).items() if key != name}, tmp_path / "dino.ckpt")
    with pytest.raises(DataInvalidError) as caught:
        load_backbone(Published(dino(), "vit"), tmp_path / "dino.ckpt")
    assert caught.value.code == "E_BACKBONE_MISMATCH"


KNOWN = {
    "cls_cradio_v2_b_euclidean": "classify (euclidean) checkpoint with C-RADIO ViT-B (width 768, depth 12)",
    "state_dicts/cls_cradio_v2_h_learnable_summary": "(learnable) checkpoint with C-RADIO ViT-H (width 1280, depth 32)",
    "state_dicts/cls_cradio_p1_h_euclidean": "C-RADIO ViT-H (width 1280, depth 32, with MLP norm)",
    "cls_fan_small_learnable": "classify (learnable) checkpoint with FAN small",
    "cls_fan_tiny_euclidean": "classify (euclidean) checkpoint with FAN tiny",
    "state_dicts/seg_fan_large_16_p4_hybrid_256": "a Visual ChangeNet segment checkpoint with FAN large",
    "seg_nvdinov2_l_224": "segment checkpoint with NV-DINOv2 ViT-L (width 1024, depth 24, patch 16)",
    "state_dicts/cls_nvdinov2_l_euclidean": "checkpoint with NV-DINOv2 ViT-L (width 1024, depth 24, patch 14)",
}


@pytest.mark.parametrize("name", KNOWN)
def test_published_networks_are_recognised(parity_folder: Path, name: str) -> None:
    recorded = json.loads((parity_folder / f"{name}.state_dict.json").read_text(encoding="utf-8"))["tensors"]
    shapes = {f"model.{key}": tuple(entry["shape"]) for key, entry in recorded.items()}
    assert KNOWN[name] in str(identify(shapes))
    inner = {key.split("backbone.", 1)[1]: shape for key, shape in shapes.items() if "model.backbone." in key}
    assert str(identify(inner)) in KNOWN[name]


def header(text: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if claimed is None else claimed) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
        header(b"{}", 1 << 40),
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        )
        + bytes(4),
        header(b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}') + bytes(4),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, backbone: nn.Module, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataInvalidError) as caught:
        load_backbone(backbone, tmp_path / name)
    assert caught.value.code == "E_BACKBONE_INVALID"


def test_a_missing_file_is_named(tmp_path: Path, backbone: nn.Module) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pth"):
        load_backbone(backbone, tmp_path / "nowhere.pth")
