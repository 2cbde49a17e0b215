"""Do golden and test lie on each other? Phase correlation of a sample of the pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skillrun.data.report import DatasetReport, copy_command
from skillrun.data.samples import Sample, share_text, some
from skillrun.data.thumbnails import NO_NUMPY, Grey, can_compare, grey, on_threads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]
else:
    Floats = Any

SAMPLE_PAIRS = 200
# Pictures are compared at this side at most; sub-pixel peaks keep the shift exact enough.
LONGEST = 512
# More than one of both is a shift: differences of boards fail from about 3 pixels on.
MOST_PIXELS = 3.0
MOST_SHARE = 0.05
# A flat picture has nothing to register: deviation of grey levels 0..255.
LEAST_TEXTURE = 4.0
# A clear peak stands out from the next one, further than this many pixels away, by this factor.
PEAK_RADIUS = 3
CLEAR_PEAK = 1.3
# Regular patterns match themselves one pitch away: a shift is believed up to this share of a side, and only where
# moving back leaves less than this share of the difference.
FARTHEST_SHARE = 0.25
MOST_LEFT = 0.6


@dataclass(frozen=True)
class Shift:
    """How far a test picture lies from its golden, in pixels of the file: right and down are positive."""

    sample: Sample
    dx: float
    dy: float
    side: int

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return math.hypot(self.dx, self.dy)

    @property
    def is_off(self) -> bool:
        """Whether it is more than `MOST_PIXELS` or, of a small picture, `MOST_SHARE` of the shorter side."""
        return self.pixels > MOST_PIXELS or self.pixels > self.side * MOST_SHARE


def check_shifts(report: DatasetReport, samples: Sequence[Sample], key: str) -> None:
    """Measure the shift of at most `SAMPLE_PAIRS` pairs; ``W_DATA_SHIFT`` where some lie apart.

    Args:
        report: takes shifts, how many pairs were looked at, and the finding.
        samples: pairs with readable files of the same size.
        key: the key of the spec that registers pairs as they are loaded.
    """
    if not can_compare():
        report.sampled["shifts"] = NO_NUMPY
        return
    chosen = some(samples, SAMPLE_PAIRS)
    found = [shift for shift in on_threads(measure_shift, chosen) if shift]
    found.sort(key=lambda shift: -shift.pixels)
    report.shifts = found
    report.sampled["shifts"] = f"{share_text(len(chosen), len(samples), 'pairs')}, {len(found)} with a clear answer"
    off = [shift for shift in found if shift.is_off]
    if off:
        worst, looked_at = off[0], share_text(len(chosen), len(samples), "pairs")
        folder = report.path if report.path.is_dir() else report.path.parent
        report.warn(
            "W_DATA_SHIFT",
            f"{report.path}: in {len(off)} of {len(found)} pairs with a clear answer ({looked_at} looked "
            f"at) golden and test lie more than {MOST_PIXELS:g} pixels or {MOST_SHARE:.0%} of the side apart; worst is "
            f"{worst.sample.test} (line {worst.sample.line}) by {worst.pixels:.1f} pixels "
            f"({key}=translation mends up to 4 pixels as pairs are loaded).",
            file=worst.sample.test,
            line=worst.sample.line,
            fix=copy_command("align", folder),
        )


def measure_shift(sample: Sample) -> Shift | None:
    """The shift of one pair; None where a file can not be read, there is too little texture, or no clear peak."""
    golden, test = (grey(path, longest=LONGEST) for path in (sample.golden, sample.test))
    if golden is None or test is None or golden.shape != test.shape:
        return None
    found = phase_shift(golden, test)
    if found is None:
        return None
    from PIL import Image

    with Image.open(sample.test) as image:
        scale, side = image.width / test.shape[1], min(image.size)
    return Shift(sample, found[0] * scale, found[1] * scale, side)


def phase_shift(golden: Grey, test: Grey) -> tuple[float, float] | None:
    """(dx, dy) in pixels that moves ``golden`` onto ``test``, or None where that is not clear.

    Phase correlation (Kuglin and Hines 1975) under a Hann window, the peak refined by a parabola on each axis.
    """
    import numpy as np

    if min(golden.std(), test.std()) < LEAST_TEXTURE or min(golden.shape) < 16:
        return None
    window = np.outer(np.hanning(golden.shape[0]), np.hanning(golden.shape[1])).astype(np.float32)
    first, second = (np.fft.rfft2((picture - picture.mean()) * window) for picture in (golden, test))
    cross = second * np.conj(first)
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=golden.shape)
    surface = np.roll(surface, [side // 2 for side in surface.shape], axis=(0, 1))
    row, column = (int(place) for place in np.unravel_index(int(surface.argmax()), surface.shape))
    rest = surface.copy()
    rest[max(0, row - PEAK_RADIUS) : row + PEAK_RADIUS + 1, max(0, column - PEAK_RADIUS) : column + PEAK_RADIUS + 1] = 0
    if surface[row, column] < CLEAR_PEAK * rest.max():
        return None
    down, right = row - surface.shape[0] // 2, column - surface.shape[1] // 2
    # Brightness and contrast may differ; only the pattern counts.
    one, two = ((picture - picture.mean()) / picture.std() for picture in (golden, test))
    if not _explains(one, two, down, right):
        return None
    return right + _vertex(surface[row], column), down + _vertex(surface[:, column], row)


def _explains(golden: Grey, test: Grey, down: int, right: int) -> bool:
    """Whether the pictures differ clearly less once the shift is undone, where both have pixels; no shift always."""
    import numpy as np

    height, width = golden.shape
    if (down, right) == (0, 0):
        return True
    if abs(down) > height * FARTHEST_SHARE or abs(right) > width * FARTHEST_SHARE:
        return False
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    back = slice(rows.start - down, rows.stop - down), slice(columns.start - right, columns.stop - right)
    seen = test[rows, columns]
    return float(np.abs(seen - golden[back]).mean()) < MOST_LEFT * float(np.abs(seen - golden[rows, columns]).mean())


def _vertex(line: Floats, peak: int) -> float:
    """Where between the neighbours of a peak the parabola through the three is highest, -0.5 to 0.5."""
    if not 0 < peak < len(line) - 1:
        return 0.0
    before, here, after = (float(value) for value in line[peak - 1 : peak + 2])
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
