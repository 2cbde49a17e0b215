"""Whether a file holds what the store says its object holds.

S3's etag of an object sent in one request is the md5 of its bytes. Of one sent in N parts it is the md5 of the parts'
md5s with ``-N``; the store tells the size of the first part, and with it the hash can be computed. Where it does not,
where parts are of different sizes, or where the store encrypts with keys of its own (the etag is then no hash), only
the size can be compared. Google's store gives the md5 of every object. Other stores give no hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from skillrun.remote.connection import Remote
from skillrun.remote.listing import Item
from skillrun.remote.troubles import explained
from skillrun.staging.store import CHUNK


def same_content(remote: Remote, item: Item, path: Path) -> bool | None:
    """Whether the bytes are the object's: by size and hash; None where the sizes agree and no hash can be compared."""
    if path.stat().st_size != item.size:
        return False
    if not item.md5:
        return None
    if "-" not in item.md5:
        return md5_of(path) == item.md5 or (None if remote.is_s3 and _is_encrypted(_head(remote, item)) else False)
    answer = _head(remote, item, PartNumber=1)
    part, count = int(answer.get("ContentLength") or 0), int(item.md5.partition("-")[2])
    if not part or -(-item.size // part) != count:
        return None
    return md5_of_parts(path, part) == item.md5 or (None if _is_encrypted(answer) else False)


def _head(remote: Remote, item: Item, **more: int) -> dict[str, Any]:
    bucket, key, _ = remote.fs.split_path(item.key)
    with explained(f"{remote.address}: {item.name}"):
        answer: dict[str, Any] = remote.fs.call_s3("head_object", Bucket=bucket, Key=key, **more)
    return answer


def _is_encrypted(answer: dict[str, Any]) -> bool:
    """Whether with a key for which the etag is no hash of the content."""
    return str(answer.get("ServerSideEncryption", "")).startswith("aws:") or "SSECustomerAlgorithm" in answer


def md5_of(path: Path) -> str:
    """32 hex digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def md5_of_parts(path: Path, part: int) -> str:
    """The etag of a file sent in parts of so many bytes, the last one shorter: ``<32 hex digits>-<count>``."""
    digests = []
    with path.open("rb") as stream:
        left = path.stat().st_size
        while left > 0:
            digest, rest = hashlib.md5(usedforsecurity=False), min(part, left)
            left -= rest
            while rest > 0 and (block := stream.read(min(CHUNK, rest))):
                digest.update(block)
                rest -= len(block)
            digests.append(digest.digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
