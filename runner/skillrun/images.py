"""Container images: their names, whether the engine has them, and how to come by them.

``references/versions.yaml`` holds every name once. A contract names an image by a key of that file (dotted, without
``/`` and ``:``, e.g. ``tao_toolkit.pyt``); whatever else a user types is an image name and is taken as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from skillrun import __version__, bank
from skillrun.errors import BackendError, NotFoundError, UsageError
from skillrun.progress import Progress

if TYPE_CHECKING:
    from docker import DockerClient

Policy = Literal["never", "missing", "always"]
OWN = "skillrun"
CPU_SUFFIX = "-cpu"
_PART = r"[a-z0-9]+(?:(?:[.]|_{1,2}|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_NAME = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII)


@dataclass(frozen=True)
class ImageReference:
    """An image that can be run.

    Attributes:
        reference: what the engine is asked for, e.g. ``skillrun/visual_changenet-train:0.1.0-cpu``.
        key: its key in ``versions.yaml``, empty for any other image.
        variant: ``gpu`` or ``cpu``, empty for any other image.
        published: False for ours, which no registry has: they are built.
    """

    reference: str
    key: str = ""
    variant: str = ""
    published: bool = True

    @property
    def role(self) -> str:
        """What an image of ours is for: ``train`` or ``deploy``."""
        return self.key.rpartition("_")[2]

    @property
    def registry(self) -> str:
        """The host that serves it, as ``docker login`` wants it."""
        first, slash, _ = self.reference.partition("/")
        is_host = bool(slash) and (bool({".", ":"} & set(first)) or first == "localhost")
        return first if is_host else "docker.io"


@cache
def versions() -> dict[str, Any]:
    """The parsed ``references/versions.yaml``."""
    parsed: dict[str, Any] = bank.load_yaml(bank.bank_root() / "references" / "versions.yaml")
    return parsed


def known() -> tuple[ImageReference, ...]:
    """Every image of ``versions.yaml``; ours in both variants."""
    found = []
    for family, members in versions()["images"].items():
        for name, entry in members.items():
            variants = ("gpu", "cpu") if family == OWN else ("gpu",)
            found += [_entry(f"{family}.{name}", entry, variant) for variant in variants]
    return tuple(found)


def resolve(key_or_uri: str, *, cpu: bool = False) -> ImageReference:
    """The image that a key or a name means.

    Args:
        key_or_uri: ``tao_toolkit.pyt`` (a key has no ``/`` and no ``:``), or a name such as ``host/name:tag``.
        cpu: the variant without CUDA, for a key of ours; other images have one variant only.

    Raises:
        NotFoundError: no such key; names the nearest. UsageError: a name that no engine accepts.
    """
    if "/" in key_or_uri or ":" in key_or_uri:
        return _by_name(key_or_uri)
    wanted = [image for image in known() if image.key == key_or_uri]
    if not wanted:
        import difflib

        keys = sorted({image.key for image in known()})
        near = difflib.get_close_matches(key_or_uri, keys, n=2, cutoff=0.4)
        meant = f"; did you mean {' or '.join(near)}" if near else ""
        raise NotFoundError(
            "E_IMAGE_UNKNOWN",
            f"references/versions.yaml has no image {key_or_uri!r}{meant}",
            f"choose one of {', '.join(keys)}, or write the image's name with a tag: NAME:TAG",
        )
    return next((image for image in wanted if cpu and image.variant == "cpu"), wanted[0])


def _by_name(name: str) -> ImageReference:
    """A plan holds names, not keys: those of ``versions.yaml`` are recognised."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "E_IMAGE_NAME",
            f"{name!r} is not an image name",
            "write [HOST/]NAME[:TAG] with NAME in lower case, e.g. registry.example/team/inspection:1.2",
        )
    return next((image for image in known() if image.reference == name), ImageReference(name))


def _entry(key: str, entry: Mapping[str, Any], variant: str) -> ImageReference:
    published = bool(entry.get("published", True))
    tag = entry.get("tag") or __version__ + (CPU_SUFFIX if variant == "cpu" else "")
    text = f"{entry['name']}@{entry['digest']}" if entry.get("digest") else f"{entry['name']}:{tag}"
    return ImageReference(text, key, variant, published)


def find(client: DockerClient, reference: str) -> str | None:
    """The id of an image on the engine, or None. Raises BackendError where the engine fails to answer."""
    attributes = inspect(client, reference)
    return None if attributes is None else str(attributes["Id"])


def inspect(client: DockerClient, reference: str) -> dict[str, Any] | None:
    """What the engine knows of an image (``Id``, ``Size`` in bytes, ``Created``), or None where it has none."""
    from docker.errors import APIError, ImageNotFound
    from requests.exceptions import RequestException

    try:
        attributes: dict[str, Any] = client.images.get(reference).attrs
    except ImageNotFound:
        return None
    except (APIError, RequestException) as error:
        raise BackendError(
            "E_DOCKER_ANSWER", f"the engine did not say whether it has {reference}: {error}", "docker info"
        ) from error
    return attributes


def present(reference: str) -> bool:
    """Whether the engine of this host has an image; False where no engine answers."""
    from skillrun.engine import connect

    try:
        client = connect()
    except BackendError:
        return False
    return find(client, reference) is not None


def ensure(client: DockerClient, image: ImageReference, policy: Policy, show: Callable[[Progress], None]) -> str:
    """Make sure that the engine has an image.

    Args:
        policy: ``never`` fetches nothing, ``missing`` what is absent, ``always`` asks the registry for a newer one.
            Images of ours are in no registry, so none is asked for them.
        show: called with the progress of a download.

    Returns:
        The image's id.

    Raises:
        NotFoundError: absent and not to be fetched, or unknown to its registry. CredentialsError: its registry wants
            a login. BackendError: its registry can not be reached, or the engine's disk is full.
    """
    found = find(client, image.reference)
    if found and (policy != "always" or not image.published):
        return found
    if policy == "never" or not image.published:
        raise missing(image)
    from skillrun.image_pull import pull

    pull(client, image, show)
    fetched = find(client, image.reference)
    if fetched is None:
        raise missing(image)
    return fetched


def missing(image: ImageReference) -> NotFoundError:
    """The error for an image that the engine has not; says how to come by it."""
    text = f"the engine has no image {image.reference}"
    if not image.published:
        build = f"skillrun images build {image.role}{' --cpu' if image.variant == 'cpu' else ''}"
        return NotFoundError("E_IMAGE_MISSING", text, f"{build}  (or, built elsewhere: docker load -i FILE)")
    fix = f"docker pull {shlex.quote(image.reference)}; without a network: {carry(image)}"
    return NotFoundError("E_IMAGE_MISSING", text, fix)


def carry(image: ImageReference) -> str:
    """The commands that bring an image to a host without a network."""
    name = shlex.quote(image.reference)
    return (
        f"on a host with one: docker pull {name} && docker save {name} | zstd > image.tar.zst, "
        "then here: zstd -dc image.tar.zst | docker load"
    )
