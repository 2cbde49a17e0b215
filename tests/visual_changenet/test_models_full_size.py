"""The folded last stage of the segment decoder against the layers it folds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from visual_changenet.models.full_size import full_size_logits
from visual_changenet.models.segment import FOLD_FROM, SegmentDecoder


def decoder(width: int = 12, classes: int = 3) -> SegmentDecoder:
    torch.manual_seed(0)
    return SegmentDecoder([8, 8, 8, 8], (4, 8, 16, 16), width, classes)


def plain(layers: SegmentDecoder, z: Tensor) -> Tensor:
    out: Tensor = layers.change_probability(layers.dense_1x(layers.convd1x(z)))
    return out


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2), (5, 7), (16, 16)])
def test_the_same_logits_and_gradients_up_to_the_border(shape: tuple[int, int]) -> None:
    layers = decoder()
    z = torch.randn(2, 12, *shape).to(memory_format=torch.channels_last)
    weights = torch.randn(2, 3, 2 * shape[0], 2 * shape[1])
    found = []
    for compute in (plain, lambda layers, z: full_size_logits(z, layers._last_stage())):
        layers.zero_grad()
        given = z.clone().requires_grad_()
        logits = compute(layers, given)
        (logits * weights).sum().backward()
        gradients = [p.grad.clone() for p in layers.parameters() if p.grad is not None]
        found.append([logits.detach(), given.grad, *gradients])
    expected, folded = found
    assert len(expected) == len(folded) == 2 + 8
    for one, other in zip(expected, folded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_stays_close() -> None:
    layers = decoder(width=16)
    z = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = plain(layers, z)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = full_size_logits(z, layers._last_stage())
    assert float((found.float() - expected).abs().max()) < 0.03 * float(expected.abs().max())


def test_large_batches_take_the_folded_way_and_give_the_same_five_maps() -> None:
    layers = decoder(width=4).eval()
    side = 4 * int((FOLD_FROM // 16) ** 0.5)
    sizes = [side // stride for stride in (4, 8, 16, 16)]
    maps = [[torch.randn(1, 8, size, size) for size in sizes] for _ in range(2)]
    with torch.no_grad():
        outputs = layers(*maps)
        x = layers.dense_2x(layers.convd2x(layers.fused(layers.differences(*maps), side // 4, side // 4)))
        torch.testing.assert_close(outputs[-1], plain(layers, x), rtol=1e-4, atol=1e-5)
    assert [output.shape[-1] for output in outputs] == [*sizes[::-1], side]
