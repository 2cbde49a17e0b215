"""The file: a plain tar whose every byte follows from ``bundle.json``, its first member, and the members' contents.

Reading interprets nothing that a stranger wrote but ``bundle.json``: headers, padding and end are compared with what
they must be. So links, foreign names, members that come twice and single flipped bits are all differences.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skillrun.bundle.disk import as_writing_trouble, refuse_existing
from skillrun.bundle.manifest import Image, Manifest, Weights, Wheel, damaged, read
from skillrun.errors import ConflictError, DataError, NotFoundError
from skillrun.progress import Progress
from skillrun.runfolder import give_to_folders_owner

FIRST = "bundle.json"
CHUNK = 1 << 20  # bytes
END = bytes(2 * tarfile.BLOCKSIZE)
LARGEST_MANIFEST = 16 << 20  # bytes
Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Piece:
    """A member, and the file of this host with its content."""

    member: Weights | Image | Wheel
    file: Path


class Opened:
    """A bundle that is open for reading; its manifest has been checked, its contents are checked when they are read.

    Attributes:
        path: the file. ``manifest``: what it says. ``size``: bytes of the file.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self._stream = path, stream
        self.size = os.fstat(stream.fileno()).st_size
        text = self._first()
        self.manifest = read(text, str(path))
        self._starts: dict[str, int] = {}
        offset = tarfile.BLOCKSIZE + len(text) + _padding(len(text))
        for member in self.manifest.members:
            self._starts[member.path] = offset
            offset += len(_head(member.path, member.size)) + member.size + _padding(member.size)
        self._check_length(offset + len(END))

    def verify(self, show: Show) -> None:
        """Read all of it. Raises DataError: any byte differs from what was written."""
        done, total = 0, sum(member.size for member in self.manifest.members)
        for member in self.manifest.members:
            for block in self.content(member):
                done += len(block)
                show(Progress("checking", done, total))
        self._stream.seek(-len(END), os.SEEK_END)
        if self._read(len(END)) != END:
            raise damaged(str(self.path), "its end is not empty")

    def content(self, member: Weights | Image | Wheel) -> Iterator[bytes]:
        """The member's bytes in blocks. Raises DataError, after the last at the latest, where they differ."""
        head, digest, left = _head(member.path, member.size), hashlib.sha256(), member.size
        self._stream.seek(self._starts[member.path])
        if (found := self._read(len(head))) != head:
            raise self._foreign(found, member.path)
        while left and (block := self._read(min(CHUNK, left))):
            digest.update(block)
            left -= len(block)
            yield block
        padding = bytes(_padding(member.size))
        if left or digest.hexdigest() != member.sha256 or self._read(len(padding)) != padding:
            raise damaged(str(self.path), f"{member.path} has not the recorded content (sha256 {member.sha256})")

    def _first(self) -> bytes:
        head = self._read(tarfile.BLOCKSIZE)
        try:
            found = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            found = tarfile.TarInfo()
        if found.name != FIRST or found.size < 0:
            raise DataError(
                "E_BUNDLE_UNKNOWN",
                f"{self.path} is no bundle, or is damaged at its start: it does not begin with {FIRST}",
                "make one: skillrun bundle create --out FILE",
            )
        if head != _head(FIRST, found.size) or found.size > LARGEST_MANIFEST:
            raise damaged(str(self.path), f"{FIRST} has a header that is not what was written")
        text, padding = self._read(found.size), bytes(_padding(found.size))
        if len(text) < found.size or self._read(len(padding)) != padding:
            raise damaged(str(self.path), f"it ends within {FIRST}, or {FIRST} is not followed by zeros")
        return text

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise damaged(str(self.path), f"it can not be read: {error.strerror or error}") from error

    def _check_length(self, announced: int) -> None:
        if self.size < announced:
            raise DataError(
                "E_BUNDLE_CUT",
                f"{self.path} is cut off: it has {self.size} of {announced} bytes",
                "copy it again from where it was made (is the disk full, or formatted as FAT?)",
            )
        if self.size > announced:
            raise DataError(
                "E_BUNDLE_FOREIGN",
                f"{self.path} has {self.size - announced} bytes more than {FIRST} announces",
                "copy it again from where it was made; members can not be added",
            )

    def _foreign(self, found: bytes, path: str) -> DataError:
        """What stands where a member should be."""
        try:
            other = tarfile.TarInfo.frombuf(found[: tarfile.BLOCKSIZE], "utf-8", "backslashreplace")
        except tarfile.HeaderError:
            return damaged(str(self.path), f"the header of {path} is not what was written")
        if other.name == path and other.isreg():
            return damaged(str(self.path), f"the header of {path} is not what was written")
        what = "a link" if other.issym() or other.islnk() else "a member"
        return DataError(
            "E_BUNDLE_FOREIGN",
            f"{self.path} has {what} {other.name!r} where {FIRST} announces {path}",
            "copy it again from where it was made; nothing was taken",
        )


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """A bundle for reading.

    Raises:
        NotFoundError: E_BUNDLE_FILE. DataError: E_BUNDLE_UNKNOWN, E_BUNDLE_NEWER, E_BUNDLE_MEMBER, E_BUNDLE_CUT,
        E_BUNDLE_FOREIGN or E_BUNDLE_DAMAGED.
    """
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise NotFoundError("E_BUNDLE_FILE", f"the bundle {str(path)!r} {what}", "name the file of a bundle")
        stream = path.open("rb")
    except OSError as error:
        reason = error.strerror or error
        raise NotFoundError("E_BUNDLE_FILE", f"the bundle {str(path)!r} can not be read: {reason}", "ls -l") from error
    with stream:
        yield Opened(path, stream)


def write(out: Path, manifest: Manifest, pieces: Sequence[Piece], show: Show) -> str:
    """Write a bundle; it appears whole, or not at all.

    Args:
        pieces: in the manifest's order.

    Returns:
        The sha256 of the file.

    Raises:
        ConflictError: E_BUNDLE_EXISTS, or E_BUNDLE_CHANGED, a file is no longer what was hashed. PreflightError: no
        room, or the folder can not be written.
    """
    aside = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(3)}")
    digest, done, total = hashlib.sha256(), 0, sum(piece.member.size for piece in pieces)
    with as_writing_trouble(out):
        try:
            with aside.open("xb") as stream:
                for block in _blocks(manifest, pieces):
                    stream.write(block)
                    digest.update(block)
                    done += len(block)
                    show(Progress("writing", min(done, total), total))
                stream.flush()
                os.fsync(stream.fileno())
            give_to_folders_owner(aside)
            refuse_existing(out)
            aside.replace(out)
        finally:
            aside.unlink(missing_ok=True)
    return digest.hexdigest()


def _blocks(manifest: Manifest, pieces: Sequence[Piece]) -> Iterator[bytes]:
    text = manifest.to_bytes()
    yield _head(FIRST, len(text)) + text + bytes(_padding(len(text)))
    for piece in pieces:
        yield _head(piece.member.path, piece.member.size)
        yield from _unchanged(piece)
        yield bytes(_padding(piece.member.size))
    yield END


def _unchanged(piece: Piece) -> Iterator[bytes]:
    digest, size = hashlib.sha256(), 0
    with piece.file.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
            size += len(block)
            yield block
    if size != piece.member.size or digest.hexdigest() != piece.member.sha256:
        raise ConflictError(
            "E_BUNDLE_CHANGED",
            f"{piece.file} changed while the bundle was made; no bundle was written",
            "type the same again when nothing writes to it",
        )


def _head(name: str, size: int) -> bytes:
    """The tar header of a plain file; owners and times are left out, so that equal contents make equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
