"""Pixel masks of the real difference inside annotated boxes."""

from __future__ import annotations

from collections.abc import Sequence

from skillrun.data.crops import Box
from skillrun.data.pictures import Picture

# Bare-board pictures are nearly two-valued: half the step from laminate to copper is a difference.
THRESHOLD = 80
# Residual shift of a pair that is searched, in pixels per axis.
MAX_SHIFT = 2
# Rim around a box that helps to register it, in pixels.
RIM = 12
# Smaller islands of difference are outline noise.
MIN_AREA = 8


def difference_mask(golden: Picture, test: Picture, boxes: Sequence[Box]) -> Picture:
    """Where ``test`` differs from ``golden`` inside the boxes.

    Args:
        golden: (height, width) uint8.
        test: the same shape.
        boxes: annotated defects; nothing outside them is marked.

    Returns:
        (height, width) uint8, 0 or 255. Every box holds marked pixels: without a difference
        its middle half is marked.
    """
    import numpy as np

    mask = np.zeros_like(golden)
    for box in boxes:
        inside = _box_difference(golden, test, box)
        if inside.size and not inside.any():
            height, width = inside.shape
            inside[height // 4 : height - height // 4, width // 4 : width - width // 4] = 255
        window = mask[box.y1 : box.y2, box.x1 : box.x2]
        np.maximum(window, inside, out=window)
    return mask


def _box_difference(golden: Picture, test: Picture, box: Box) -> Picture:
    """The mask of one box, of the box's shape."""
    import cv2
    import numpy as np

    height, width = golden.shape
    top, left = max(box.y1 - RIM, 0), max(box.x1 - RIM, 0)
    bottom, right = min(box.y2 + RIM, height), min(box.x2 + RIM, width)
    difference = _registered_difference(golden, test, (top, bottom, left, right))
    smooth = np.asarray(cv2.GaussianBlur(difference, (3, 3), 0))
    inside = smooth[box.y1 - top : box.y2 - top, box.x1 - left : box.x2 - left]
    marked = np.where(inside > THRESHOLD, 255, 0).astype(np.uint8)
    for side in (3, 2):  # 3 px clears the slivers along outlines; thin real defects survive only 2 px
        opened = cv2.morphologyEx(marked, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        cleared = _without_specks(np.asarray(opened, dtype=np.uint8))
        if cleared.any():
            break
    return cleared


def _registered_difference(golden: Picture, test: Picture, window: tuple[int, int, int, int]) -> Picture:
    """Absolute difference at the shift of ``golden`` that makes it smallest."""
    import cv2
    import numpy as np

    top, bottom, left, right = window
    padded = cv2.copyMakeBorder(golden, *(MAX_SHIFT,) * 4, borderType=cv2.BORDER_REPLICATE)
    target = test[top:bottom, left:right]
    best: Picture = np.full_like(target, 255)
    for down in range(2 * MAX_SHIFT + 1):
        for across in range(2 * MAX_SHIFT + 1):
            moved = padded[top + down : bottom + down, left + across : right + across]
            difference = np.asarray(cv2.absdiff(target, moved), dtype=np.uint8)
            if difference.sum(dtype=np.int64) < best.sum(dtype=np.int64):
                best = difference
    return best


def _without_specks(mask: Picture) -> Picture:
    import cv2
    import numpy as np

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = np.flatnonzero(areas >= MIN_AREA)
    return np.where((mask > 0) & np.isin(labels, keep), 255, 0).astype(np.uint8)
