"""Members of tar and zip archives in one shape, read with bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, cast

from skillrun.errors import DataError

Kind = Literal["file", "folder", "link", "device or pipe", "locked file"]

# No header is longer; a longer one is an attempt to fill the memory.
MAX_READ = 16 << 20
# Bytes of headers and padding that may come on top of the content.
OVERHEAD = 2 << 30
MAX_LINK_TARGET = 4096
ZSTANDARD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Member:
    """One entry.

    Attributes:
        name: as written in the archive, not checked.
        kind: what it is; only the first three can be unpacked.
        target: of a link.
        from_root: a link's target counts from the archive's root (tar hard links), not from its own folder.
    """

    name: str
    kind: Kind
    target: str = ""
    from_root: bool = False
    raw: tarfile.TarInfo | zipfile.ZipInfo | None = field(default=None, repr=False, compare=False)


class TarSource:
    """Members of a tar file, in order."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def __iter__(self) -> Iterator[Member]:
        for info in self._archive:
            yield Member(info.name, _tar_kind(info), info.linkname, info.islnk(), info)
        self._require_end()

    def _require_end(self) -> None:
        """A damaged header looks like the end to `tarfile`; a true end is zeros or nothing."""
        stream = self._archive.fileobj
        if stream is None:
            return
        stream.seek(self._archive.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        # The checksum of a compressed file comes last: only reading to the end proves it.
        while stream.read(1 << 20):
            pass

    def open(self, member: Member) -> IO[bytes]:
        """The content of a member of kind ``file``."""
        stream = self._archive.extractfile(member.raw) if isinstance(member.raw, tarfile.TarInfo) else None
        return stream if stream is not None else io.BytesIO()


class ZipSource:
    """Members of a zip file, in order."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def __iter__(self) -> Iterator[Member]:
        for info in self._archive.infolist():
            kind = _zip_kind(info)
            target = self._link_target(info) if kind == "link" else ""
            yield Member(info.filename, kind, target, False, info)

    def open(self, member: Member) -> IO[bytes]:
        """The content of a member of kind ``file``."""
        return self._archive.open(member.raw) if isinstance(member.raw, zipfile.ZipInfo) else io.BytesIO()

    def _link_target(self, info: zipfile.ZipInfo) -> str:
        with self._archive.open(info) as stream:
            return stream.read(MAX_LINK_TARGET).decode("utf-8", "surrogateescape")


def _tar_kind(info: tarfile.TarInfo) -> Kind:
    if info.isdir():
        return "folder"
    if info.isreg():
        return "file"
    return "link" if info.issym() or info.islnk() else "device or pipe"


def _zip_kind(info: zipfile.ZipInfo) -> Kind:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        return "locked file"
    if info.is_dir():
        return "folder"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device or pipe"


@contextmanager
def open_source(path: Path, max_bytes: int) -> Iterator[TarSource | ZipSource]:
    """Open an archive by its content.

    Raises:
        DataError: ``E_ARCHIVE_FORMAT`` for anything but tar and zip.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(path) as zipped:
            yield ZipSource(zipped)
        return
    if start.startswith(ZSTANDARD):
        raise DataError(
            "E_ARCHIVE_FORMAT", f"{path} is packed with zstd, which is not supported.", "Pack it as .tar.gz"
        )
    with _decompressed(path, start) as plain:
        try:
            archive = tarfile.open(fileobj=_Bounded(plain, path, max_bytes), mode="r:")  # noqa: SIM115
        except (tarfile.ReadError, EOFError, OSError, lzma.LZMAError) as cause:
            raise DataError(
                "E_ARCHIVE_FORMAT",
                f"{path} is neither a tar nor a zip archive ({cause}).",
                "Pack the images as .tar.gz or .zip",
            ) from cause
        with archive:
            yield TarSource(archive)


def _decompressed(path: Path, start: bytes) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(path))
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.open(path)
    if start.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")


class _Bounded(io.RawIOBase):
    """A stream that refuses to read very much at once or to run on without an end."""

    def __init__(self, stream: IO[bytes], path: Path, max_bytes: int) -> None:
        self._stream, self._path, self._limit = stream, path, max_bytes + OVERHEAD

    def read(self, size: int = -1, /) -> bytes:
        if size > MAX_READ:
            raise self._too_large(f"has a header of {size} bytes")
        if self._stream.tell() > self._limit:
            raise self._too_large(f"runs on beyond {self._limit} bytes")
        return self._stream.read(MAX_READ if size < 0 else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if offset > self._limit:
            raise self._too_large(f"runs on beyond {self._limit} bytes")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _too_large(self, what: str) -> DataError:
        return DataError("E_ARCHIVE_TOO_LARGE", f"The archive {self._path} {what}.", "Pack it again")
