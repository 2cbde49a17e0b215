"""Which of many good pictures is most like another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.data.pictures import read_grey

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]
else:
    Vector = Any

# Coarse enough to overlook a defect, fine enough to see how a part lies.
SIDE = 32
RULE = f"highest correlation of {SIDE} x {SIDE} grey thumbnails"


class GoodPictures:
    """A pool of good pictures to pick a golden from; ties go to the first by path."""

    def __init__(self, paths: Sequence[Path]) -> None:
        import numpy as np

        self._paths = sorted(paths)
        self._thumbnails = np.stack([thumbnail(path) for path in self._paths])

    def nearest(self, path: Path) -> tuple[Path, float]:
        """The picture most like ``path``, never itself, and the correlation of -1 to 1.

        Raises:
            DataError: the picture is missing or can not be decoded.
            ValueError: the pool holds no other picture.
        """
        import numpy as np

        likeness = self._thumbnails @ thumbnail(path)
        others = [i for i, other in enumerate(self._paths) if other != path]
        best = max(others, key=lambda i: (float(np.round(likeness[i], 6)), -i))
        return self._paths[best], float(likeness[best])


def thumbnail(path: Path) -> Vector:
    """(SIDE * SIDE,) float32 of mean 0 and norm 1; all 0 for a picture of one grey."""
    import cv2
    import numpy as np

    small = cv2.resize(read_grey(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return np.asarray(small / norm if norm > 0 else small, dtype=np.float32)
