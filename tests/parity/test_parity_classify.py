"""Classify networks against recorded outputs and gradients, with weights drawn from their names."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visual_changenet.config import ExperimentConfig
from visual_changenet.losses import build_loss
from visual_changenet.models import build_model

HERE = Path(__file__).parent
POSITIONAL = ("pos_embed", "cls_token", "token")
SCALES = ("gamma", "gamma1", "gamma2", "temperature")


def noise(key: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{key}|0".encode()))
    return (torch.rand(shape, generator=generator) * 2 - 1) * 1.7320508


def tensor_for(name: str, like: Tensor) -> Tensor:
    last, shape = name.split(".")[-1], tuple(like.shape)
    if not like.is_floating_point():
        return torch.zeros_like(like)
    drawn = noise(name, shape)
    if last == "running_var":
        return 1 + 0.1 * drawn.abs()
    if last in POSITIONAL:
        return 0.2 * drawn
    if last in SCALES or (len(shape) <= 1 and last == "weight"):
        return 1 + 0.1 * drawn
    return 0.1 * drawn if len(shape) <= 1 else drawn / math.sqrt(math.prod(shape[1:]))


def fill(model: nn.Module) -> None:
    model.load_state_dict({name: tensor_for(name, like) for name, like in model.state_dict().items()})


def image(key: str, batch: int, height: int, width: int) -> Tensor:
    low = noise(f"{key}:low", (batch, 3, height // 16, width // 16))
    blocks = low.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return 0.7 * blocks + 0.7 * noise(f"{key}:pix", (batch, 3, height, width))


def pair(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    first = image("x1", batch, height, width)
    return first, 0.7 * first + 0.7 * image("x2", batch, height, width)


def spec_for(settings: dict[str, Any]) -> dict[str, Any]:
    learnable = settings["diff"] == "learnable"
    count = settings.get("num_input", 1)
    classify = {"difference_module": settings["diff"], "eval_margin": 0.5}
    if learnable:
        classify |= {"embed_dec": settings.get("embed_dec", 5)}
        classify |= {"learnable_difference_modules": settings.get("ldm", 4)}
    given = {
        "task": "classify",
        "model": {
            "backbone": {"type": settings["backbone"]},
            "decode_head": {"feature_strides": settings["strides"]},
            "classify": {"embedding_vectors": 5} | classify,
        },
        "dataset": {
            "classify": {
                "image_height": settings["size"],
                "image_width": settings["size"],
                "num_input": count,
                "input_map": {f"l{i}": i for i in range(count)} if count > 1 else None,
            }
        },
        "train": {"classify": {"loss": "ce" if learnable else "contrastive", "cls_weight": [1.0, 10.0]}},
    }
    return ExperimentConfig.model_validate(given).model_dump(mode="json")


def close(found: Tensor, wanted: object) -> None:
    expected = np.asarray(wanted)
    limit = 1e-4 * np.abs(expected).max() + 1e-5
    assert np.abs(found.detach().numpy() - expected).max() <= limit


@pytest.mark.parametrize(("form", "key"), [("unbiased", "distance"), ("ordinary", "distance_ordinary_norm")])
def test_fan_tiny_distance_matches_the_recorded_numbers_for_both_norm_forms(form: Any, key: str) -> None:
    recorded = json.loads((HERE / "data" / "fan_tiny_euclidean.json").read_text(encoding="utf-8"))
    settings = {
        "backbone": "fan_tiny_8_p4_hybrid",
        "diff": "euclidean",
        "loss": "contrastive",
        "strides": [4, 8, 16, 16],
        "size": 224,
    }
    spec = spec_for(settings)
    spec["model"]["backbone"]["channel_norm"] = form
    model = build_model(spec).eval()
    fill(model)
    test, golden = pair(recorded["batch"], recorded["height"], recorded["width"])
    close(test[0, 0, 0, :8], recorded["x1_corner_first"])
    with torch.no_grad():
        close(model(test, golden), recorded[key])


@pytest.mark.parametrize(
    "name", ["cls_fan_tiny_euclidean", "cls_fan_small_learnable", "cls_fan_small_learnable_linear4"]
)
def test_names_outputs_loss_and_gradients_match(parity_folder: Path, name: str) -> None:
    described = json.loads((parity_folder / f"{name}.state_dict.json").read_text(encoding="utf-8"))
    expected = json.loads((parity_folder / f"{name}.expected.json").read_text(encoding="utf-8"))
    spec = spec_for(described["settings"])
    model = build_model(spec).eval()
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == {
        k: v["shape"] for k, v in described["tensors"].items()
    }
    fill(model)
    output = model(*pair(expected["batch"], expected["input_height"], expected["input_width"]))
    with np.load(parity_folder / f"{name}.outputs.npz") as recorded:
        close(output, recorded["distance" if "euclidean" in name else "logits"])
    loss = build_loss(spec)(output, torch.arange(expected["batch"]) % 2)
    assert loss.item() == pytest.approx(expected["loss"]["value"], rel=1e-4)
    loss.backward()
    for key, parameter in model.named_parameters():
        norm = 0.0 if parameter.grad is None else float(parameter.grad.norm())
        assert norm == pytest.approx(expected["grad_norm"].get(key, 0.0), rel=1e-3, abs=1e-6), key


@pytest.mark.parametrize("kind", ["tiny_8", "base_16", "large_16"])
def test_family_members_have_the_published_names_and_shapes(parity_folder: Path, kind: str) -> None:
    path = parity_folder / "state_dicts" / f"cls_fan_{kind}_p4_hybrid_learnable_224.state_dict.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = build_model(spec_for(described["settings"]))
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == {
        k: v["shape"] for k, v in described["tensors"].items()
    }
