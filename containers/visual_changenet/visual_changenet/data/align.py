"""Registering a test image to its golden image by a whole-pixel shift."""

from __future__ import annotations

import numpy as np

from visual_changenet.data.images import Pixels

LIMIT = 4


def find_shift(test: Pixels, golden: Pixels, limit: int = LIMIT) -> tuple[int, int]:
    """(dy, dx) in pixels, each within +-limit, by which ``test`` must move to lie on ``golden``.

    Phase correlation: the peak of the inverse transform of the normalised cross power spectrum of the two
    grey images (Kuglin and Hines, 1975), searched inside the limit only. Both uint8 (H, W, 3) of one size.
    """
    a, b = (_prepared(image) for image in (test, golden))
    cross = np.fft.rfft2(b) * np.conj(np.fft.rfft2(a))
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=a.shape)
    limit_y, limit_x = (min(limit, (length - 1) // 2) for length in a.shape)
    offsets_y, offsets_x = np.arange(-limit_y, limit_y + 1), np.arange(-limit_x, limit_x + 1)
    window = surface[np.ix_(offsets_y, offsets_x)]
    peak_y, peak_x = np.unravel_index(int(window.argmax()), window.shape)
    return int(offsets_y[peak_y]), int(offsets_x[peak_x])


def _prepared(image: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    grey = image.astype(np.float32).mean(axis=2)
    window = np.outer(np.hanning(grey.shape[0] + 2)[1:-1], np.hanning(grey.shape[1] + 2)[1:-1])
    return np.asarray((grey - grey.mean()) * window, dtype=np.float32)


def shifted(image: Pixels, dy: int, dx: int) -> Pixels:
    """The image moved by (dy, dx) pixels, the border replicated; same shape."""
    if dy == 0 and dx == 0:
        return image
    rows = np.clip(np.arange(image.shape[0]) - dy, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) - dx, 0, image.shape[1] - 1)
    return image[rows][:, columns]
