"""Looking into image folders: each one is listed once."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is a system's leftover, not data."""
    return name.startswith(".") or name in {"Thumbs.db", "desktop.ini", "__MACOSX"}


def count_hidden(folder: Path) -> tuple[int, int]:
    """(hidden files, other files) below a folder; whatever lies in a hidden folder is hidden."""
    hidden = visible = 0
    for parent, _, names in os.walk(folder):
        inside = Path(parent).relative_to(folder).parts
        if any(is_hidden(part) for part in inside):
            hidden += len(names)
            continue
        found = sum(is_hidden(name) for name in names)
        hidden, visible = hidden + found, visible + len(names) - found
    return hidden, visible


class FolderIndex:
    """Names of the visible files in folders, each read from disk once."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[str]]] = {}

    def names(self, folder: Path) -> list[str]:
        """File names in ``folder``; empty where it does not exist."""
        return [name for names in self._by_stem(folder).values() for name in names]

    def has(self, path: Path) -> bool:
        """Whether the file exists, in exactly this spelling."""
        return path.name in self._by_stem(path.parent).get(path.stem, [])

    def same_stem(self, path: Path) -> list[str]:
        """Image files beside ``path`` that differ only in the extension."""
        names = self._by_stem(path.parent).get(path.stem, [])
        return sorted(n for n in names if n != path.name and Path(n).suffix.lower() in IMAGE_SUFFIXES)

    def _by_stem(self, folder: Path) -> dict[str, list[str]]:
        known = self._names.get(folder)
        if known is None:
            known = self._names[folder] = {}
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not is_hidden(entry.name) and entry.is_file():
                            known.setdefault(Path(entry.name).stem, []).append(entry.name)
        return known
