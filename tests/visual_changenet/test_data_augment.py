"""Augmentation: images and mask move as one, and a draw is a function of seed, epoch and position."""

import random
from typing import Any

import cv2
import numpy as np
import pytest

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.augment import Augmenter, Draw
from visual_changenet.data.colour import ColourChange
from visual_changenet.data.images import Pixels
from visual_changenet.data.moves import Move, Window
from visual_changenet.data.order import EpochSampler
from visual_changenet.data.place import Place, random_of


def smooth(shape: tuple[int, int] = (64, 64)) -> Pixels:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)


def options(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = ExperimentConfig().dataset.segment.augmentation.model_dump()
    return found | changes


MOVES = [
    Move(),
    Move(hflip=True),
    Move(vflip=True, angle=90),
    Move(hflip=True, vflip=True, angle=270, window=Window(3, 5, 50, 50)),
    Move(angle=20, window=Window(4, 2, 56, 56)),
    Move(hflip=True, angle=-33),
    Move(angle=180, window=Window(-3, 4, 64, 64)),
    Move(vflip=True, window=Window(-8, -8, 80, 80)),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("shape", [(64, 64), (48, 64)])
def test_mask_and_image_make_the_same_move(move: Move, shape: tuple[int, int]) -> None:
    classes = np.zeros(shape, np.uint8)
    classes[10:30, 20:44] = 1
    picture = np.repeat(classes[..., None] * 200, 3, axis=2).astype(np.uint8)
    moved, mask = move.image(picture)[..., 0], move.mask(classes)
    assert moved.shape == mask.shape == shape
    inside = mask != 255
    agreed = (moved > 100) == (mask == 1)
    assert agreed[inside].mean() > 0.985


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_the_general_warp_equals_the_exact_reordering(angle: int, flips: tuple[bool, bool]) -> None:
    image = smooth()
    move = Move(*flips, angle=angle)
    exact = move.image(image)
    size = (64, 64)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    np.testing.assert_array_equal(exact, cv2.warpAffine(image, move._matrix(size), size, flags=flags))
    np.testing.assert_array_equal(
        exact, np.rot90(image[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1], angle // 90)
    )


def test_a_stretched_window_equals_the_warp_nearly() -> None:
    image, move = smooth(), Move(window=Window(6, 9, 48, 48))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(image, move._matrix((64, 64)), (64, 64), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    assert cv2.absdiff(move.image(image), warped)[2:-2, 2:-2].max() <= 4


def test_what_lies_outside_is_black_and_ignored() -> None:
    image, mask = np.full((40, 40, 3), 90, np.uint8), np.ones((40, 40), np.uint8)
    move = Move(window=Window(-10, -10, 60, 60))
    assert move.image(image)[0, 0].tolist() == [0, 0, 0]
    assert move.mask(mask)[0, 0] == 255
    assert move.image(image)[20, 20].tolist() == [90, 90, 90]


def test_scaled_crop_enlarges_and_a_factor_below_one_pads() -> None:
    still = {
        "random_flip": {"enable": False},
        "random_rotate": {"enable": False, "angle_list": []},
        "random_color": {"enable": False},
        "with_random_crop": False,
        "with_random_blur": False,
    }
    for factors, sides in (([2, 2], 32), ([0.5, 0.5], 128)):
        chosen = options(with_scale_random_crop={"enable": True, "scale_range": factors}, **still)
        windows = [Augmenter(chosen, (64, 64)).draw(random.Random(seed)).move.window for seed in range(20)]
        assert {(window.height, window.width) for window in windows if window} == {(sides, sides)}
        assert len({window.top for window in windows if window}) > 5


def test_probabilities_are_kept() -> None:
    chosen = options()
    chosen["random_color"] |= {"color_probability": 0.2}
    chosen["random_flip"] |= {"hflip_probability": 0.9}
    draws = [Augmenter(chosen, (32, 32)).draw(random_of(1, 0, position)) for position in range(600)]
    assert np.mean([draw.colour is not None for draw in draws]) == pytest.approx(0.2, abs=0.05)
    assert np.mean([draw.move.hflip for draw in draws]) == pytest.approx(0.9, abs=0.05)
    assert np.mean([draw.blur_sigma > 0 for draw in draws]) == pytest.approx(0.5, abs=0.07)


def test_one_colour_change_keeps_equal_images_equal() -> None:
    image = smooth()
    change = Draw(colour=ColourChange(1.2, 0.8, 1.3, 0.2, ("contrast", "hue", "brightness", "saturation")))
    np.testing.assert_array_equal(change.apply(image), change.apply(image.copy()))
    assert cv2.absdiff(change.apply(image), image).mean() > 5


def test_the_same_row_is_drawn_anew_at_another_position_and_in_another_epoch() -> None:
    augmenter = Augmenter(options(), (32, 32))
    draws = [augmenter.draw(random_of(*numbers)) for numbers in ((1, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))]
    assert draws[0] == draws[1]
    assert all(draws[0] != other for other in draws[2:])


def test_processes_share_one_draw_without_overlap() -> None:
    whole = list(EpochSampler(11, 3))
    shares = [list(EpochSampler(11, 3, rank=rank, world=2)) for rank in (0, 1)]
    assert [len(share) for share in shares] == [5, 5]
    assert sorted(shares[0] + shares[1], key=lambda place: place.position) == whole[:10]
    assert sorted(place.row for place in whole) == list(range(11))


def test_an_epoch_is_drawn_from_its_number_alone() -> None:
    weights = [1.0, 5.0, 1.0, 1.0]
    first, second = EpochSampler(4, 3, weights=weights), EpochSampler(4, 3, weights=weights)
    orders = []
    for epoch in (0, 1, 2):
        first.set_epoch(epoch)
        orders.append(list(first))
    second.set_epoch(2)
    assert list(second) == orders[2]
    assert len({tuple(place.row for place in order) for order in orders}) > 1
    assert orders[2][0] == Place(orders[2][0].row, 2, 0)


def test_a_resumed_run_does_not_repeat_the_saved_epoch() -> None:
    sampler, resumed = EpochSampler(9, 3), EpochSampler(9, 3)
    resumed.resume_at(2, 0)
    for named, epoch in ((1, 2), (2, 2), (3, 3)):
        resumed.set_epoch(named)
        sampler.set_epoch(epoch)
        assert list(resumed) == list(sampler)


def test_weights_set_the_share_of_defects() -> None:
    sampler = EpochSampler(4000, 3, weights=[1.0] * 3000 + [3.0] * 1000)
    assert np.mean([place.row >= 3000 for place in sampler]) == pytest.approx(0.5, abs=0.04)
