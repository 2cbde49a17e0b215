"""What a user's text means: a file of the model hub, an address of the web, or a file of this host."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from skillrun.errors import NotFoundError, UsageError

DEFAULT_FILE = "model.safetensors"
DEFAULT_REVISION = "main"
HUB_HOSTS = ("huggingface.co", "hf.co")
_PART = r"[A-Za-z0-9_][\w.-]*"
_REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_CATALOGUE = re.compile(
    rf"(?P<model>{_PART}(?:/{_PART}){{1,2}}):(?P<version>{_PART})(?:/(?P<file>{_PART}(?:/{_PART})*))?", re.ASCII
)
_BARE = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>.+))?", re.ASCII)
_HUB_PATH = re.compile(
    rf"/(?P<repo>(?:{_PART}/)?{_PART})/(?:resolve|blob|raw)/(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+)/(?P<file>.+)",
    re.ASCII,
)
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".onnx", ".engine", ".tlt", ".hdf5")
_FORMS = "write hf://ORG/REPO/FILE[@REVISION], ORG/REPO, https://HOST/FILE, s3://BUCKET/FILE, or the path of a file"


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository on the hub, at a branch, tag or commit."""

    repo: str
    file: str
    revision: str

    @property
    def text(self) -> str:
        """The one spelling of this source."""
        pinned = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"hf://{self.repo}/{self.file}{pinned}"

    @property
    def name(self) -> str:
        return _plain_name(self.file)


@dataclass(frozen=True)
class WebFile:
    """A file at an address; ``url`` may hold secrets, ``text`` does not."""

    url: str

    @property
    def text(self) -> str:
        """The address without user, password and query."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    @property
    def name(self) -> str:
        return _plain_name(unquote(urlsplit(self.url).path))


@dataclass(frozen=True)
class LocalFile:
    """A file of this host; absolute."""

    path: Path


@dataclass(frozen=True)
class StoreFile:
    """An object of a store that fsspec knows; ``url`` may hold secrets, ``text`` does not."""

    url: str

    @property
    def text(self) -> str:
        """The address without user, password and query."""
        return WebFile(self.url).text


@dataclass(frozen=True)
class CatalogueFile:
    """A file of a model version in NVIDIA's catalogue; ``file`` is empty where the version holds one of weights."""

    model: str
    version: str
    file: str

    @property
    def text(self) -> str:
        """The one spelling of this source."""
        return f"ngc://{self.model}:{self.version}{'/' if self.file else ''}{self.file}"


Source = HubFile | WebFile | LocalFile | StoreFile | CatalogueFile


def parse(text: str) -> Source:
    """What a text names. A file that exists wins over a repository of the same spelling.

    Raises:
        UsageError: the text is none of the forms; NotFoundError: a local path without a file.
    """
    if not text.strip() or not text.isprintable():
        raise UsageError("E_STAGE_SOURCE", f"{text!r} names no weights", _FORMS)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _without_scheme(text)
    match scheme.lower():
        case "hf":
            return _hub(text, rest)
        case "http" | "https":
            return _web(text)
        case "ngc":
            return _catalogue(text, rest)
    return StoreFile(text)  # fsspec knows its schemes, and says so of others


def _without_scheme(text: str) -> Source:
    path = _path(text)
    if path.is_file():
        return LocalFile(path)
    bare = _BARE.fullmatch(text)
    if bare is None or bare["repo"].lower().endswith(WEIGHT_FILES):
        what = "is a folder" if path.is_dir() else "does not exist"
        raise NotFoundError("E_STAGE_FILE", f"the weights {str(path)!r}: the path {what}", _FORMS)
    return HubFile(bare["repo"], DEFAULT_FILE, bare["revision"] or DEFAULT_REVISION)


def _path(text: str) -> Path:
    try:
        path = Path(text).expanduser().absolute()
        path.is_file()
    except (OSError, RuntimeError) as error:
        raise NotFoundError("E_STAGE_FILE", f"{text[:200]!r} is no path: {error}", _FORMS) from error
    return path


def _hub(text: str, rest: str) -> HubFile:
    body, at, revision = rest.rpartition("@")
    if not at:
        body, revision = rest, ""
    parts = body.split("/")
    repo, file = "/".join(parts[:2]), "/".join(parts[2:]) or DEFAULT_FILE
    if not _REPO.fullmatch(repo) or not _is_file(file) or (at and not revision):
        raise UsageError("E_STAGE_SOURCE", f"{text!r} is no hf://ORG/REPO/FILE[@REVISION]", _FORMS)
    return HubFile(repo, file, revision or DEFAULT_REVISION)


def _web(text: str) -> HubFile | WebFile:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("E_STAGE_SOURCE", f"the weights' address can not be read: {error}", _FORMS) from error
    if not host:
        raise UsageError("E_STAGE_SOURCE", f"{text!r} names no host", _FORMS)
    found = _HUB_PATH.fullmatch(path) if (path := _path_on_hub(parts)) else None
    if found and _is_file(file := unquote(found["file"])):
        return HubFile(found["repo"], file, unquote(found["revision"]))
    return WebFile(text)


def endpoint() -> str | None:
    """The hub's address where ``HF_ENDPOINT`` names another than the public one; no slash at its end."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or None


def _path_on_hub(parts: SplitResult) -> str | None:
    """The path below the hub's address, or None where the address is no hub's."""
    own = urlsplit(endpoint() or "")
    if own.netloc and parts.netloc.lower() == own.netloc.lower() and parts.path.startswith(own.path + "/"):
        return parts.path[len(own.path) :]
    return parts.path if (parts.hostname or "") in HUB_HOSTS else None


def _is_file(path: str) -> bool:
    return not any(part in ("", ".", "..") or "\\" in part for part in path.split("/"))


def _plain_name(path: str) -> str:
    """The last part of a path as a file name that is harmless everywhere."""
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", path.rstrip("/").rpartition("/")[2])[-120:].lstrip(".")
    return name or "weights"


def _catalogue(text: str, rest: str) -> CatalogueFile:
    found = _CATALOGUE.fullmatch(rest)
    if found is None:
        raise UsageError(
            "E_STAGE_SOURCE", f"{text!r} is no ngc://ORG/[TEAM/]MODEL:VERSION[/FILE]", "ngc registry model list"
        )
    return CatalogueFile(found["model"], found["version"], found["file"] or "")


def is_remote(text: str) -> bool:
    """Whether a text names something that has to be fetched: it has a scheme, or is a repository and no file here."""
    if "://" in text:
        return True
    bare = _BARE.fullmatch(text)
    return bare is not None and not bare["repo"].lower().endswith(WEIGHT_FILES) and not Path(text).exists()
