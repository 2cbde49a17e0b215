"""All recorded networks: names, outputs, batch statistics, losses and gradients; weights drawn from their names."""

import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
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
RECORDED = (
    "cls_cradio_v2_b_euclidean",
    "cls_cradio_v2_b_learnable",
    "cls_cradio_v2_b_multigolden",
    "cls_fan_small_learnable",
    "cls_fan_small_learnable_linear4",
    "cls_fan_tiny_euclidean",
    "seg_cradio_v2_b",
    "seg_fan_small",
    "seg_nvdinov2_l_224",
)
POSITIONAL = ("pos_embed", "cls_token", "token", "level_embed", *(f"position_embedding_c{k}" for k in (1, 2, 3, 4)))
SCALES = ("gamma", "gamma1", "gamma2", "temperature")
MAPS = ("output0", "output1", "output2", "output3", "output_final")


def noise(key: str, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{key}|0".encode()))
    return (torch.rand(shape, generator=generator) * 2 - 1) * 1.7320508


def tensor_for(name: str, like: Tensor) -> Tensor:
    last, shape = name.split(".")[-1], tuple(like.shape)
    if not like.is_floating_point():
        return torch.zeros(shape, dtype=like.dtype)
    if last == "scaling":
        return torch.tensor(1 / 16)
    drawn = noise(name, shape)
    if last == "running_var":
        return 1 + 0.1 * drawn.abs()
    if last in POSITIONAL:
        return 0.2 * drawn
    if last in SCALES or (len(shape) <= 1 and last == "weight"):
        return 1 + 0.1 * drawn
    return 0.1 * drawn if len(shape) <= 1 else drawn / math.sqrt(math.prod(shape[1:]))


def image(key: str, batch: int, height: int, width: int) -> Tensor:
    low = noise(f"{key}:low", (batch, 3, height // 16, width // 16))
    blocks = low.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return 0.7 * blocks + 0.7 * noise(f"{key}:pix", (batch, 3, height, width))


def pair(batch: int, height: int, width: int, goldens: int = 1) -> tuple[Tensor, Tensor]:
    first = image("x1", batch, height, width)
    if goldens == 1:
        return first, 0.7 * first + 0.7 * image("x2", batch, height, width)
    others = [0.7 * first + 0.7 * image(f"golden{index}", batch, height, width) for index in range(goldens)]
    return first, torch.stack(others, dim=1)


def labels(task: str, batch: int, side: int) -> Tensor:
    if task == "classify":
        return torch.arange(batch) % 2
    drawn = (noise("label", (batch, 1, side // 16, side // 16)) / 1.7320508 + 1) / 2
    blocks = (drawn * 2).floor().clamp(0, 1).long()
    return blocks.repeat_interleave(16, 2).repeat_interleave(16, 3)


def spec_for(settings: dict[str, Any], channel_norm: str = "unbiased") -> dict[str, Any]:
    """The complete spec of recorded settings."""
    module, count, side = settings.get("diff", "learnable"), settings.get("num_input", 1), settings["size"]
    options = {
        "difference_module": module,
        "eval_margin": 0.5,
        "embedding_vectors": 5,
        "embed_dec": settings.get("embed_dec", 5),
        "learnable_difference_modules": settings.get("ldm", 4),
    }
    images = {
        "image_height": side,
        "image_width": side,
        "num_golden": settings.get("num_golden", 1),
        "num_input": count,
        "input_map": {f"l{index}": index for index in range(count)} if count > 1 else None,
    }
    given = {
        "task": settings["task"],
        "model": {
            "backbone": {"type": settings["backbone"], "channel_norm": channel_norm},
            "decode_head": {
                "feature_strides": settings["strides"],
                "use_summary_token": settings.get("summary", False),
            },
            "classify": options,
        },
        "dataset": {"classify": images} if settings["task"] == "classify" else {"segment": {"img_size": side}},
        "train": {"classify": {"loss": "ce" if module == "learnable" else "contrastive", "cls_weight": [1.0, 10.0]}},
    }
    return ExperimentConfig.model_validate(given).model_dump(mode="json")


def filled(spec: dict[str, Any]) -> nn.Module:
    """The network with its drawn weights, in evaluation mode; built without drawing the first ones."""
    with torch.device("meta"):
        model = build_model(spec)
    model.load_state_dict({name: tensor_for(name, like) for name, like in model.state_dict().items()}, assign=True)
    return model.requires_grad_(True).eval()


def described(module: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(tensor.shape)) for name, tensor in module.state_dict().items()]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def wanted_names(state: dict[str, Any]) -> list[tuple[str, list[int]]]:
    return [(name, tensor["shape"]) for name, tensor in state["tensors"].items()]


def assert_close(found: Tensor, wanted: object, stride: list[int] | None = None) -> None:
    expected = np.asarray(wanted)
    values = found.detach().numpy()[tuple(slice(None, None, step) for step in stride or [])]
    assert values.shape == expected.shape
    assert np.abs(values - expected).max() <= 1e-4 * np.abs(expected).max() + 1e-5


@dataclass
class Run:
    """A network after one forward and one backward pass of the recorded batch."""

    state: dict[str, Any]
    expected: dict[str, Any]
    recorded: dict[str, np.ndarray]
    model: nn.Module
    outputs: dict[str, Tensor]
    features: list[list[Tensor]]
    loss: float


def passed(state: dict[str, Any], expected: dict[str, Any], recorded: dict[str, np.ndarray]) -> Run:
    settings = state["settings"]
    spec = spec_for(settings)
    model = filled(spec)
    features: list[list[Tensor]] = []
    embeddings: list[Tensor] = []
    model.backbone.register_forward_hook(lambda _m, _x, out: features.append([part.detach() for part in out]))
    if hasattr(model, "fc1"):
        model.fc1.register_forward_hook(lambda _m, _x, out: embeddings.append(out.detach()))
    batch, height, width = (expected[key] for key in ("batch", "input_height", "input_width"))
    out = model(*pair(batch, height, width, settings.get("num_golden", 1)))
    loss = build_loss(spec)(out, labels(settings["task"], batch, height))
    loss.backward()
    outputs = dict(zip(MAPS, out, strict=True)) if settings["task"] == "segment" else {"distance": out, "logits": out}
    outputs |= {f"embedding_x{index}": vector for index, vector in enumerate(embeddings, 1)}
    if settings["task"] == "classify":
        outputs["score_softmax_class1"] = out if embeddings else model.score(out)
    if "backbone_feature0_x1" in expected["outputs"]:
        if len(features[0]) < 4 or embeddings:  # the network did not ask for all maps
            with torch.no_grad():
                features[0] = (model.backbone.maps if embeddings else model.backbone)(image("x1", batch, height, width))
        outputs |= {f"backbone_feature{index}_x1": part for index, part in enumerate(features[0])}
    return Run(state, expected, recorded, model, outputs, features, loss.item())


@pytest.fixture(scope="module", params=RECORDED)
def run(request: pytest.FixtureRequest, parity_folder: Path) -> Iterator[Run]:
    name = request.param
    with np.load(parity_folder / f"{name}.outputs.npz") as file:
        recorded = dict(file)
    yield passed(
        read(parity_folder / f"{name}.state_dict.json"), read(parity_folder / f"{name}.expected.json"), recorded
    )


def test_names_order_and_shapes_are_the_published_ones(run: Run) -> None:
    assert described(run.model) == wanted_names(run.state)


def test_every_recorded_output_matches(run: Run) -> None:
    later = {"x1_corner", "x2_corner", "decoder_train_mode_output"}
    for key in run.recorded.keys() - later:
        assert_close(run.outputs[key], run.recorded[key], run.expected["outputs"][key]["stride"])


def test_loss_and_gradient_of_every_parameter_match(run: Run) -> None:
    assert run.loss == pytest.approx(run.expected["loss"]["value"], rel=1e-4)
    gradients = {name: parameter.grad for name, parameter in run.model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == run.expected["no_grad_parameters"]
    # What is zero in exact arithmetic, such as the bias of attention keys, is rounding noise on both sides.
    wrong = {
        name: (float(gradient.norm()), run.expected["grad_norm"][name])
        for name, gradient in gradients.items()
        if gradient is not None
        and float(gradient.norm()) != pytest.approx(run.expected["grad_norm"][name], rel=1e-3, abs=1e-5)
    }
    assert not wrong


def test_the_decoder_in_training_mode_gives_the_recorded_output_and_statistics(run: Run) -> None:
    if "decoder_train_mode_output" not in run.recorded:
        pytest.skip("nothing is recorded of this decoder in training mode")
    decoder = run.model.decoder.train()
    with torch.no_grad():
        out = decoder(*run.features[:2])
    out = out[-1] if isinstance(out, list) else out
    key = "decoder_train_mode_output"
    assert_close(out, run.recorded[key], run.expected["outputs"][key]["stride"])
    buffers = dict(decoder.named_buffers())
    unused = tuple(f"diff_c{level}." for level in range(1, 5 - run.state["settings"].get("ldm", 4)))
    for name, wanted in run.expected["decoder_train_mode_running_stats_after_one_forward"].items():
        if name.startswith(unused):
            continue  # levels that the classifier does not read are not computed
        assert float(buffers[name].mean()) == pytest.approx(wanted["mean"], rel=1e-4, abs=1e-5), name
        assert float(buffers[name].norm()) == pytest.approx(wanted["l2"], rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("name", ["cls_fan_small_learnable", "seg_fan_small"])
def test_ordinary_channel_norms_give_the_numbers_recorded_with_them(parity_folder: Path, name: str) -> None:
    settings = read(parity_folder / f"{name}.state_dict.json")["settings"]
    expected = read(parity_folder / f"{name}.expected_biased_channel_ln.json")
    model = filled(spec_for(settings, "ordinary"))
    with torch.no_grad():
        out = model(*pair(2, settings["size"], settings["size"]))
    outputs = dict(zip(MAPS, out, strict=True)) if isinstance(out, list) else {"logits": out}
    with np.load(parity_folder / f"{name}.outputs_biased_channel_ln.npz") as recorded:
        assert set(recorded) == set(outputs)
        for key in recorded:
            assert_close(outputs[key], recorded[key], expected[key]["stride"])


def test_every_listed_network_has_the_published_names_order_and_shapes(parity_folder: Path) -> None:
    files = sorted((parity_folder / "state_dicts").glob("*.state_dict.json"))
    assert files
    for path in files:
        state = read(path)
        with torch.device("meta"):
            model = build_model(spec_for(state["settings"]))
        assert described(model) == wanted_names(state), path.name


@pytest.mark.parametrize(("form", "key"), [("unbiased", "distance"), ("ordinary", "distance_ordinary_norm")])
def test_fan_tiny_distance_matches_the_recorded_numbers_for_both_norm_forms(form: str, key: str) -> None:
    recorded = read(HERE / "data" / "fan_tiny_euclidean.json")
    settings = {"task": "classify", "backbone": "fan_tiny_8_p4_hybrid", "diff": "euclidean", "strides": [4, 8, 16, 16]}
    model = filled(spec_for(settings | {"size": recorded["height"]}, form))
    test, golden = pair(recorded["batch"], recorded["height"], recorded["width"])
    assert_close(test[0, 0, 0, :8], recorded["x1_corner_first"])
    with torch.no_grad():
        assert_close(model(test, golden), recorded[key])
