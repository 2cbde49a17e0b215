"""Weights are compared with the asked backbone before a training starts, by their header alone."""

from __future__ import annotations

import json
import os
import shlex
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from skillrun import bank
from skillrun.errors import DataError, NotFoundError
from skillrun.overrides import set_dotted
from skillrun.preflight import check_weights
from skillrun.weights import BACKBONES, fitting_types, identify, read_header

Shapes = dict[str, tuple[int, ...]]
KEY, TYPE = "model.backbone.pretrained_backbone_path", "model.backbone.type"
BASE = "c_radio_v2_vit_base_patch16_224"
MLP_NORM = [name for name in BACKBONES if name.endswith("mlpnorm")]
WRAPPERS = {"C-RADIO": "radio_model.model.", "NV-DINOv2": "", "FAN": ""}
INSIDE = {"C-RADIO": "backbone.radio.radio.radio.model.", "NV-DINOv2": "backbone.", "FAN": "backbone."}


def blocks(prefix: str, width: int, depth: int) -> Shapes:
    return {f"{prefix}blocks.{index}.norm1.weight": (width,) for index in range(depth)}


def radio(prefix: str, width: int, depth: int, patch: int = 16, tokens: int = 8, norm: bool = False) -> Shapes:
    generator = f"{prefix}patch_generator."
    made: Shapes = {
        f"{generator}pos_embed": (1, 128 * 128, width),
        f"{generator}embedder.weight": (width, 3 * patch * patch),
        f"{generator}cls_token.token": (tokens, width),
    }
    if norm:
        made[f"{prefix}blocks.0.mlp.norm.weight"] = (4 * width,)
    return made | blocks(prefix, width, depth)


def dino(prefix: str, width: int, depth: int, patch: int = 14, gated: str = "w12", hidden: int = 5472) -> Shapes:
    return {
        f"{prefix}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{prefix}pos_embed": (1, 1370, width),
        f"{prefix}blocks.0.mlp.{gated}.weight": (hidden, width),
        f"{prefix}blocks.0.ls1.gamma": (width,),
    } | blocks(prefix, width, depth)


def fan(prefix: str, width: int, depth: int, projection: int = 2) -> Shapes:
    return {
        f"{prefix}patch_embed.backbone.stem.0.weight": (128, 3, 4, 4),
        f"{prefix}patch_embed.backbone.stages.0.blocks.9.norm.weight": (128,),
        f"{prefix}patch_embed.proj.weight": (width, 256, projection, projection),
        f"{prefix}cls_attn_blocks.40.norm1.weight": (width,),
    } | blocks(prefix, width, depth)


def published(kind: str, prefix: str | None = None) -> Shapes:
    """The tensors that tell a type, under the names of its published file or under another prefix."""
    wanted = BACKBONES[kind]
    start = WRAPPERS[wanted.family] if prefix is None else prefix
    if wanted.family == "C-RADIO":
        return radio(start, wanted.width, wanted.depth, 16, wanted.prefix, wanted.mlp_norm)
    if wanted.family == "FAN":
        return fan(start, wanted.width, wanted.depth)
    return dino(start, wanted.width, wanted.depth, gated="w12" if prefix is None else "fc1")


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], ballast: int = 0) -> Path:
    """A sparse file with a true header: no byte of a tensor is written."""
    entries, end = {}, 0
    for name, shape in {**shapes, **({"ballast": (ballast,)} if ballast else {})}.items():
        start, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    raw = json.dumps(entries).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    os.truncate(path, 8 + len(raw) + end)
    return path


def spec(path: Path | str, kind: str = BASE, action: str = "train") -> dict[str, Any]:
    values: dict[str, Any] = bank.load_yaml(bank.template_path("visual_changenet", action))
    set_dotted(values, KEY, str(path))
    set_dotted(values, TYPE, kind)
    return values


def refused(path: Path | str, kind: str = BASE) -> DataError:
    with pytest.raises(DataError) as caught:
        check_weights(spec(path, kind), "train")
    assert caught.value.fix
    return caught.value


def test_every_type_of_the_schema_is_known() -> None:
    found = bank.schema("visual_changenet", "train")["properties"]["model"]["properties"]["backbone"]
    assert list(BACKBONES) == found["properties"]["type"]["enum"]


@pytest.mark.parametrize("kind", BACKBONES)
def test_weights_fit_their_own_type_alone_and_inside_a_whole_network(hostile_dir: Path, kind: str) -> None:
    alone = write(hostile_dir / "alone.safetensors", published(kind))
    inside = published(kind, f"model.{INSIDE[BACKBONES[kind].family]}")
    whole = write(hostile_dir / "whole.safetensors", inside | {"model.decoder.classifier.0.weight": (64, 8, 3, 3)})
    for action in ("train", "segment_train"):
        check_weights(spec(alone, kind, action), action)
        check_weights(spec(whole, kind, action), action)
    assert identify(read_header(alone)) == BACKBONES[kind]


@pytest.mark.parametrize("kind", BACKBONES)
def test_weights_of_another_type_are_refused_with_the_override_that_fits(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "w.safetensors", published(kind))
    alike = MLP_NORM if kind in MLP_NORM else [kind]
    for asked in BACKBONES.keys() - set(alike):
        error = refused(path, asked)
        assert error.code == "E_WEIGHTS_FAMILY"
        assert str(path) in error.message
        assert str(BACKBONES[kind]) in error.message
        assert str(BACKBONES[asked]) in error.message
        assert error.fix.split()[0] == f"{TYPE}={alike[0]}"
        assert all(name in error.fix for name in alike)


@pytest.mark.parametrize(
    ("network", "marks"),
    [
        ("segment network", {"decoder.change_probability.conv2d.weight": (2, 256, 3, 3)}),
        ("classify (learnable) network", {"decoder.classifier.0.weight": (64, 8, 3, 3)}),
        ("classify (euclidean) network", {"fc1.6.weight": (5, 500)}),
    ],
)
def test_a_whole_network_is_named_as_such(tmp_path: Path, network: str, marks: Shapes) -> None:
    path = write(tmp_path / "w.safetensors", published("fan_tiny_8_p4_hybrid", "backbone.") | marks)
    assert f"a Visual ChangeNet {network} with a backbone FAN tiny" in refused(path).message


@pytest.mark.parametrize("patch", [14, 16, 32])
def test_square_patches_of_transformers_are_resized_when_loaded_so_they_pass(tmp_path: Path, patch: int) -> None:
    check_weights(spec(write(tmp_path / "r.safetensors", radio("", 768, 12, patch))), "train")
    path = write(tmp_path / "d.safetensors", dino("", 1024, 24, patch))
    check_weights(spec(path, "vit_large_nvdinov2"), "train")


@pytest.mark.parametrize(
    ("kind", "shapes", "said"),
    [
        (BASE, radio("", 768, 12) | {"patch_generator.embedder.weight": (768, 700)}, "patch not square"),
        (BASE, radio("", 768, 11), "C-RADIO of another size (width 768, depth 11"),
        (BASE, radio("", 768, 12, tokens=16), "16 prefix tokens"),
        (BASE, radio("", 768, 12, norm=True), "MLP norm"),
        (BASE, {"encoder.weight": (3, 3), "b": (1,), "c": (1,), "d": (1,)}, "'encoder.weight', 'b', 'c', ..."),
        (BASE, {"patch_generator.pos_embed": ()}, "no known backbone"),
        (BASE, {}, "its tensors are none"),
        ("vit_large_nvdinov2", dino("", 1024, 24, 14, "fc1", 4096), "ViT of another size (width 1024, depth 24"),
        ("fan_tiny_8_p4_hybrid", fan("", 192, 8, projection=4), "patch 32"),
    ],
)
def test_weights_that_fit_no_type_are_refused_by_what_they_are(
    tmp_path: Path, kind: str, shapes: Shapes, said: str
) -> None:
    path = write(tmp_path / "w.safetensors", shapes)
    assert fitting_types(identify(read_header(path))) == ()
    error = refused(path, kind)
    assert error.code == "E_WEIGHTS_FAMILY"
    assert said in error.message
    assert str(BACKBONES[kind]) in error.fix


def test_a_file_written_by_the_library_is_recognised(tmp_path: Path) -> None:
    small = radio("radio_model.model.", 768, 12) | {"radio_model.model.patch_generator.pos_embed": (1, 4, 768)}
    tensors = {name: np.zeros(shape, np.float16) for name, shape in small.items()}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    check_weights(spec(tmp_path / "w.safetensors"), "train")
    assert refused(tmp_path / "w.safetensors", "fan_small_12_p4_hybrid").fix == f"{TYPE}={BASE}"


def test_of_a_large_file_only_the_header_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", published(BASE), ballast=100_000_000)
    assert path.stat().st_size > 400_000_000
    tracemalloc.start()
    check_weights(spec(path), "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("action", ["evaluate", "segment_inference", "export"])
def test_actions_that_do_not_read_the_weights_do_not_ask_for_them(action: str) -> None:
    check_weights(spec("/gone.safetensors", action=action), action)


def test_no_weights_are_no_finding() -> None:
    check_weights(spec(""), "train")
    check_weights({}, "train")


@pytest.mark.parametrize(
    "source",
    [
        "nvidia/C-RADIOv2-B",
        "hf://nvidia/C-RADIOv2-B/a/w.safetensors@main",
        "https://example.org/a b/model.safetensors",
        "s3://bucket/w.pth",
        "ngc://nvidia/tao/x",
    ],
)
def test_a_source_that_was_not_staged_is_answered_with_the_way_to_fetch_it(source: str) -> None:
    error = refused(source)
    assert error.code == "E_WEIGHTS_SOURCE"
    assert error.fix == f"skillrun stage {shlex.quote(source)}, then {KEY}=<the path that it prints>"


def test_a_folder_is_answered_with_its_file_where_it_has_one(hostile_dir: Path) -> None:
    assert "name another file" in refused(hostile_dir).fix
    file = write(hostile_dir / "model.safetensors", published(BASE))
    error = refused(hostile_dir)
    assert error.code == "E_WEIGHTS_SOURCE"
    assert shlex.split(error.fix)[0] == f"{KEY}={file},"


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.pth", "file/inside.pth"])
def test_absent_weights_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotFoundError, match="do not exist") as caught:
        check_weights(spec(tmp_path / name), "train")
    assert caught.value.code == "E_WEIGHTS_MISSING"


@pytest.mark.parametrize("name", ["w.pth", "w.ckpt", "w.safetensors"])
def test_empty_files_and_pipes_are_no_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "it is empty" in refused(tmp_path / name).message
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert "no regular file" in refused(tmp_path / name).message


@pytest.mark.parametrize("content", [b"PK\x03\x04...", b"\x80\x02}q", b"anything"])
def test_what_a_torch_file_holds_is_for_the_container_to_say(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    check_weights(spec(tmp_path / "w.pth"), "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, published(BASE)).chmod(0)
    assert "Permission denied" in refused(tmp_path / name).message
