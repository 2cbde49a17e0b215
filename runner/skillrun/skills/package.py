"""The skills as a marketplace that agents can be pointed at, and as one zip a skill: same bank, same bytes.

::

    .claude-plugin/marketplace.json
    plugins/skillrun/   .claude-plugin/ .codex-plugin/ .cursor-plugin/ .mcp.json skills/<name>/SKILL.md …
    zips/<name>.zip
    package.json        what was made, with the SHA-256 of each file
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from skillrun.bank import bank_root
from skillrun.errors import ConflictError
from skillrun.skills.copies import Contents, contents_of, put, skill_contents
from skillrun.skills.plugin import MARKETPLACE, PROJECT, identity, marketplace, plugin_files
from skillrun.skills.read import skill_folders

LIST = "package.json"
_PLUGIN = f"plugins/{PROJECT}"
# The first moment that a zip can name; files get it too.
_TIME = 315532800
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """What was written: the folder, the names of the skills in it, and how many files."""

    folder: Path
    skills: tuple[str, ...]
    files: int


def write_package(out: Path) -> Package:
    """Make the folder ``out``, in place of an older package there.

    Raises:
        ConflictError: ``E_SKILL_FOREIGN``: ``out`` holds something that no package made by this tool has.
        PreflightError: ``E_SKILL_WRITE``. UsageError: a skill of the bank has a file that does not belong there.
    """
    out = Path(out).absolute()
    _refuse_foreign(out)
    contents = package_contents()
    put(contents, out, time=_TIME)
    return Package(out, tuple(folder.name for folder in skill_folders()), len(contents))


def package_contents() -> dict[str, bytes]:
    """Every file of a package of the bank in use."""
    of = identity(bank_root())
    made: dict[str, bytes] = {MARKETPLACE.as_posix(): marketplace(of, f"./{_PLUGIN}")}
    made |= {f"{_PLUGIN}/{path.as_posix()}": data for path, data in plugin_files(of).items()}
    for folder in skill_folders():
        contents = skill_contents(folder)
        made |= {f"{_PLUGIN}/skills/{folder.name}/{name}": data for name, data in contents.items()}
        made[f"zips/{folder.name}.zip"] = _zip(folder.name, contents)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(made.items())}
    told = {"schema_version": 1, "name": PROJECT, "version": of.version, "files": sums}
    return {**made, LIST: (json.dumps(told, indent=1) + "\n").encode()}


def _zip(name: str, contents: Contents) -> bytes:
    """Stored, not deflated: compressed bytes are not the same with every zlib."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        for path, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(f"{name}/{path}", _ZIP_TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)
    return raw.getvalue()


def _refuse_foreign(out: Path) -> None:
    """Only an empty folder, or an untouched package, may be replaced; signatures go with what they signed."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise _foreign(out, "is no folder")
    if not any(out.iterdir()):
        return
    found = contents_of(out) or {}
    try:
        listed = json.loads(found.pop(LIST))["files"]
    except (KeyError, ValueError, TypeError):
        raise _foreign(out, f"has no {LIST} of a package") from None
    for name in sorted({*listed, *found}):
        if name not in found or listed.get(name) != hashlib.sha256(found[name]).hexdigest():
            raise _foreign(out, f"was changed after it was made: {name}")


def _foreign(out: Path, why: str) -> ConflictError:
    return ConflictError(
        "E_SKILL_FOREIGN", f"{out} {why}; it is left as it is.", "skillrun skills package --out NEW_FOLDER"
    )
