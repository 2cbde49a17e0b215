"""Mechanics of the transformer backbones, on family members of 64 channels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visual_changenet.models.backbones.base import Backbone
from visual_changenet.models.backbones.dinov2 import DinoEmbedding, DinoPyramid, DinoShape
from visual_changenet.models.backbones.fan import Fan, FanShape
from visual_changenet.models.backbones.radio import PatchGenerator, RadioEmbedding, RadioPyramid, RadioShape
from visual_changenet.models.classify import DecoderShape
from visual_changenet.models.deformable import HEADS, POINTS, DeformableAttention, sampling_plan
from visual_changenet.models.multi_golden import MultiGoldenClassifier, MultiGoldenDecoder
from visual_changenet.models.segment import SegmentDecoder, SegmentNetwork

RADIO = RadioShape(64, 4, 4)
DINO = DinoShape(64, 4, 4, hidden=48)
FAN = FanShape(width=64, blocks=2, heads=4, third_map_after=1, stem_depths=(1, 1))

BUILDERS: dict[str, Callable[[], Backbone]] = {
    "fan": lambda: Fan(FAN),
    "radio": lambda: RadioPyramid(RADIO, summary=True),
    "radio_embedding": lambda: RadioEmbedding(RADIO),
    "dino": lambda: DinoPyramid(DINO, 64),
    "dino_embedding": lambda: DinoEmbedding(DINO),
}


def images(batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def side_of(kind: str) -> int:
    return 56 if kind == "dino_embedding" else 64


def total(out: Tensor | list[Tensor]) -> Tensor:
    parts = out if isinstance(out, list) else [out]
    return torch.stack([(part * torch.linspace(0, 1, part.shape[-1])).sum() for part in parts]).sum()


def read_bilinear(grid: Tensor, x: float, y: float) -> Tensor:
    """(C, H, W) at pixel coordinates whose integers are pixel centres; zero outside."""
    out = torch.zeros(grid.shape[0])
    x0, y0 = int(x // 1), int(y // 1)
    for yy, xx in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
        if 0 <= yy < grid.shape[1] and 0 <= xx < grid.shape[2]:
            out += grid[:, yy, xx] * (1 - abs(x - xx)) * (1 - abs(y - yy))
    return out


def test_deformable_attention_is_the_weighted_sum_of_bilinear_readings() -> None:
    torch.manual_seed(0)
    width, queries, sources = 32, (2, 3), ((4, 6), (2, 3))
    attn = DeformableAttention(width, levels=2)
    query, source = torch.randn(1, 6, width), torch.randn(1, 30, width)
    found = attn(query, source, sampling_plan([queries], sources, torch.device("cpu")))
    values = attn.value_proj(source)[0].split([24, 6])
    offsets = attn.sampling_offsets(query).view(6, HEADS, 2, POINTS, 2)
    weights = attn.attention_weights(query).view(6, HEADS, -1).softmax(-1).view(6, HEADS, 2, POINTS)
    expected = torch.zeros(6, HEADS, 1)
    for cell in range(6):
        for level, (height, breadth) in enumerate(sources):
            grids = values[level].T.reshape(HEADS, 1, height, breadth)
            for head in range(HEADS):
                for point in range(POINTS):
                    dx, dy = offsets[cell, head, level, point].tolist()
                    x = (cell % 3 + 0.5) / 3 * breadth + dx - 0.5
                    y = (cell // 3 + 0.5) / 2 * height + dy - 0.5
                    expected[cell, head] += weights[cell, head, level, point] * read_bilinear(grids[head], x, y)
    torch.testing.assert_close(found[0], attn.output_proj(expected.reshape(1, 6, -1))[0], rtol=1e-4, atol=1e-5)


def test_first_offsets_point_along_sixteen_directions_at_one_to_four_pixels() -> None:
    attn = DeformableAttention(32, levels=3)
    attn.reset()
    first = attn.sampling_offsets.bias.view(HEADS, 3, POINTS, 2)
    torch.testing.assert_close(first.abs().amax(-1)[3, 1], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(first[4, 0, 0], torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["radio", "dino"])
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (96, 96), (64, 96)])
def test_a_pyramid_takes_every_size_of_multiples_of_32(kind: str, size: tuple[int, int]) -> None:
    backbone = BUILDERS[kind]().eval()
    with torch.no_grad():
        maps = backbone(images(1, *size))
    assert [part.shape[1:] for part in maps] == [(64, size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]


def test_fewer_levels_are_the_coarsest_of_all_maps() -> None:
    for kind in ("fan", "radio", "dino"):
        backbone = BUILDERS[kind]().eval()
        with torch.no_grad():
            every = backbone(images())
            for levels in (1, 2, 3):
                fewer = backbone(images(), levels)
                assert all(torch.equal(a, b) for a, b in zip(fewer, every[-levels:], strict=True))


@pytest.mark.parametrize("kind", BUILDERS)
def test_recomputed_blocks_give_the_same_outputs_gradients_and_statistics(kind: str) -> None:
    torch.manual_seed(0)
    backbone, x = BUILDERS[kind](), images(2, side_of(kind), side_of(kind))
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    results = []
    for enabled in (False, True):
        backbone.load_state_dict(start)
        backbone.zero_grad()
        backbone.checkpointing(enabled)
        torch.manual_seed(1)
        loss = total(backbone(x))
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients, {name: b.clone() for name, b in backbone.named_buffers()}))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize("kind", BUILDERS)
def test_freezing_stops_the_pretrained_part_and_names_what_stays_in_evaluation(kind: str) -> None:
    backbone = BUILDERS[kind]()
    frozen = backbone.freeze()
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    own = {"level_embed", "spm", "interactions", "up", "fc_summary", *(f"conv{k}" for k in (1, 2, 3, 4))}
    own |= {f"norm{k}" for k in (1, 2, 3, 4)}
    assert trained == {"radio": own, "dino": own | {"cls_token"}}.get(kind, set())
    backbone.train()
    for module in frozen:
        module.eval()
    assert not any(m.training for m in backbone.pretrained_part().modules() if isinstance(m, nn.LayerNorm))


@pytest.mark.parametrize("kind", BUILDERS)
def test_the_pretrained_part_shares_its_tensors_under_published_names(kind: str) -> None:
    backbone = BUILDERS[kind]()
    part = backbone.pretrained_part()
    names = set(part.state_dict())
    assert "blocks.0.norm1.weight" in names
    assert not any(name.startswith(("spm", "interactions", "level_embed", "radio")) for name in names)
    part.load_state_dict({name: torch.full_like(value, 2) for name, value in part.state_dict().items()})
    (found,) = {float(v[0]) for n, v in backbone.state_dict().items() if n.endswith("blocks.1.norm1.weight")}
    assert found == 2


def test_the_kept_position_code_follows_every_change_of_its_weights() -> None:
    torch.manual_seed(0)
    generator = PatchGenerator(RADIO).eval()
    with torch.no_grad():
        first = generator.code(2, 3)
        assert generator.code(2, 3) is first
        generator.pos_embed.mul_(2)
        torch.testing.assert_close(generator.code(2, 3), 2 * first)
        generator.load_state_dict({n: torch.ones_like(v) for n, v in generator.state_dict().items()})
        torch.testing.assert_close(generator.code(2, 3), torch.ones(1, 6, 64))
    assert generator.code(2, 3).requires_grad


def test_the_position_code_is_the_top_left_window_of_the_square_one() -> None:
    generator = PatchGenerator(RADIO).eval()
    with torch.no_grad():
        square = generator.code(4, 4).view(4, 4, 64)
        torch.testing.assert_close(generator.code(2, 4).view(2, 4, 64), square[:2])
        corner = generator.pos_embed.view(128, 128, 64)[127, 127]
        torch.testing.assert_close(square[3, 3], corner)


def test_training_codes_are_windows_of_the_grid_and_sometimes_nothing() -> None:
    torch.manual_seed(0)
    generator = PatchGenerator(RADIO).train()
    y, x = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 128), indexing="ij")
    with torch.no_grad():
        ramp = torch.stack([y + 1, x + 1], dim=-1).view(1, -1, 2).repeat(1, 1, 32)
        generator.pos_embed.copy_(ramp)
        codes = generator.windowed_code(400, 5, 7).view(400, 5, 7, 64)
    dropped = (codes == 0).flatten(1).all(1)
    assert 0.05 < float(dropped.float().mean()) < 0.16
    kept = codes[~dropped]
    tall, wide = kept[:, -1, 0, 0] - kept[:, 0, 0, 0], kept[:, 0, -1, 1] - kept[:, 0, 0, 1]
    area = tall * wide
    assert float(kept.min()) > 0.999
    assert float(kept.max()) < 2.001
    assert float(area.min()) > 0.1 * 0.99
    free = (tall < 0.999) & (wide < 0.999)
    ratio = (wide / tall)[free]
    assert float(ratio.min()) > 9 / 16 * 0.99
    assert float(ratio.max()) < 16 / 9 * 1.01


def test_an_embedding_is_the_summary_tokens_of_the_whole_transformer() -> None:
    backbone = RadioEmbedding(RADIO).eval()
    vit = backbone.pretrained_part()
    with torch.no_grad():
        tokens = vit.patch_generator(images())
        for block in vit.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(backbone(images()), tokens[:, :3].flatten(1), rtol=1e-4, atol=1e-5)


def test_the_position_grid_at_its_own_size_is_used_as_it_is() -> None:
    backbone = DinoEmbedding(DINO).eval()
    grid = torch.randn(1, 64, 37, 37)
    torch.testing.assert_close(
        backbone.resized(grid, 4, 4), F.interpolate(grid, scale_factor=4.1 / 37, mode="bicubic", align_corners=False)
    )
    with torch.no_grad():
        assert backbone(images(1, 518, 518)).shape == (1, 64)


def multi_golden(side: int = 224) -> MultiGoldenClassifier:
    torch.manual_seed(0)
    backbone = RadioPyramid(RADIO, summary=False)
    shape = DecoderShape(backbone.channels, backbone.strides, (side, side), 16, modules=2, hidden=64, classes=2)
    return MultiGoldenClassifier(backbone, MultiGoldenDecoder(shape))


def test_the_order_of_the_golden_images_does_not_change_the_answer() -> None:
    network = multi_golden().eval()
    test, golden = images(2, 224, 224), torch.rand(2, 3, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(network(test, golden), network(test, golden.flip(1)), rtol=1e-4, atol=1e-5)


def test_only_the_first_golden_image_teaches_the_backbone() -> None:
    network = multi_golden().eval()
    golden = torch.rand(1, 3, 3, 224, 224, requires_grad=True)
    network(images(1, 224, 224), golden).sum().backward()
    assert golden.grad is not None
    assert [bool(golden.grad[0, index].any()) for index in range(3)] == [True, False, False]


@pytest.mark.filterwarnings("ignore::FutureWarning:.*", "ignore::UserWarning:.*", "ignore::DeprecationWarning:.*")
def test_an_exported_segment_network_gives_the_same_maps_for_another_batch_size(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    backbone = RadioPyramid(RADIO, summary=True)
    network = SegmentNetwork(backbone, SegmentDecoder(backbone.channels, backbone.strides, 16, 2)).eval()
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        torch.onnx.export(
            network,
            (images(), images().flip(3)),
            tmp_path / "network.onnx",
            dynamo=True,
            opset_version=17,
            input_names=["a", "b"],
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
        wanted = network(images(3), images(3).flip(2))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"))
    found = session.run(None, {"a": images(3).numpy(), "b": images(3).flip(2).numpy()})
    for ours, theirs in zip(wanted, found, strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)
