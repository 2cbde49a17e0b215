"""Room and kind of the file systems below the workspace and the cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skillrun.datasets import cache_root
from skillrun.doctor.check import GIB, Check
from skillrun.errors import UsageError
from skillrun.runfolder import check_writable

MOUNTS = Path("/proc/self/mountinfo")
WORKSPACE_WARN_GIB = 10
CACHE_WARN_GIB = 5
FULL_GIB = 0.5
NETWORK_TYPES = (
    "nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "wekafs", "panfs", "glusterfs", "fuse.",
)  # fmt: skip
FUSE_LOCAL = ("fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.lxcfs")


@dataclass(frozen=True)
class MountPoint:
    """A mounted file system: where, its type, and what is mounted."""

    path: Path
    kind: str
    source: str

    @property
    def network(self) -> bool:
        """True for file systems of another host, and for user-space ones, which mostly are."""
        return self.kind.startswith(NETWORK_TYPES) and self.kind not in FUSE_LOCAL


def storage_checks(workspace: Path) -> list[Check]:
    """All checks of this module, in order."""
    cache = cache_root()
    return [
        check_workspace(workspace),
        check_room("cache disk", cache, CACHE_WARN_GIB, "export SKILLRUN_CACHE=DIR on a larger disk"),
        check_network("workspace file system", workspace, "--workspace DIR on a local disk"),
        check_network("cache file system", cache, "export SKILLRUN_CACHE=DIR on a local disk"),
    ]


def nearest_folder(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def check_workspace(workspace: Path) -> Check:
    """Runs can be written: a folder that takes files, with room for checkpoints."""
    try:
        check_writable(workspace, what="the workspace")
    except UsageError as error:
        return Check("workspace disk", "fail", error.message, error.fix)
    return check_room("workspace disk", workspace, WORKSPACE_WARN_GIB, "--workspace DIR on a larger disk", vital=True)


def check_room(name: str, place: Path, warn_gib: float, fix: str, *, vital: bool = False) -> Check:
    """Free space below a folder, for this user; ``vital`` fails where it is full."""
    try:
        found = os.statvfs(nearest_folder(place))
    except OSError as error:
        return Check(name, "warn", f"{place}: {error.strerror}", fix)
    free, size = found.f_bavail * found.f_frsize / GIB, found.f_blocks * found.f_frsize / GIB
    text = f"{free:.1f} of {size:.0f} GiB free below {place}"
    if found.f_files and not found.f_favail:
        return Check(name, "fail" if vital else "warn", f"no more files fit below {place} (no inode is free)", fix)
    if free < FULL_GIB:
        return Check(name, "fail" if vital else "warn", f"{text}: full", fix)
    return Check(name, "warn", f"{text}: little", fix) if free < warn_gib else Check(name, "ok", text)


def check_network(name: str, place: Path, fix: str, mounts: Path = MOUNTS) -> Check:
    """Says when a folder lies on a network file system."""
    found = mount_of(nearest_folder(place).resolve(), read_mounts(mounts))
    if found is None:
        return Check(name, "ok", "this system does not tell")
    if not found.network:
        return Check(name, "ok", f"{found.kind} (local) on {found.path}")
    text = f"{found.kind} from {found.source} on {found.path}: slow, and an engine run by root may be kept out of it"
    return Check(name, "warn", text, fix)


def read_mounts(mounts: Path = MOUNTS) -> list[MountPoint]:
    """What is mounted, in the order of mounting."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        place, kinds = before.split(" "), after.split(" ")
        if len(place) > 4 and len(kinds) > 1:
            found.append(MountPoint(Path(_plain(place[4])), kinds[0], _plain(kinds[1])))
    return found


def mount_of(path: Path, mounts: Sequence[MountPoint]) -> MountPoint | None:
    """The file system of a path without links: the deepest mount above it, the latest of those on one folder."""
    above = [mount for mount in mounts if path.is_relative_to(mount.path)]
    return max(reversed(above), key=lambda mount: len(mount.path.parts), default=None)


def _plain(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
