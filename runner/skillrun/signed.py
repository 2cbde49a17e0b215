"""What a signature covers: a skill, a package of skills, or what the runner reads of a bank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skillrun.errors import DataError

SKILL_SIGNATURE = "skill.oms.sig"
BANK_SIGNATURE = "bank.oms.sig"
# What the runner reads of a bank; more lies in a checkout, and nothing more in an installed package.
BANK_PARTS = (
    "skills",
    "schemas",
    "references",
    "constraints.txt",
    "containers/*/Dockerfile.*",
    "containers/*/requirements*.txt",
)


@dataclass(frozen=True)
class Signed:
    """A folder with a signature in it.

    Attributes:
        folder: the root; the signature names files relative to it.
        file: name of the signature in it.
        parts: patterns of what is covered; empty: every file but the signature.
    """

    folder: Path
    file: str
    parts: tuple[str, ...] = ()

    @property
    def signature(self) -> Path:
        """Where the signature lies."""
        return self.folder / self.file


def signed_skill(folder: Path) -> Signed:
    """A skill folder: all of it is covered."""
    return Signed(folder, SKILL_SIGNATURE)


def signed_bank(root: Path) -> Signed:
    """A bank, installed or a checkout: what the runner reads of it is covered."""
    return Signed(root, BANK_SIGNATURE, BANK_PARTS)


def seen(signed: Signed) -> list[Path]:
    """Every file that is covered, those behind links too, sorted.

    Links of a bank are followed, so that what is signed is what a reader sees: a bank with links and its copy with real
    files have one signature. Where everything is covered, as in a skill, there is no link.

    Raises:
        DataError: ``E_SIGNATURE_LINK``: a link in a skill, or one that leads to what is not covered, to nothing, or
            around itself.
            ``E_SIGNATURE_FILES``: something is no file and no folder.
    """
    patterns = signed.parts or ("*",)
    roots = sorted({path for pattern in patterns for path in signed.folder.glob(pattern)})
    # `*` finds hidden names too; only the signature itself is left out.
    files = [path for root in roots if root != signed.signature for path in _below(signed, root)]
    return sorted(files)


def _below(signed: Signed, root: Path) -> Iterator[Path]:
    _check(signed, root)
    if root.is_file():
        yield root
        return
    for place, folders, leaves in os.walk(root, followlinks=True, onerror=_refuse):
        for name in [*folders, *leaves]:
            _check(signed, Path(place) / name)
        yield from (Path(place) / name for name in leaves)


def _refuse(error: OSError) -> None:
    raise unreadable(error) from error


def unreadable(error: OSError) -> DataError:
    """What the file system refuses to show can not be vouched for."""
    return DataError("E_SIGNATURE_FILES", f"{error.filename} can not be read: {error.strerror}.", "make it readable")


def _check(signed: Signed, path: Path) -> None:
    if path.is_symlink():
        try:
            inside = path.resolve(strict=True).relative_to(signed.folder.resolve())
        except (OSError, RuntimeError, ValueError):  # to nothing, in a circle, out of the folder
            inside = Path()
        around = path.parent.resolve().is_relative_to(signed.folder.resolve() / inside)
        if around or inside.parts[:1] not in [(part,) for part in signed.parts]:
            raise DataError(
                "E_SIGNATURE_LINK",
                f"{path} links to {str(path.readlink())!r}, which no signature of {signed.folder} can cover.",
                "make folders without links, and sign those: skillrun skills package",
            )
    if not path.is_dir() and not path.is_file():
        raise DataError("E_SIGNATURE_FILES", f"{path} is neither a file nor a folder.", f"rm {quoted(path)}")


def quoted(path: Path) -> str:
    """A path as a shell reads it."""
    import shlex

    return shlex.quote(str(path))
