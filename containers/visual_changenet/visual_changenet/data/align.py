"""Registering one image of a pair to the other: a whole-pixel shift, or a small rotation and sub-pixel shift."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visual_changenet.data.images import Pixels

Alignment = Literal["none", "translation", "ecc"]
# 2 x 3, float64: pixel (x, y) of the fixed image -> pixel of the moving image.
Motion = NDArray[np.float64]

LIMIT = 4
# A motion is used only where it lowers the mean absolute difference by this share.
LEAST_GAIN = 0.02
ECC_STEPS, ECC_PRECISION, ECC_BLUR = 40, 1e-4, 5
ECC_SLACK = 1.5
LARGEST_ANGLE = math.radians(3)


def find_motion(moving: Pixels, fixed: Pixels, mode: Alignment, limit: int = LIMIT) -> Motion | None:
    """The motion that lays ``moving`` on ``fixed``; None where standing still is as good.

    Args:
        moving, fixed: uint8 (H, W, 3) of one size.
        mode: translation: whole pixels. ecc: from there a rotation of up to 3 degrees and a sub-pixel
            shift that maximise the correlation (Evangelidis and Psarakis, 2008).
        limit: largest shift in pixels along each axis.
    """
    if mode == "none":
        return None
    here, there = _grey(moving), _grey(fixed)
    best, lowest = None, _difference(here, there)
    dy, dx = find_shift(here, there, limit)
    if dy or dx:
        # ``moving`` must move by (dy, dx), so a fixed pixel shows what lies (dy, dx) before it.
        shift: Motion = np.array([[1.0, 0.0, -dx], [0.0, 1.0, -dy]])
        moved = _difference(_warp(here, shift), there)
        if moved < lowest * (1 - LEAST_GAIN):
            best, lowest = shift, moved
    if mode == "ecc" and lowest > 0:
        refined = _refine(here, there, best, limit)
        if refined is not None and _difference(_warp(here, refined), there) < lowest * (1 - LEAST_GAIN):
            best = refined
    return best


def registered(moving: Pixels, motion: Motion | None) -> Pixels:
    """``moving`` as the fixed image sees it, bicubic, the border repeated; same shape."""
    if motion is None:
        return moving
    if np.array_equal(motion[:, :2], np.eye(2)) and np.array_equal(motion, np.round(motion)):
        return shifted(moving, -int(motion[1, 2]), -int(motion[0, 2]))
    size = (moving.shape[1], moving.shape[0])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(moving, motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def find_shift(moving: Pixels, fixed: Pixels, limit: int = LIMIT) -> tuple[int, int]:
    """(dy, dx) in pixels, each within +-limit, by which ``moving`` must move to differ least from ``fixed``.

    All shifts are tried: the mean absolute difference over the part that every one of them covers. For the
    few shifts in question this is faster than a phase correlation, and finds shifts that a correlation of
    repeated structures misses. Both uint8 (H, W); of equal shifts the smallest counts.
    """
    height, width = fixed.shape
    reach = max(0, min(limit, (min(height, width) - 1) // 4))
    middle = fixed[reach : height - reach, reach : width - reach]
    steps = sorted(range(-reach, reach + 1), key=abs)
    best, lowest = (0, 0), math.inf
    for dy, dx in sorted(product(steps, steps), key=lambda shift: shift[0] ** 2 + shift[1] ** 2):
        part = moving[reach - dy : height - reach - dy, reach - dx : width - reach - dx]
        difference = cv2.norm(part, middle, cv2.NORM_L1)
        if difference < lowest:
            best, lowest = (dy, dx), difference
    return best


def shifted(image: Pixels, dy: int, dx: int) -> Pixels:
    """The image moved by (dy, dx) pixels, the border replicated; same shape."""
    if dy == 0 and dx == 0:
        return image
    rows = np.clip(np.arange(image.shape[0]) - dy, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) - dx, 0, image.shape[1] - 1)
    return image[rows][:, columns]


def _refine(moving: Pixels, fixed: Pixels, start: Motion | None, limit: int) -> Motion | None:
    """Euclidean ECC from ``start``; None where it does not converge or leaves the limits."""
    first = (np.eye(2, 3) if start is None else start).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, ECC_PRECISION)
    everywhere = np.full(fixed.shape, 255, np.uint8)
    try:
        _, found = cv2.findTransformECC(fixed, moving, first, cv2.MOTION_EUCLIDEAN, criteria, everywhere, ECC_BLUR)
    except cv2.error:
        # Raised where the images do not correlate, for example a plain one.
        return None
    motion: Motion = np.asarray(found, np.float64)
    height, width = fixed.shape
    centre = np.array([width / 2, height / 2, 1.0])
    reach = np.abs(motion @ centre - centre[:2]).max()
    angle = abs(math.atan2(motion[1, 0], motion[0, 0]))
    if not np.isfinite(motion).all() or reach > limit + ECC_SLACK or angle > LARGEST_ANGLE:
        return None
    return motion


def _grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _warp(image: Pixels, motion: Motion) -> Pixels:
    size = (image.shape[1], image.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _difference(moved: Pixels, fixed: Pixels) -> float:
    """Mean absolute difference without the rim that a motion may have filled."""
    rim = min(LIMIT, min(fixed.shape) // 4)
    inner = slice(rim, fixed.shape[0] - rim), slice(rim, fixed.shape[1] - rim)
    return float(cv2.norm(moved[inner], fixed[inner], cv2.NORM_L1)) / max(1, moved[inner].size)
