"""Symbolic links that lead out of a data set: a container sees their targets only if those are mounted as well."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from skillrun.errors import DataError
from skillrun.plan import Mount

# More folders than these are mounted as the folder that holds them all.
MOUNTED_FOLDERS = 16
# As many links in a row as the kernel follows.
LONGEST_CHAIN = 40


def with_linked_folders(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """The mounts, and read-only those folders that absolute links in mounted input folders lead to, where they are.

    Raises:
        DataError: E_DATA_LINK, a relative link leads out of its folder; in a container it leads elsewhere.
    """
    roots = {Path(mount.source).resolve() for mount in mounts if mount.read_only and mount.kind == "dir"}
    folders = {folder for root in roots if root.is_dir() for folder in _folders_behind_links(root)}
    if len(folders) > MOUNTED_FOLDERS:
        folders = {Path(os.path.commonpath(folders))}
    kept = [one for one in sorted(folders) if not any(one.is_relative_to(other) for other in folders - {one})]
    return (*mounts, *(Mount(source=str(one), target=str(one), read_only=True, kind="dir") for one in kept))


def _folders_behind_links(root: Path) -> set[Path]:
    """Folders outside of ``root`` in which links below it, and the links behind those, have their targets."""
    found = set()
    for link in _links(root):
        place = link
        for _ in range(LONGEST_CHAIN):
            if not place.is_symlink():
                break
            text = place.readlink()
            target = Path(os.path.normpath(place.parent / text))
            if place == link and not text.is_absolute() and not target.is_relative_to(root):
                raise DataError(
                    "E_DATA_LINK",
                    f"the link {link} -> {text} leads out of {root}; a container can not follow it",
                    f"ln -sfn {shlex.quote(str(target))} {shlex.quote(str(link))}, or use --backend local",
                )
            found.add(target if target.is_dir() else target.parent)
            place = target
    return {folder for folder in found if folder.is_dir() and not folder.is_relative_to(root)}


def _links(root: Path) -> Iterator[Path]:
    """Every link below a folder; linked folders are not entered."""
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
