"""Every backbone builds for every task; sizes and combinations that can not work are refused with a fix."""

from typing import Any, get_args

import pytest
import torch

from visual_changenet.config.geometry import feature_strides
from visual_changenet.config.model import BackboneName
from visual_changenet.errors import SpecError
from visual_changenet.models import Network, build_model
from visual_changenet.models.backbones import BACKBONES
from visual_changenet.models.backbones.base import EmbeddingBackbone, PyramidBackbone

KINDS = get_args(BackboneName)
FAN, RADIO, DINO = "fan_tiny_8_p4_hybrid", "c_radio_v2_vit_base_patch16_224", "vit_large_nvdinov2"


def spec(kind: str, use: str, height: int = 224, width: int | None = None, **data: Any) -> dict[str, Any]:
    """``use`` is euclidean, learnable or segment."""
    model = {"backbone": {"type": kind}}
    if use == "segment":
        return {"task": "segment", "model": model, "dataset": {"segment": {"img_size": height} | data}}
    images = {"image_height": height, "image_width": width or height, "num_input": 1, "input_map": None} | data
    model["classify"] = {"difference_module": use, "eval_margin": 0.5}
    return {"task": "classify", "model": model, "dataset": {"classify": images}}


def on_meta(given: dict[str, Any]) -> Network:
    with torch.device("meta"):
        return build_model(given)


def test_the_registry_has_all_documented_types_with_the_documented_strides() -> None:
    assert set(BACKBONES) == set(KINDS)
    assert all(shape.strides == feature_strides(kind) for kind, shape in BACKBONES.items())


@pytest.mark.parametrize("use", ["euclidean", "learnable", "segment"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_backbone_builds_for_every_task_without_memory(kind: str, use: str) -> None:
    network = on_meta(spec(kind, use))
    assert all(parameter.is_meta for parameter in network.parameters())
    assert isinstance(network.backbone, EmbeddingBackbone if use == "euclidean" else PyramidBackbone)


@pytest.mark.parametrize(
    ("kind", "use", "size", "words"),
    [
        (FAN, "learnable", (40, 64), "multiples of 16"),
        (FAN, "segment", (72, 72), "multiples of 16"),
        (RADIO, "euclidean", (72, 72), "multiples of 16"),
        (RADIO, "learnable", (48, 48), "multiples of 32"),
        (RADIO, "segment", (240, 240), "multiples of 32"),
        (RADIO, "learnable", (64, 128), "both the same"),
        (DINO, "euclidean", (256, 256), "multiples of 14"),
        (DINO, "learnable", (48, 48), "multiples of 32"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_by_name(kind: str, use: str, size: tuple[int, int], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        on_meta(spec(kind, use, *size))
    assert caught.value.code == "E_MODEL_SIZE"
    assert f"{size[0]} x {size[1]}" in caught.value.message
    assert kind in caught.value.message
    assert f"dataset.{'segment.img_size' if use == 'segment' else 'classify.image_height'}" in caught.value.fix


def test_the_sizes_that_a_refusal_proposes_are_accepted() -> None:
    with pytest.raises(SpecError, match="multiples of 32") as caught:
        on_meta(spec(RADIO, "segment", 250))
    assert "to 224 or 256" in caught.value.fix
    for side in (224, 256):
        on_meta(spec(RADIO, "segment", side))


def test_a_fan_takes_sides_that_differ() -> None:
    on_meta(spec(FAN, "learnable", 64, 48))


@pytest.mark.parametrize(("kind", "use"), [(FAN, "learnable"), (FAN, "euclidean"), (RADIO, "euclidean")])
def test_several_golden_images_are_refused_where_the_network_takes_one(kind: str, use: str) -> None:
    with pytest.raises(SpecError, match="num_golden is 3") as caught:
        on_meta(spec(kind, use, num_golden=3))
    assert caught.value.code == "E_MODEL_UNSUPPORTED"
    assert "num_golden to 1" in caught.value.fix


def test_several_golden_images_need_sides_of_a_multiple_of_224() -> None:
    on_meta(spec(DINO, "learnable", 448, num_golden=2))
    with pytest.raises(SpecError, match="multiples of 224") as caught:
        on_meta(spec(RADIO, "learnable", 256, num_golden=2))
    assert caught.value.code == "E_MODEL_SIZE"


def test_a_downsampled_fan_is_refused_for_both_modules() -> None:
    for use in ("learnable", "euclidean"):
        given = spec(FAN, use)
        given["model"]["backbone"]["feat_downsample"] = True
        with pytest.raises(SpecError, match="feat_downsample") as caught:
            on_meta(given)
        assert caught.value.code == "E_MODEL_UNSUPPORTED"


@pytest.mark.parametrize("use", ["learnable", "segment"])
@pytest.mark.parametrize("modules", [1, 3])
@pytest.mark.parametrize("kind", [FAN, RADIO])
def test_other_widths_classes_and_modules_train(kind: str, use: str, modules: int) -> None:
    torch.manual_seed(0)
    given = spec(kind, use, 64, num_classes=3)
    given["model"] |= {"decode_head": {"decoder_params": {"embed_dim": 32}}}
    given["model"].setdefault("classify", {}).update(learnable_difference_modules=modules)
    if kind == RADIO and (use, modules) == ("segment", 3):
        pytest.skip("the number of modules does not change a segment network")
    network = build_model(given)
    out = network(torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64))
    last = out[-1] if isinstance(out, list) else out
    assert last.shape == ((2, 3) if use == "learnable" else (2, 3, 64, 64))
    last.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
