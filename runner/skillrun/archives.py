"""Unpack an image archive once, into a cache, without trusting it.

tar (plain, gzip, bzip2, xz) and zip. No entry can write outside its folder, no symbolic link is ever created,
and sizes are counted while writing, not believed. The cache is keyed by the sha256 of the archive's bytes; an
entry appears by one rename, so it is complete or absent, also with several processes at work.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tarfile
import uuid
import zipfile
import zlib
from pathlib import Path

from skillrun.archive_members import Member, TarSource, ZipSource, open_source
from skillrun.errors import DataError, NotFoundError

__all__ = ["extract"]

GIBIBYTE = 1 << 30
CHUNK = 1 << 20
IMAGES = "images"
MAX_MEMBERS = 1_000_000
# What systems add to archives; it is no data and would hide that `images` is the only folder.
JUNK_FOLDER = "__MACOSX"
JUNK_PREFIXES = ("._", ".DS_Store")
# ValueError: names no file system takes. NotImplementedError: zip methods Python lacks.
# RecursionError: endless header chains.
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RecursionError,
)


def extract(
    archive: str | Path,
    cache_root: str | Path,
    *,
    max_bytes: int = 200 * GIBIBYTE,
    max_members: int = MAX_MEMBERS,
) -> Path:
    """Unpack ``archive`` unless the cache holds it already.

    Links to a file inside the archive become that file. Entries that a system added (``__MACOSX``,
    ``.DS_Store``) are left out.

    Args:
        archive: a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip; told by content, not by name.
        cache_root: made if missing.
        max_bytes: limit on the sum of the unpacked files.
        max_members: limit on entries.

    Returns:
        The folder that stands for ``images_dir``: the archive's ``images`` folder if that is its only
        top-level entry, else the folder with everything.

    Raises:
        NotFoundError: ``E_ARCHIVE_MISSING``.
        DataError: ``E_ARCHIVE_FORMAT``, ``E_ARCHIVE_CORRUPT``, ``E_ARCHIVE_PATH``, ``E_ARCHIVE_LINK``,
            ``E_ARCHIVE_MEMBER`` (a device or pipe), ``E_ARCHIVE_TOO_LARGE``, ``E_ARCHIVE_TOO_MANY``, or
            ``E_ARCHIVE_WRITE`` (no space, no permission).
    """
    source = Path(archive)
    if not source.is_file():
        raise NotFoundError("E_ARCHIVE_MISSING", f"The archive {source} does not exist.", f"Put it at {source}")
    try:
        root = Path(cache_root)
        root.mkdir(parents=True, exist_ok=True)
        target = root / _sha256(source)
        if not target.is_dir():
            _extract_to(source, target, max_bytes, max_members)
    except OSError as cause:
        raise DataError(
            "E_ARCHIVE_WRITE",
            f"{source} could not be unpacked into {cache_root}: {cause}.",
            "Free some space, or name another cache folder",
        ) from cause
    return _images_folder(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _images_folder(target: Path) -> Path:
    entries = list(target.iterdir())
    only_images = len(entries) == 1 and entries[0].name == IMAGES and entries[0].is_dir()
    return entries[0] if only_images else target


def _extract_to(source: Path, target: Path, max_bytes: int, max_members: int) -> None:
    stage = target.with_name(f".{target.name[:16]}.{uuid.uuid4().hex[:12]}.partial")
    stage.mkdir()
    try:
        writer = _Writer(source, stage, max_bytes, max_members)
        try:
            with open_source(source, max_bytes) as members:
                writer.write_all(members)
        except BROKEN as cause:
            raise _damaged(source, cause) from cause
        except OSError as cause:
            # Decompressors raise it without a number for damaged data; the system's own have one.
            if cause.errno is None:
                raise _damaged(source, cause) from cause
            raise
        try:
            stage.rename(target)
        except OSError:
            # Another process was faster: its folder has the same content. Anything else is a real failure.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _damaged(source: Path, cause: BaseException) -> DataError:
    what = str(cause) or type(cause).__name__
    return DataError("E_ARCHIVE_CORRUPT", f"{source} is damaged: {what}.", f"Copy {source} again")


class _Writer:
    """Writes checked members below one folder and keeps count."""

    def __init__(self, source: Path, stage: Path, max_bytes: int, max_members: int) -> None:
        self._source, self._stage = source, stage
        self._room, self._max_bytes, self._max_members = max_bytes, max_bytes, max_members
        self._links: list[tuple[Member, tuple[str, ...]]] = []

    def write_all(self, members: TarSource | ZipSource) -> None:
        for count, member in enumerate(members, start=1):
            if count > self._max_members:
                raise self._refusal(
                    "E_ARCHIVE_TOO_MANY", f"holds more than {self._max_members} entries", "Split the archive"
                )
            parts = self._checked(member, member.name)
            if parts and parts[0] != JUNK_FOLDER and not parts[-1].startswith(JUNK_PREFIXES):
                self._write(members, member, parts)
        self._make_links()

    def _write(self, members: TarSource | ZipSource, member: Member, parts: tuple[str, ...]) -> None:
        if member.kind == "folder":
            self._folder(member, parts)
        elif member.kind == "file":
            self._folder(member, parts[:-1])
            self._file(members, member, self._stage.joinpath(*parts))
        elif member.kind == "link":
            self._links.append((member, parts))
        else:
            raise self._refusal(
                "E_ARCHIVE_MEMBER", f"holds {member.name!r}, a {member.kind}", "Pack files and folders only"
            )

    def _folder(self, member: Member, parts: tuple[str, ...]) -> None:
        try:
            self._stage.joinpath(*parts).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as cause:
            raise self._refusal(
                "E_ARCHIVE_PATH", f"has {member.name!r} below or over a file of that name", "Pack it again"
            ) from cause

    def _file(self, members: TarSource | ZipSource, member: Member, path: Path) -> None:
        if path.is_dir():
            raise self._refusal("E_ARCHIVE_PATH", f"has {member.name!r} as a file and as a folder", "Pack it again")
        path.unlink(missing_ok=True)  # a later entry of the same name wins, as in tar
        with members.open(member) as stream, path.open("xb") as out:
            while chunk := stream.read(CHUNK):
                self._room -= len(chunk)
                if self._room < 0:
                    raise self._refusal(
                        "E_ARCHIVE_TOO_LARGE",
                        f"unpacks to more than {self._max_bytes} bytes",
                        "Raise the limit",
                    )
                out.write(chunk)

    def _make_links(self) -> None:
        """Turn links into the files they name; a link to a link is followed, a circle is refused."""
        waiting = self._links
        while waiting:
            left = [(member, parts) for member, parts in waiting if not self._made(member, parts)]
            if len(left) == len(waiting):
                member = left[0][0]
                raise self._refusal(
                    "E_ARCHIVE_LINK",
                    f"has {member.name!r}, a link to {member.target!r}, which is no file of it",
                    "Pack it with links followed: tar --dereference",
                )
            waiting = left

    def _made(self, member: Member, parts: tuple[str, ...]) -> bool:
        base = () if member.from_root else parts[:-1]
        target = self._stage.joinpath(*self._checked(member, member.target, base))
        if not target.is_file():
            return False
        path = self._stage.joinpath(*parts)
        self._folder(member, parts[:-1])
        if path != target and not path.is_dir():
            path.unlink(missing_ok=True)
            os.link(target, path)
        return True

    def _checked(self, member: Member, path: str, base: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Parts of a relative path that stays inside.

        A name may not go up at all; a link's target, which counts from ``base``, may go up and come back.
        """
        plain = path.replace("\\", "/")
        parts = list(base or ())
        outside = plain.startswith("/") or plain[1:2] == ":" or "\0" in plain
        for part in plain.split("/"):
            if part == "..":
                outside = outside or base is None or not parts
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        if outside:
            code = "E_ARCHIVE_PATH" if base is None else "E_ARCHIVE_LINK"
            shown = repr(member.name) + (f", a link to {path!r}" if base is not None else "")
            raise self._refusal(code, f"has {shown}, which points outside", "Pack relative paths only")
        return tuple(parts)

    def _refusal(self, code: str, what: str, fix: str) -> DataError:
        return DataError(code, f"The archive {self._source} {what}.", fix)
