"""Take a bundle over: everything is checked before anything is taken, and what is here already is left as it is."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skillrun.bundle import engine_images
from skillrun.bundle.archive import Opened, Show, opened
from skillrun.bundle.disk import as_writing_trouble, require_room
from skillrun.bundle.manifest import Image, Weights, Wheel
from skillrun.errors import BackendError, ConflictError, NotFoundError, SkillrunError
from skillrun.progress import Progress
from skillrun.runfolder import give_to_folders_owner
from skillrun.staging import store

State = Literal["loaded", "already here"]


@dataclass(frozen=True)
class Taken:
    """A member that is here now; ``place`` is a path, or an image's id on the engine."""

    member: Weights | Image | Wheel
    state: State
    place: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.member.kind, "name": self.member.name, "state": self.state, "place": self.place}


def load(path: Path, into: Path, show: Show) -> list[Taken]:
    """Check a bundle, then take weights into the cache, wheels into a folder, images into the engine.

    Args:
        into: the folder for wheels, made where it is absent.

    Raises:
        NotFoundError, DataError: no bundle, or not the one that was made; nothing was taken. ConflictError: the
        folder has another wheel of a name; nothing was taken. PreflightError: no room. BackendError: no engine, or it
        failed; weights and wheels were taken, and the message says so.
    """
    into = into.expanduser().absolute()
    with opened(path) as bundle:
        bundle.verify(show)
        _require_place(bundle, into)
        taken: list[Taken] = []
        for member in bundle.manifest.members:
            if isinstance(member, Weights):
                taken.append(_take_weights(bundle, member, show))
            elif isinstance(member, Wheel):
                taken.append(_take_wheel(bundle, member, into, show))
        for image in [member for member in bundle.manifest.members if isinstance(member, Image)]:
            try:
                taken.append(_take_image(bundle, image, show))
            except (BackendError, NotFoundError) as error:
                raise _images_left(bundle, taken, into, error) from error
    return taken


def install_command(taken: list[Taken]) -> str:
    """What installs the wheels without a network; empty where there are none. skillrun brings what it requires."""
    wheels = [one for one in taken if isinstance(one.member, Wheel)]
    names = sorted({one.member.name.partition("-")[0] for one in wheels})
    if not wheels:
        return ""
    folder = str(Path(wheels[0].place).parent)
    wanted = ["skillrun"] if "skillrun" in names else names
    return shlex.join(["pip", "install", "--no-index", "--find-links", folder, *wanted])


def _require_place(bundle: Opened, into: Path) -> None:
    """Raises ConflictError or PreflightError where what is to be taken has no place."""
    root, members = store.folder(), bundle.manifest.members
    weights = sum(
        one.size for one in members if isinstance(one, Weights) and not store.path_of(root, one.kept).exists()
    )
    wheels = 0
    for wheel in [one for one in members if isinstance(one, Wheel)]:
        with as_writing_trouble(into):
            present = _has(into / wheel.name, wheel)
        if present is False:
            raise ConflictError(
                "E_BUNDLE_WHEEL_EXISTS",
                f"{str(into / wheel.name)!r} is another file than the bundle's; nothing was taken",
                "choose an empty folder: --into DIR",
            )
        wheels += 0 if present else wheel.size
    for place, needed in ((root, weights), (into, wheels)):
        if needed:
            with as_writing_trouble(place):
                place.mkdir(parents=True, exist_ok=True)
            require_room(place, needed)


def _take_weights(bundle: Opened, member: Weights, show: Show) -> Taken:
    root, kept = store.folder(), member.kept
    text = f"bundle {kept.sha256}/{kept.name}"
    with store.alone(root, text, lambda: show(Progress("waiting for another process", 0, 0))):
        whole = store.is_whole(root, kept)
        if whole and all(store.recall(root, source) == kept for source in member.texts()):
            return Taken(member, "already here", str(store.path_of(root, kept)))
        if not whole:
            part = root / f"{store.key_of(text)}.part"
            try:
                _write(bundle, member, part, show)
                store.take_in(root, part, kept)
            finally:
                part.unlink(missing_ok=True)
        for source in member.texts():
            store.remember(root, source, kept)
    return Taken(member, "loaded", str(store.path_of(root, kept)))


def _take_wheel(bundle: Opened, wheel: Wheel, into: Path, show: Show) -> Taken:
    place = into / wheel.name
    if _has(place, wheel):
        return Taken(wheel, "already here", str(place))
    aside = into / f".{secrets.token_hex(6)}.part"
    with as_writing_trouble(place):
        try:
            _write(bundle, wheel, aside, show)
            give_to_folders_owner(aside)
            aside.replace(place)
        finally:
            aside.unlink(missing_ok=True)
    return Taken(wheel, "loaded", str(place))


def _take_image(bundle: Opened, image: Image, show: Show) -> Taken:
    client = engine_images.connected()
    if engine_images.is_there(client, image):
        return Taken(image, "already here", image.image_id)
    return Taken(image, "loaded", engine_images.load(client, image, _shown(bundle, image, show)))


def _images_left(bundle: Opened, taken: list[Taken], into: Path, error: SkillrunError) -> BackendError:
    """The engine's error, with what is here already and how to go on."""
    wheels = sum(isinstance(one.member, Wheel) for one in taken)
    here = [one.member.name for one in taken if not isinstance(one.member, Wheel)]
    here += [f"wheels ({wheels}) in {into}"] if wheels else []
    done = {one.member.path for one in taken}
    left = [one.name for one in bundle.manifest.members if one.path not in done]
    again = shlex.join(["skillrun", "bundle", "load", str(bundle.path), "--into", str(into)])
    mend = "docker system df; docker system prune" if "no space left" in error.message else error.fix
    return BackendError(
        error.code,
        f"{error.message}; not loaded: {', '.join(left)}; loaded: {', '.join(here) or 'nothing'}",
        f"{mend}; then again, what is loaded stays: {again}",
        retryable=True,
    )


def _has(place: Path, wheel: Wheel) -> bool | None:
    """Whether a file is this wheel; None where there is none."""
    if not os.path.lexists(place):
        return None
    return place.is_file() and place.stat().st_size == wheel.size and store.sha256_of(place).hexdigest() == wheel.sha256


def _write(bundle: Opened, member: Weights | Wheel, file: Path, show: Show) -> None:
    """The content, checked again while it is copied: the file may have changed since it was checked."""
    with as_writing_trouble(file), file.open("wb") as stream:
        for block in _shown(bundle, member, show):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())


def _shown(bundle: Opened, member: Weights | Image | Wheel, show: Show) -> Iterator[bytes]:
    done = 0
    for block in bundle.content(member):
        yield block
        done += len(block)
        show(Progress(f"loading {member.kind}", done, member.size))
