"""Pictures in and out as arrays, through bytes, so that any file name works on any system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skillrun.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
else:
    Picture = Floats = Any

# Fast and close to the size of the slow levels on board pictures.
PNG_COMPRESSION = 3


def read_grey(path: Path) -> Picture:
    """Read a picture as (height, width) uint8 grey levels 0..255.

    Raises:
        DataError: ``E_DATA_IMAGE_MISSING`` or ``E_DATA_IMAGE_UNREADABLE``.
    """
    import cv2
    import numpy as np

    if not path.is_file():
        raise DataError("E_DATA_IMAGE_MISSING", f"The image {path} does not exist.", f"Put the file at {path}")
    raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    picture = cv2.imdecode(raw, cv2.IMREAD_GRAYSCALE) if raw.size else None
    if picture is None:
        raise DataError("E_DATA_IMAGE_UNREADABLE", f"The image {path} can not be decoded.", f"Replace {path}")
    return np.asarray(picture, dtype=np.uint8)


def write_png(path: Path, picture: Picture) -> None:
    """Write (height, width) grey or (height, width, 3) blue-green-red uint8 as PNG; folders are made.

    The same array gives the same bytes.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
    path.write_bytes(encoded.tobytes())
