"""``bundle.json``: what a bundle holds, in one spelling of bytes, with a hash over itself.

The hash tells damage, not forgery: whoever makes a bundle can write any hash. Names in it never become paths before
they have been found harmless here.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from skillrun import __version__, images
from skillrun.errors import DataError, SkillrunError, UsageError
from skillrun.staging.sources import CatalogueFile, HubFile, LocalFile, StoreFile, WebFile, parse
from skillrun.staging.store import Kept, key_of

SCHEMA_VERSION = 1  # of Manifest
WHEEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*-[A-Za-z0-9_.+!-]*\.whl", re.ASCII)
Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Digest = Annotated[str, StringConstraints(pattern=r"\Asha256:[0-9a-f]{64}\z")]
Line = Annotated[str, StringConstraints(max_length=2000)]
Size = Annotated[int, Field(ge=0, lt=1 << 62)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Weights(_Record):
    """A file of weights.

    Attributes:
        name: a harmless file name. ``size``: bytes.
        source: where it is fetched from, without secrets; empty for a file of the host that made the bundle.
        revision, etag: as the cache keeps them (``skillrun.staging.store.Kept``).
    """

    kind: Literal["weights"] = "weights"
    name: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,119}\z")]
    size: Size
    sha256: Sha256
    source: Line
    revision: Line
    etag: Line

    @property
    def path(self) -> str:
        """Its name in the archive; sources tell equal contents apart."""
        return f"weights/{key_of(self.source or self.sha256)}/{self.name}"

    @property
    def kept(self) -> Kept:
        """The cache's record of it."""
        return Kept(self.source, self.revision, self.etag, self.sha256, self.name, self.size)

    def texts(self) -> tuple[str, ...]:
        """The spellings under which the cache has to find it: as it was asked for, and by its commit."""
        if not self.source:
            return ()
        wanted = parse(self.source)
        if isinstance(wanted, HubFile) and self.revision:
            return tuple(dict.fromkeys((wanted.text, HubFile(wanted.repo, wanted.file, self.revision).text)))
        return (self.source,)


class Image(_Record):
    """A container image as the engine saves it: ``name`` is its reference with a tag, ``size`` the archive's bytes.

    Attributes:
        image_id: what the engine called it where it was saved.
        layers: hashes of its layers' contents; engines that name images differently agree on them.
    """

    kind: Literal["image"] = "image"
    name: Annotated[str, StringConstraints(max_length=500)]
    size: Size
    sha256: Sha256
    image_id: Digest
    layers: Annotated[tuple[Digest, ...], Field(min_length=1, strict=False)]

    @property
    def path(self) -> str:
        return f"images/{key_of(self.name)}.tar"


class Wheel(_Record):
    """A Python package; ``name`` is its file name."""

    kind: Literal["wheel"] = "wheel"
    name: Annotated[str, StringConstraints(max_length=250)]
    size: Size
    sha256: Sha256

    @property
    def path(self) -> str:
        return f"wheels/{self.name}"


Member = Annotated[Weights | Image | Wheel, Field(discriminator="kind")]


class Manifest(_Record):
    """The whole of ``bundle.json``; ``created`` is ISO 8601 in UTC. Members are in the archive's order."""

    schema_version: Literal[1] = 1
    skillrun_version: Line = __version__
    created: Line
    members: Annotated[tuple[Member, ...], Field(strict=False)]

    def to_bytes(self) -> bytes:
        """The one spelling of this manifest."""
        return _sealed(self.model_dump(mode="json"))


def in_order(members: list[Weights | Image | Wheel]) -> tuple[Weights | Image | Wheel, ...]:
    """Weights, images, wheels; each by path. Equal contents make equal archives."""
    rank = {"weights": 0, "image": 1, "wheel": 2}
    return tuple(sorted(members, key=lambda member: (rank[member.kind], member.path)))


def read(data: bytes, where: str) -> Manifest:
    """Parse and check ``bundle.json``.

    Args:
        where: the bundle's path, for messages.

    Raises:
        DataError: E_BUNDLE_DAMAGED, not the bytes that were written; E_BUNDLE_NEWER; E_BUNDLE_MEMBER, an entry that
        no skillrun writes.
    """
    try:
        found = json.loads(data)
        intact = isinstance(found, dict) and data == _sealed({k: v for k, v in found.items() if k != "sha256"})
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise damaged(where, "bundle.json is not what was written")
    version = found.pop("schema_version", None)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        maker = str(found.get("skillrun_version", "?"))[:40]
        raise DataError(
            "E_BUNDLE_NEWER",
            f"{where} has schema version {version}; this skillrun {__version__} reads up to {SCHEMA_VERSION}",
            f"install skillrun {maker!r}, which made it, or make the bundle again with {__version__}",
        )
    found.pop("sha256")
    try:
        manifest = Manifest.model_validate({"schema_version": version, **found})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _refused(where, f"{place}: {first['msg']}") from error
    _check_names(manifest, where)
    return manifest


def damaged(where: str, what: str) -> DataError:
    """The error for bytes that are not the ones that were written."""
    return DataError(
        "E_BUNDLE_DAMAGED", f"{where} is damaged: {what}", "copy it again from where it was made; nothing was taken"
    )


def _refused(where: str, what: str) -> DataError:
    return DataError(
        "E_BUNDLE_MEMBER", f"{where}: bundle.json is refused at {what}", "make it by skillrun bundle create"
    )


def _sealed(body: dict[str, Any]) -> bytes:
    return _spelled({**body, "sha256": hashlib.sha256(_spelled(body)).hexdigest()})


def _spelled(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def _check_names(manifest: Manifest, where: str) -> None:
    """Raises DataError for a name that is not plain, a line with control characters, or a path that comes twice."""
    texts = [manifest.created, manifest.skillrun_version]
    for member in manifest.members:
        texts += [member.revision, member.etag] if isinstance(member, Weights) else []
        if problem := _problem(member):
            raise _refused(where, f"{member.kind} {member.name!r}: {problem}")
    if unreadable := [text for text in texts if not text.isprintable()]:
        raise _refused(where, f"{unreadable[0]!r}: it has control characters")
    paths = [member.path for member in manifest.members]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise _refused(where, f"{twice[0]}: it is listed twice")


def _problem(member: Weights | Image | Wheel) -> str:
    match member:
        case Weights():
            return "" if not member.source or _is_remote(member.source) else f"{member.source!r} is no source"
        case Image():
            return "" if is_tagged(member.name) else "the name is no image name with a tag"
        case Wheel():
            return "" if WHEEL_NAME.fullmatch(member.name) else "the name is no wheel's"


def _is_remote(source: str) -> bool:
    if "://" not in source:
        return False
    try:
        wanted = parse(source)
    except SkillrunError:
        return False
    return (
        not isinstance(wanted, LocalFile | StoreFile)
        and wanted.text == source
        and (isinstance(wanted, HubFile | CatalogueFile) or WebFile(source).text == source)
    )


def is_tagged(reference: str) -> bool:
    """Whether a text is an image name with a tag and without a digest, which an engine loses when it saves."""
    if ":" not in reference.rpartition("/")[2] or "@" in reference:
        return False
    try:
        return images.resolve(reference).reference == reference
    except UsageError:
        return False
