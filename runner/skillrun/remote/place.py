"""One address's folder in the cache.

``pool/<ident>`` holds the content of objects, each written once; ``sets/<digest>/data/`` is one state of the data set,
made of hard links to the pool, with ``listing.json`` beside it; ``newest.json`` names the state that was fetched last.
A state is never changed, so a run reads the one it began with; a changed data set is another folder. A file whose size
or time of change is not what was set here was changed by somebody, and is fetched anew.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.remote.listing import Item, digest_of
from skillrun.runfolder import give_to_folders_owner, read_json, write_atomic

_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)


@dataclass(frozen=True)
class Place:
    """Owns every path below the folder of one address."""

    base: Path

    @property
    def pool(self) -> Path:
        return self.base / "pool"

    def part(self, item: Item) -> Path:
        """The bytes of an object so far."""
        return self.pool / f"{item.ident}.part"

    def has(self, item: Item) -> bool:
        return _is_untouched(self.pool / item.ident, item)

    def open(self) -> None:
        """Make the folders, and clear away what a process left that died while it made a state."""
        self.pool.mkdir(parents=True, exist_ok=True)
        (self.base / "sets").mkdir(exist_ok=True)
        for left in (self.base / "sets").glob(".*"):
            shutil.rmtree(left)

    def take_in(self, item: Item) -> None:
        """Move a verified part to the pool, read-only."""
        part = self.part(item)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.chmod(0o444)
        give_to_folders_owner(part)
        os.utime(part, ns=(_stamp(item), _stamp(item)))
        part.replace(self.pool / item.ident)

    def settle(self, items: Sequence[Item], source: str, *, single: bool) -> Path:
        """The state that holds these objects, all of which are in the pool; from now on the newest.

        Returns:
            Its folder, or its one file.
        """
        state = self.base / "sets" / digest_of(items)
        if not state.is_dir():
            aside = state.with_name(f".{state.name}")
            self._link(items, aside / "data")
            listing = {"source": source, "single": single, "items": [item.to_json() for item in items]}
            write_atomic(aside / "listing.json", json.dumps(listing) + "\n")
            aside.replace(state)
        self._link([item for item in items if not _is_untouched(state / "data" / item.name, item)], state / "data")
        write_atomic(self.base / "newest.json", json.dumps({"source": source, "set": state.name}) + "\n")
        self._forget_parts()
        return state / "data" / items[0].name if single else state / "data"

    def newest(self) -> Path | None:
        """The folder or file of the state fetched last, where all of it is still as it was."""
        name = (read_json(self.base / "newest.json") or {}).get("set")
        listing = read_json(self.base / "sets" / str(name) / "listing.json") if name else None
        try:
            items = [Item(**entry) for entry in (listing or {}).get("items", [])]
        except TypeError:
            return None
        data = self.base / "sets" / str(name) / "data"
        if not listing or not items or not all(_is_untouched(data / item.name, item) for item in items):
            return None
        return data / items[0].name if listing.get("single") else data

    def _link(self, items: Sequence[Item], data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        for item in items:
            target = data / item.name
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = data.parent / ".link"
            aside.unlink(missing_ok=True)
            _link_or_copy(self.pool / item.ident, aside)
            aside.replace(target)

    def _forget_parts(self) -> None:
        """Parts of objects that are no longer there."""
        for part in self.pool.glob("*.part"):
            part.unlink()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)


def _stamp(item: Item) -> int:
    return item.changed_s * 1_000_000_000


def _is_untouched(path: Path, item: Item) -> bool:
    try:
        seen: Any = path.stat(follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(seen.st_size == item.size and seen.st_mtime_ns == _stamp(item))
