"""Self-contained copies of skills: real files instead of links, put in place of an older copy in one step."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from skillrun.bank import bank_root
from skillrun.errors import PreflightError, UsageError
from skillrun.signed import SKILL_SIGNATURE
from skillrun.skills.files import skill_files
from skillrun.skills.plugin import PROJECT

# Relative path, with forward slashes -> content.
Contents = Mapping[str, bytes]
_LICENCE = "LICENSE"
_FILE, _FOLDER = 0o644, 0o755


def skill_contents(folder: Path) -> dict[str, bytes]:
    """Every file of a skill as a reader sees it, and the licence. A signature stays behind: it is of what was there.

    Raises:
        UsageError: the first thing that `skillrun skills validate` says of the folder's files.
    """
    files, problems = skill_files(folder)
    for problem in problems:
        raise UsageError(problem.code, problem.message, problem.fix)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    found.pop(SKILL_SIGNATURE, None)
    licence = licence_text()
    return {**found, **({_LICENCE: licence} if licence else {})}


def licence_text() -> bytes:
    """The licence of the project, which its copies have to carry; empty where the installation left it out."""
    stated = bank_root() / _LICENCE
    if stated.is_file():
        return stated.read_bytes()
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return (importlib.metadata.distribution(PROJECT).read_text(f"licenses/{_LICENCE}") or "").encode()
    return b""


def digest(contents: Contents) -> str:
    """One SHA-256 over names and contents."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def contents_of(folder: Path) -> dict[str, bytes] | None:
    """What lies in a folder, signatures left out; None where it holds more than plain files and folders."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            return None
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return {name: data for name, data in found.items() if not name.endswith(".oms.sig")}


def put(contents: Contents, target: Path, *, time: int | None = None) -> None:
    """Make ``target`` a folder of exactly these files; until the last step an older one stays as it is.

    Rights are 644 and 755 whatever the umask says.

    Args:
        time: seconds since 1970 for every file; None: now.

    Raises:
        PreflightError: ``E_SKILL_WRITE``; what was there before is there again.
    """
    mark = f"{os.getpid()}.{secrets.token_hex(3)}"
    draft, old = (target.parent / f".{target.name[:100]}.{mark}.{kind}" for kind in ("new", "old"))
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _fill(draft, contents, time)
            if target.exists():
                target.rename(old)
            try:
                draft.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """What the file system refuses, as PreflightError ``E_SKILL_WRITE``."""
    try:
        yield
    except OSError as error:
        raise PreflightError(
            "E_SKILL_WRITE",
            f"{error.filename or target} can not be written: {error.strerror}.",
            "free space or make the folder writable, or name another one",
        ) from error


def _fill(folder: Path, contents: Contents, time: int | None) -> None:
    folder.mkdir()
    folder.chmod(_FOLDER)
    for name, data in sorted(contents.items()):
        path = folder / name
        for parent in reversed([item for item in path.relative_to(folder).parents if item.parts]):
            (folder / parent).mkdir(exist_ok=True)
            (folder / parent).chmod(_FOLDER)
        path.write_bytes(data)
        path.chmod(_FILE)
    if time is not None:
        for path in [*folder.rglob("*"), folder]:
            os.utime(path, (time, time))
