"""Collect, hash, write: a bundle appears whole under its name, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from skillrun.bundle import engine_images, gather
from skillrun.bundle.archive import Piece, Show, write
from skillrun.bundle.disk import as_writing_trouble, refuse_existing, require_room
from skillrun.bundle.manifest import Manifest, in_order
from skillrun.errors import BackendError


@dataclass(frozen=True)
class Content:
    """What a bundle shall hold.

    Attributes:
        weights: sources as ``skillrun stage`` takes them; none means the bank's default backbone.
        images: names; none means those of ours that the engine has. ``with_images`` False leaves images out.
        wheels: a folder; None means skillrun's own with all it requires. ``with_wheels`` False leaves wheels out.
    """

    weights: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    with_images: bool = True
    wheels: Path | None = None
    with_wheels: bool = True


@dataclass(frozen=True)
class Created:
    """A finished bundle; ``size`` in bytes, ``sha256`` of the whole file."""

    path: Path
    manifest: Manifest
    size: int
    sha256: str


def create(out: Path, content: Content, show: Show) -> Created:
    """Make a bundle.

    Args:
        out: a new file; its folder is made where it is absent.
        show: called with the progress in bytes, of downloads too.

    Raises:
        ConflictError: the file exists, or a file changed in between. PreflightError: no room. BackendError: no engine,
        or pip failed. What ``staging.stage`` raises for weights, and ``images.resolve`` for names.
    """
    out = out.expanduser().absolute()
    refuse_existing(out)
    with as_writing_trouble(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with as_writing_trouble(out):  # beside the bundle: the system's folder may be small
            aside = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:40]}.")
            folder = Path(stack.enter_context(aside))
        pieces = [*_weights(content, show), *_wheels(content, folder / "wheels")]
        pieces += _images(content, folder, show, sum(piece.member.size for piece in pieces))
        ordered = {piece.member.path: piece for piece in pieces}
        members = in_order([piece.member for piece in ordered.values()])
        require_room(out.parent, sum(member.size for member in members))
        manifest = Manifest(created=datetime.now(UTC).isoformat(timespec="seconds"), members=members)
        sha256 = write(out, manifest, [ordered[member.path] for member in members], show)
    return Created(out, manifest, out.stat().st_size, sha256)


def _weights(content: Content, show: Show) -> Iterator[Piece]:
    for source in content.weights or gather.default_sources():
        yield gather.weights(source, show)


def _wheels(content: Content, folder: Path) -> list[Piece]:
    if not content.with_wheels:
        return []
    return gather.fetch_wheels(folder) if content.wheels is None else gather.wheels(content.wheels.expanduser())


def _images(content: Content, folder: Path, show: Show, others: int) -> list[Piece]:
    """Saved beside the bundle: their hashes stand before them in it, so there is need of their size twice."""
    if not content.with_images:
        return []
    try:
        client = engine_images.connected()
    except BackendError as error:
        fix = f"{error.fix}; or leave images out: --no-image"
        raise BackendError(error.code, error.message, fix, retryable=error.retryable) from error
    found = engine_images.chosen(client, content.images)
    require_room(folder, others + 2 * sum(int(about["Size"]) for about in found.values()))
    return [
        engine_images.save(client, reference, about, folder / f"{position}.tar", show)
        for position, (reference, about) in enumerate(found.items())
    ]
