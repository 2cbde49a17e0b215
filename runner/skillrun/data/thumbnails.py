"""Small grey arrays of picture files, for comparisons; needs numpy and Pillow, not OpenCV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Grey = npt.NDArray[np.float32]
else:
    Grey = Any

# What is said where pixels can not be compared.
NO_NUMPY = "not looked at: the package numpy is not installed"

T = TypeVar("T")
R = TypeVar("R")


def can_compare() -> bool:
    """Whether the package that comparisons need is there."""
    return find_spec("numpy") is not None


def grey(path: Path, side: int | None = None, longest: int | None = None) -> Grey | None:
    """A picture as (height, width) float32 grey levels 0..255; None where it can not be read.

    Args:
        path: the file.
        side: exact height and width in pixels; None keeps the shape.
        longest: the picture is made smaller until no side is longer; None keeps the size.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            # JPEG decodes faster at an eighth to a half of its size.
            image.draft("L", (side or longest or image.width,) * 2)
            picture = image.convert("L")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return None
    if side:
        picture = picture.resize((side, side), Image.Resampling.BOX)
    elif longest:
        picture.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32)


def on_threads(call: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
    """Call for every item, in order, on a thread a core."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield from pool.map(call, items)
