"""Images out of an engine and into another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from skillrun import images
from skillrun.bundle.archive import Piece, Show
from skillrun.bundle.disk import as_writing_trouble
from skillrun.bundle.manifest import Image, is_tagged
from skillrun.engine import answering, connect
from skillrun.errors import BackendError, NotFoundError, UsageError
from skillrun.image_build import SILENCE_S
from skillrun.images import ImageReference
from skillrun.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient


def connected() -> DockerClient:
    """The engine that is meant now. Raises BackendError where none answers."""
    try:
        return connect()
    except BackendError as error:
        fix = error.fix.removesuffix(", or use --backend local")  # which has no images
        raise BackendError(error.code, error.message, fix, retryable=error.retryable) from error


def chosen(client: DockerClient, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Reference with a tag → what the engine knows of it.

    Args:
        names: keys or names as ``images.resolve`` takes them; none means those of ours that the engine has.

    Raises:
        NotFoundError: the engine has no such image, or none of ours. UsageError: a name without a tag of the engine's.
    """
    wanted = [images.resolve(name) for name in names] or [image for image in images.known() if not image.published]
    found = {_tagged(client, image): about for image in wanted if (about := _about(client, image, bool(names)))}
    if not found:
        raise NotFoundError(
            "E_IMAGE_MISSING",
            "the engine has none of skillrun's images",
            "skillrun images build, or name one: --image NAME, or leave images out: --no-image",
        )
    return found


def _about(client: DockerClient, image: ImageReference, named: bool) -> dict[str, Any] | None:
    about = images.inspect(client, image.reference)
    if about is None and named:
        raise images.missing(image)
    return about


def _tagged(client: DockerClient, image: ImageReference) -> str:
    """The name that is saved with the image. A digest or an id is lost on the way, so it can not be the name."""
    tags = [str(tag) for tag in (images.inspect(client, image.reference) or {}).get("RepoTags") or ()]
    for name in (image.reference, f"{image.reference}:latest"):
        if name in tags and is_tagged(name):
            return name
    fix = f"--image {tags[0]}" if tags else f"docker tag {image.reference} NAME:TAG, then --image NAME:TAG"
    raise UsageError("E_BUNDLE_IMAGE_NAME", f"{image.reference} is no name that can be saved with the image", fix)


def save(client: DockerClient, reference: str, about: dict[str, Any], file: Path, show: Show) -> Piece:
    """Write an image to a file, as ``docker save`` does. Raises BackendError: the engine broke off."""
    digest, done = hashlib.sha256(), 0
    with _patient(client), as_writing_trouble(file), file.open("xb") as stream, _still_there(reference), answering():
        for block in client.images.get(reference).save(named=reference):
            stream.write(block)
            digest.update(block)
            done += len(block)
            show(Progress(f"saving {reference}", done, int(about["Size"])))
    record = Image(
        name=reference, size=done, sha256=digest.hexdigest(), image_id=str(about["Id"]), layers=_layers(about)
    )
    return Piece(record, file)


def is_there(client: DockerClient, image: Image) -> bool:
    """Whether the engine has this very image under this name."""
    return images.find(client, image.name) == image.image_id


def _send(client: DockerClient, blocks: Iterable[bytes]) -> None:
    """Send an image, and read the answer to its end: a connection that is left in the middle stays open."""
    from docker.errors import ImageLoadError

    refused = ""
    api = cast(Any, client.api)  # whose types know files only; blocks go as they come
    for said in api.load_image(blocks):
        refused = refused or str(said.get("errorDetail", {}).get("message", ""))
    if refused:
        raise ImageLoadError(refused)


def load(client: DockerClient, image: Image, blocks: Iterable[bytes]) -> str:
    """Give a saved image to an engine, as ``docker load`` does.

    Returns:
        The id that the engine gives it; engines of another storage have other ids for the same layers.

    Raises:
        BackendError: E_DOCKER_ANSWER, the engine refused or broke off; E_BUNDLE_IMAGE, it has something else now.
    """
    with _patient(client), _still_there(image.name), answering():
        _send(client, blocks)
    about = images.inspect(client, image.name)
    if about is None or (about["Id"] != image.image_id and _layers(about) != image.layers):
        has = about["Id"] if about else "nothing"
        raise BackendError(
            "E_BUNDLE_IMAGE",
            f"after loading, the engine has {has} as {image.name}, and the bundle recorded {image.image_id}",
            "skillrun doctor; then type the same again",
        )
    return str(about["Id"])


@contextmanager
def _still_there(reference: str) -> Iterator[None]:
    """Somebody may remove an image while it is in work."""
    from docker.errors import NotFound

    try:
        yield
    except NotFound as error:
        raise images.missing(images.resolve(reference)) from error


@contextmanager
def _patient(client: DockerClient) -> Iterator[None]:
    """An engine says nothing while it collects or unpacks many gigabytes."""
    usual = client.api.timeout
    client.api.timeout = SILENCE_S
    try:
        yield
    finally:
        client.api.timeout = usual


def _layers(about: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(layer) for layer in (about.get("RootFS") or {}).get("Layers") or ())
