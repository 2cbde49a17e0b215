"""How a test picture lies against its golden, and moving it there: shift, and a small turn where OpenCV is at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from skillrun.data.shifts import phase_shift

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Grey = npt.NDArray[np.float32]
    Pixels = npt.NDArray[Any]
else:
    Grey = Pixels = Any

# Steps and change at which the search for a turn ends.
ECC_STEPS, ECC_CHANGE = 60, 1e-5
# A larger turn is a wrong answer of the search, in degrees.
MOST_TURN = 5.0
# Without a clear shift, a turn must make the pictures so alike (correlation) to be believed.
CLEAR = 0.9


@dataclass(frozen=True)
class Move:
    """Where a point of the golden lies in the test picture: turned by ``angle`` about the middle, then shifted.

    Attributes:
        dx, dy: pixels to the right and down.
        angle: degrees, clockwise as seen.
    """

    dx: float
    dy: float
    angle: float = 0.0

    @property
    def pixels(self) -> float:
        """Length of the shift."""
        return math.hypot(self.dx, self.dy)


def can_turn() -> bool:
    """Whether turns are measured: OpenCV is installed."""
    return find_spec("cv2") is not None


def find_move(golden: Grey, test: Grey) -> Move | None:
    """The move of ``test`` against ``golden``, both (height, width) float32 of grey levels; None where it is not clear.

    Phase correlation gives the shift; with OpenCV the enhanced correlation coefficient (Evangelidis and Psarakis
    2008) refines it together with a turn. Of the two, and of no move at all, the one with the highest `likeness` wins.
    """
    found = phase_shift(golden, test)
    start = Move(0.0, 0.0) if found is None else Move(*found)
    turned = _refine(golden, test, start) if can_turn() else None
    if found is None:  # a turn can blur the peak of the shift
        clear = turned and likeness(golden, moved(test, turned)) >= max(CLEAR, likeness(golden, test))
        return turned if clear else None
    candidates = [Move(0.0, 0.0), start, *([turned] if turned else [])]
    return max(candidates, key=lambda move: likeness(golden, moved(test, move)))


def _refine(golden: Grey, test: Grey, start: Move) -> Move | None:
    import cv2
    import numpy as np

    height, width = golden.shape
    warp = np.array([[1, 0, start.dx], [0, 1, start.dy]], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, ECC_CHANGE)
    try:
        _, fitted = cv2.findTransformECC(golden, test, warp, cv2.MOTION_EUCLIDEAN, stop)
    except cv2.error:  # the search left the picture, or found nothing to follow
        return None
    warp = np.asarray(fitted, np.float32)
    angle = math.degrees(math.atan2(float(warp[1, 0]), float(warp[0, 0])))
    middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    dx, dy = (warp @ middle) - middle[:2]
    move = Move(float(dx), float(dy), angle)
    far = math.hypot(move.dx - start.dx, move.dy - start.dy) > max(golden.shape) * 0.05
    return None if abs(angle) > MOST_TURN or far else move


def moved(picture: Pixels, move: Move, *, nearest: bool = False) -> Pixels:
    """The picture as it would lie on its golden.

    Args:
        picture: (height, width) or (height, width, channels) of any dtype.
        move: what `find_move` found.
        nearest: take the nearest pixel (masks), instead of bicubic values.

    Returns:
        The same shape and dtype; what comes in from outside repeats the border.
    """
    import numpy as np
    from PIL import Image

    height, width = picture.shape[:2]
    rim = math.ceil(move.pixels + math.hypot(height, width) / 2 * abs(math.sin(math.radians(move.angle)))) + 2
    planes = picture.reshape(height, width, -1)
    padded = np.pad(planes, ((rim, rim), (rim, rim), (0, 0)), mode="edge").astype(np.float32)
    kind = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    rows = _matrix(move, width, height, rim)
    turned = [
        np.asarray(Image.fromarray(padded[..., plane]).transform((width, height), Image.Transform.AFFINE, rows, kind))
        for plane in range(planes.shape[2])
    ]
    values = np.stack(turned, axis=2).reshape(picture.shape)
    if np.issubdtype(picture.dtype, np.integer):
        limits = np.iinfo(picture.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.asarray(values > 0.5 if picture.dtype == bool else values.astype(picture.dtype))


def _matrix(move: Move, width: int, height: int, rim: int) -> tuple[float, ...]:
    """Pillow's affine rows: from a pixel corner of the result to one of the padded source."""
    cos, sin = math.cos(math.radians(move.angle)), math.sin(math.radians(move.angle))
    x, y = width / 2, height / 2
    right = x + move.dx + rim - cos * x + sin * y
    down = y + move.dy + rim - sin * x - cos * y
    return cos, -sin, right, sin, cos, down


def likeness(golden: Grey, test: Grey) -> float:
    """Correlation of the middle parts of two (height, width) pictures, -1 to 1; 0 where one is flat."""
    import numpy as np

    rows, columns = (slice(side // 8, side - side // 8) for side in golden.shape)
    one, two = (np.asarray(picture[rows, columns], np.float64).ravel() for picture in (golden, test))
    one, two = one - one.mean(), two - two.mean()
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / norm if norm > 0 else 0.0
