"""What lies at an address: names, sizes and versions, and the names that no folder may hold."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from skillrun.errors import BackendError, DataError, NotFoundError
from skillrun.remote.connection import Remote
from skillrun.remote.troubles import explained

LONGEST_NAME = 255  # bytes of one part of a path
_TAGS = ("ETag", "etag", "md5Hash")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
_MD5 = re.compile(r"[0-9a-f]{32}(-[1-9]\d{0,4})?")


@dataclass(frozen=True, order=True)
class Item:
    """One object.

    Attributes:
        name: below the address, with slashes; the last part of the address for a single object.
        key: the store's own name.
        size: bytes.
        version: the etag, else the time of change.
        md5: what the etag claims to be: 32 hex digits, or with ``-N`` the md5 of the md5s of N parts; else empty.
        changed_s: time of change, whole seconds since 1970, 0 where it is not known.
    """

    name: str
    key: str
    size: int
    version: str
    md5: str
    changed_s: int

    @property
    def ident(self) -> str:
        """The name of this content of this object in the cache."""
        return _digest(f"{self.name}\n{self.size}\n{self.version}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def found(remote: Remote) -> list[Item]:
    """Everything at and below an address, in order; objects that stand for folders have a slash at the end.

    Raises:
        NotFoundError: no such bucket; TryAgain and the other errors of ``explained``.
    """
    with explained(remote.address):
        remote.fs.invalidate_cache()
        infos = remote.fs.find(remote.root, detail=True)
    return sorted(item_of(remote, info) for info in infos.values() if info.get("type") != "directory")


def item_of(remote: Remote, info: dict[str, Any]) -> Item:
    """One entry of a listing. Raises BackendError: a store that says no size."""
    key, size = str(info["name"]), info.get("size")
    if not isinstance(size, int):
        text = f"{remote.address}: the store does not say how large {key!r} is"
        raise BackendError("E_REMOTE_REFUSED", text, "fetch it with the store's own tool and name the folder")
    if key == remote.root:
        name = key.rpartition("/")[2]
    else:
        name = key.removeprefix(f"{remote.root}/") if key.startswith(f"{remote.root}/") else f"../{key}"
    tag = next((str(info[tag]).strip('"') for tag in _TAGS if info.get(tag)), "")
    changed = _seconds(next((info[name] for name in _TIMES if info.get(name)), None))
    version = tag or f"{changed:.6f}"
    return Item(name, key, size, version, _claimed_md5(remote, info, tag), max(0, int(changed)))


def _seconds(time: object) -> float:
    """A time as stores write it, in seconds since 1970; 0 where it is not known."""
    if isinstance(time, str):
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(time)
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else 0.0


def _claimed_md5(remote: Remote, info: dict[str, Any], tag: str) -> str:
    if remote.is_s3:
        express = remote.root.partition("/")[0].endswith("--x-s3")  # directory buckets: their etags are no hashes
        return tag.lower() if _MD5.fullmatch(tag.lower()) and not express else ""
    given = info.get("md5Hash")
    return base64.b64decode(given).hex() if isinstance(given, str) else ""


def data_set(remote: Remote, items: Sequence[Item]) -> list[Item]:
    """The files among the items, after a look at every name.

    Raises:
        NotFoundError: ``E_REMOTE_NOT_FOUND``, nothing is there. DataError: ``E_REMOTE_EMPTY``, a folder without a file;
        ``E_REMOTE_NAME``, a name that no file below one folder can have.
    """
    files = [item for item in items if not (item.name.endswith("/") and item.size == 0) and item.name]
    if not files:
        _refuse_empty(remote, items)
    names = {item.name for item in files}
    for item in items:
        if why := _fault(item, names):
            raise DataError(
                "E_REMOTE_NAME",
                f"{remote.address} holds an object that can be no file below a folder: {item.name!r} {why}",
                "rename or remove the object; nothing was fetched",
            )
    return files


def _refuse_empty(remote: Remote, items: Sequence[Item]) -> None:
    with explained(remote.address):
        there = bool(items) or remote.fs.exists(remote.root)
    if there:
        raise DataError("E_REMOTE_EMPTY", f"{remote.address} is an empty folder", "name the folder with the data set")
    raise NotFoundError(
        "E_REMOTE_NOT_FOUND", f"{remote.address}: there is no such folder or object", "check the address"
    )


def _fault(item: Item, files: set[str]) -> str:
    """What is wrong with a name; empty where nothing is."""
    marks_folder = item.name.endswith("/") and item.size == 0
    if not item.name or (marks_folder and not item.name.strip("/")):
        return ""  # the folder's own object
    name = item.name.removesuffix("/") if marks_folder else item.name
    parts = name.split("/")
    if name.startswith("/"):
        return "is absolute"
    if ".." in parts or "." in parts:
        return "leads out of its folder"
    if "" in parts:
        return "has an empty part"
    if "\\" in name:
        return "has a backslash"
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in name):
        return "has a control character"
    if any(len(part.encode(errors="surrogatepass")) > LONGEST_NAME for part in parts):
        return f"has a part of more than {LONGEST_NAME} bytes"
    folders = {"/".join(parts[: end + 1]) for end in range(len(parts) - 1)} | ({name} if marks_folder else set())
    both = sorted(folders & files)
    return f"needs {both[0]!r} as a folder, and there is an object of that name" if both else ""


def digest_of(items: Sequence[Item]) -> str:
    """The name of one state of a data set."""
    return _digest("\n".join(f"{item.name}\t{item.ident}" for item in sorted(items)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
