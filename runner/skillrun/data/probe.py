"""Can an image file be read to its end? Answers for many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

# Up to this many files are decoded completely; of more, only header and end are looked at.
FULL_DECODE_FILES = 500
# Cameras may pad after the end mark; it is looked for in this many last bytes.
TAIL_BYTES = 4096
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
# Files of one task of a thread: handing over single files costs more than reading them.
CHUNK = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one file is: ``problem`` is empty where it can be read.

    ``size`` is (width, height) in pixels; ``mode`` is Pillow's (``L``, ``RGB``, …); ``format`` e.g. ``PNG``.
    ``digest`` is equal for equal files; it covers length, start and end, so of long files equal digests only suggest.
    """

    path: Path
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    problem: str = ""
    digest: bytes = b""


def probe_images(paths: Iterable[Path], progress: Progress | None = None) -> dict[Path, Probe]:
    """Probe every file once, on a few threads; ``progress`` gets (files done, files in all)."""
    unique = sorted(set(paths), key=str)
    probe = partial(probe_image, full=len(unique) <= FULL_DECODE_FILES)
    chunks = [unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK)]
    found: dict[Path, Probe] = {}
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        for probes in pool.map(lambda chunk: [probe(path) for path in chunk], chunks):
            found.update((one.path, one) for one in probes)
            if progress:
                progress(len(found), len(unique))
    return found


def probe_image(path: Path, *, full: bool = True) -> Probe:
    """Probe one existing file; never raises for its content.

    Args:
        path: the file.
        full: decode all pixels; otherwise only read the header and look for the end mark.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with path.open("rb") as stream, Image.open(stream) as image:
            size, mode, kind = image.size, image.mode, image.format or ""
            if full:
                image.load()
            ends, digest = _ends(stream)
            if not full and END_MARKS.get(kind, b"") not in ends:
                raise OSError("truncated: the end mark is missing")
    except UnidentifiedImageError:
        return Probe(path, problem="is not an image" if path.stat().st_size else "is empty")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
        return Probe(path, problem=f"can not be read ({cause})")
    return Probe(path, size, mode, kind, digest=digest)


def _ends(stream: BinaryIO) -> tuple[bytes, bytes]:
    """The last bytes, and a digest of length, first and last bytes."""
    length = os.fstat(stream.fileno()).st_size
    stream.seek(0)
    start = stream.read(TAIL_BYTES)
    stream.seek(max(0, length - TAIL_BYTES))
    end = stream.read()
    return end, blake2b(b"%d " % length + start + end, digest_size=12).digest()


def same_bytes(paths: Iterable[Path]) -> dict[bytes, list[Path]]:
    """Files by a digest of all their bytes."""
    found: dict[bytes, list[Path]] = {}
    for path in paths:
        whole = blake2b(digest_size=16)
        with path.open("rb") as stream:
            for block in iter(partial(stream.read, 1 << 20), b""):
                whole.update(block)
        found.setdefault(whole.digest(), []).append(path)
    return found
