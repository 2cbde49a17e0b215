"""Can an image file be read to its end? Answers for many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# Up to this many files are decoded completely; of more, only header and end are looked at.
FULL_DECODE_FILES = 500
# Cameras may pad after the end mark; it is looked for in this many last bytes.
TAIL_BYTES = 4096
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Probe:
    """What one file is: ``problem`` is empty where it can be read.

    ``size`` is (width, height) in pixels; ``mode`` is Pillow's (``L``, ``RGB``, …); ``format`` e.g. ``PNG``.
    """

    path: Path
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    problem: str = ""


def probe_images(paths: Iterable[Path], progress: Progress | None = None) -> dict[Path, Probe]:
    """Probe every file once, on a few threads; ``progress`` gets (files done, files in all)."""
    unique = sorted(set(paths))
    full = len(unique) <= FULL_DECODE_FILES
    found = {}
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        for done, probe in enumerate(pool.map(lambda path: probe_image(path, full=full), unique), start=1):
            found[probe.path] = probe
            if progress:
                progress(done, len(unique))
    return found


def probe_image(path: Path, *, full: bool = True) -> Probe:
    """Probe one existing file; never raises for its content.

    Args:
        path: the file.
        full: decode all pixels; otherwise only read the header and look for the end mark.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            size, mode, kind = image.size, image.mode, image.format or ""
            if full:
                image.load()
            else:
                _require_end(path, kind)
    except UnidentifiedImageError:
        return Probe(path, problem="is not an image" if path.stat().st_size else "is empty")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
        return Probe(path, problem=f"can not be read ({cause})")
    return Probe(path, size, mode, kind)


def _require_end(path: Path, kind: str) -> None:
    mark = END_MARKS.get(kind)
    if mark is None:
        return
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        if mark not in stream.read():
            raise OSError("truncated: the end mark is missing")
