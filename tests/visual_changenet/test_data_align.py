"""Registration: what moves, what stays, and in which direction."""

import math

import cv2
import numpy as np
import pytest

from visual_changenet.data.align import Alignment, find_motion, registered, shifted
from visual_changenet.data.images import Pixels

MODES: tuple[Alignment, ...] = ("none", "translation", "ecc")


def board(seed: int = 1, shape: tuple[int, int] = (64, 48)) -> Pixels:
    """Rectangles on a plain ground: edges to register by."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), 60, np.uint8)
    for _ in range(14):
        y, x = int(rng.integers(0, shape[0])), int(rng.integers(0, shape[1]))
        cv2.rectangle(image, (x, y), (x + int(rng.integers(4, 14)), y + int(rng.integers(3, 9))), (190, 150, 40), -1)
    return image


def turned(image: Pixels, degrees: float, dx: float, dy: float) -> Pixels:
    matrix = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), degrees, 1.0)
    matrix[:, 2] += np.array([dx, dy])
    size = (image.shape[1], image.shape[0])
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


@pytest.mark.parametrize("mode", ["translation", "ecc"])
@pytest.mark.parametrize("move", [(3, -2), (-4, 4), (0, 1)])
def test_a_whole_pixel_shift_is_undone(mode: Alignment, move: tuple[int, int]) -> None:
    fixed = board()
    motion = find_motion(shifted(fixed, *move), fixed, mode)
    inner = slice(6, -6), slice(6, -6)
    difference = cv2.absdiff(registered(shifted(fixed, *move), motion)[inner], fixed[inner])
    assert difference.mean() < (0.01 if mode == "translation" else 3)


@pytest.mark.parametrize("mode", MODES)
def test_equal_plain_and_unrelated_images_are_left_alone(mode: Alignment) -> None:
    image, plain = board(), np.full((64, 48, 3), 90, np.uint8)
    assert find_motion(image, image, mode) is None
    assert find_motion(plain, plain, mode) is None
    assert find_motion(plain, image, mode) is None


def test_a_defect_does_not_move_an_aligned_pair() -> None:
    golden = board(3, (64, 64))
    test = golden.copy()
    test[20:34, 30:46] = 250
    modes: tuple[Alignment, ...] = ("translation", "ecc")
    for mode in modes:
        assert find_motion(test, golden, mode) is None


def test_ecc_undoes_a_small_rotation_and_half_a_pixel_where_translation_can_not() -> None:
    fixed = board(5, (96, 96))
    moving = turned(fixed, 1.2, 1.5, -0.5)
    inner = slice(8, -8), slice(8, -8)
    left = {
        mode: float(cv2.absdiff(registered(moving, find_motion(moving, fixed, mode))[inner], fixed[inner]).mean())
        for mode in MODES
    }
    assert left["translation"] <= left["none"]
    assert left["ecc"] < left["translation"] / 2


def test_a_large_rotation_is_refused() -> None:
    fixed = board(5, (96, 96))
    motion = find_motion(turned(fixed, 8, 0, 0), fixed, "ecc")
    assert motion is None or abs(math.degrees(math.atan2(motion[1, 0], motion[0, 0]))) <= 3
