"""Where the paths of a spec stand inside a container, and back again.

Users write host paths everywhere. Each input gets a place of its own below ``/data``, so that the same folder may be
named twice, folders may lie in one another, and no host path, however odd, has to exist in the container. Outputs stand
where the run folder stands; an output folder elsewhere is mounted beside it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from skillrun.overrides import get_dotted
from skillrun.plan import Mount

RUN = PurePosixPath("/skillrun/run")
OUTPUTS = PurePosixPath("/skillrun/out")
INPUTS = PurePosixPath("/data")
# An engine is read together with the file beside it that says what it was built from and for.
ENGINE, SIDECAR = ".engine", ".json"


@dataclass(frozen=True)
class Layout:
    """Mounts of a run and the container path of every path key that the spec sets."""

    mounts: tuple[Mount, ...]
    paths: dict[str, str]


def host_layout(keys: Mapping[str, tuple[str, str]], values: Mapping[str, Any], run_dir: Path) -> Layout:
    """The layout without a container: every path stands where it is."""
    mounts = [Mount(source=str(run_dir), target=str(run_dir), read_only=False, kind="dir")]
    for path, kind, direction in _given(keys, values).values():
        if direction == "in":
            mounts.append(Mount(source=path, target=path, read_only=True, kind=kind))
    return Layout(tuple(dict.fromkeys(mounts)), {})


def container_layout(
    keys: Mapping[str, tuple[str, str]],
    values: Mapping[str, Any],
    run_dir: Path,
    documented: Mapping[str, str] | None = None,
) -> Layout:
    """Mounts and container paths for a spec.

    Args:
        keys: path keys of the schema → (``file`` | ``dir``, ``in`` | ``out``).
        values: the spec, with absolute host paths.
        run_dir: the run folder; everything in it is writable.
        documented: key → the container path that the documents name for it.
    """
    mounts = [Mount(source=str(run_dir), target=str(RUN), read_only=False, kind="dir")]
    paths: dict[str, str] = {}
    for key, (path, kind, direction) in _given(keys, values).items():
        if direction == "out":
            paths[key] = _place_output(mounts, key, path, kind)
            continue
        target = (documented or {}).get(key) or str(INPUTS / _place(key))
        if kind == "file" and key not in (documented or {}):
            target = f"{target}/{_plain(Path(path).name)}"
        paths[key] = target
        mounts.append(Mount(source=path, target=target, read_only=True, kind=kind))
        if path.endswith(ENGINE) and Path(path + SIDECAR).is_file():
            sidecar = Mount(source=path + SIDECAR, target=target + SIDECAR, read_only=True, kind="file")
            mounts.append(sidecar)
    return Layout(tuple(mounts), paths)


def _given(keys: Mapping[str, tuple[str, str]], values: Mapping[str, Any]) -> dict[str, tuple[str, Any, str]]:
    """Path keys that hold a local path → (path, kind, direction); output folders before the files in them."""
    found = {}
    for key, (kind, direction) in sorted(keys.items(), key=lambda item: item[1] != ("dir", "out")):
        value = get_dotted(values, key)
        if isinstance(value, str) and value and "://" not in value:
            found[key] = (posixpath.normpath(value), "dir" if kind == "dir" else "file", direction)
    return found


def _place_output(mounts: list[Mount], key: str, path: str, kind: str) -> str:
    """The container path of an output; a folder that no writable mount holds becomes one."""
    for mount in mounts:
        if not mount.read_only and (path == mount.source or path.startswith(mount.source.rstrip("/") + "/")):
            return posixpath.normpath(f"{mount.target}/{posixpath.relpath(path, mount.source)}")
    folder = path if kind == "dir" else posixpath.dirname(path)
    target = str(OUTPUTS / _place(key))
    mounts.append(Mount(source=folder, target=target, read_only=False, kind="dir"))
    return target if kind == "dir" else f"{target}/{posixpath.basename(path)}"


def _place(key: str) -> str:
    """``dataset.classify.train_dataset.images_dir`` → ``train_dataset/images_dir``: enough to tell the keys apart."""
    return "/".join(key.split(".")[-2:])


def _plain(name: str) -> str:
    """A file name that any program takes; its ending, by which weights are recognised, stays."""
    return re.sub(r"[^A-Za-z0-9._=-]", "_", name)


def to_host(text: str, mounts: Sequence[Mount]) -> str:
    """The same text with container paths as host paths, e.g. in an error message of the container."""
    places = {mount.target: mount.source for mount in mounts if mount.target != mount.source}
    if not places:
        return text
    longest_first = sorted(places, key=len, reverse=True)
    pattern = "|".join(re.escape(target) for target in longest_first)
    return re.sub(rf"(?:{pattern})(?![\w-])", lambda match: places[match[0]], text)


def relative_to_run(path: str, run_dir: str, mounts: Sequence[Mount]) -> str:
    """A file that the container named relative to its run folder, as seen from the run folder on the host."""
    inside = posixpath.normpath(posixpath.join(str(RUN), path))
    if inside.startswith(f"{RUN}/"):
        return path
    return posixpath.relpath(to_host(inside, mounts), run_dir)
