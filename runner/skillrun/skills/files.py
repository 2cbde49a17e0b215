"""Files of a skill folder: nothing unexpected, no way out of it; links lead one level deep and say when to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from skillrun.findings import Finding
from skillrun.skills.markdown import Link, Page
from skillrun.skills.read import FILE, Skill

FOLDERS = ("references", "schemas", "scripts", "assets", "evals")
SUFFIXES = frozenset({".md", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".csv", ".py", ".sh", ".sig"})
FILE_BYTES = 1 << 20
# The folders of a bank that its skills may link to while they lie in it; packages hold real files.
SHARED = ("schemas", "references")
_WHEN = re.compile(r"\b(?:when|whenever|if|before|after|unless|while|until)\b", re.IGNORECASE)


def skill_files(folder: Path) -> tuple[list[Path], list[Finding]]:
    """All files of a skill, those behind its good links too, and what is wrong with files and links."""
    files: list[Path] = []
    found: list[Finding] = []
    for place, names, leaves in os.walk(folder, followlinks=True):
        for name in sorted([*names, *leaves]):
            path = Path(place) / name
            problem = _problem(folder, path)
            if problem:
                found.append(problem)
                if name in names:
                    names.remove(name)
            elif name in leaves:
                files.append(path)
    return sorted(files), found


def _problem(folder: Path, path: Path) -> Finding | None:
    if path.is_symlink():
        why = _bad_link(folder, path)
        if why:
            told = f"{path} links to {str(path.readlink())!r}, {why}."
            return Finding(
                "E_SKILL_SYMLINK", "error", told, str(path), fix="put a real file in its place, or remove it"
            )
    relative = path.relative_to(folder)
    if path.name.startswith(".") or (path.is_dir() and relative.parts[0] not in FOLDERS):
        why = f"is none of {', '.join(FOLDERS)}" if path.is_dir() else "is hidden"
    elif path.is_dir():
        return None
    elif not path.is_file() or (path.suffix not in SUFFIXES and path.name != "LICENSE"):
        why = "is no kind of file that a skill holds"
    elif path.stat().st_size > FILE_BYTES:
        why = f"has {path.stat().st_size} bytes; {FILE_BYTES} are the limit"
    else:
        return None
    return Finding("E_SKILL_FILE", "error", f"{path} {why}.", str(path), fix="remove it from the skill's folder")


def _bad_link(folder: Path, path: Path) -> str:
    target = path.readlink()
    if target.is_absolute():
        return "an absolute path, which is elsewhere on another host"
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "which does not exist"
    home = folder.resolve()
    allowed = [home, *(home.parents[1] / name for name in SHARED)] if home.parent.name == "skills" else [home]
    if path.parent.resolve().is_relative_to(real):
        return "a folder around itself"
    return "" if any(real.is_relative_to(place) for place in allowed) else "which leaves the skill"


def check_links(skill: Skill, page: Page) -> Iterator[Finding]:
    """Links of ``SKILL.md``: each leads one level deep and says when to read; no reference is forgotten."""
    linked: set[Path] = set()
    for link in page.links():
        target = _local(link)
        problem = _follow(skill.folder / FILE, link, target)
        if problem:
            yield problem
        elif target and target.suffix == ".md":
            linked.add(target)
            if not _WHEN.search(link.text):
                yield _finding(skill.folder / FILE, link, "E_SKILL_LINK_WHEN", "it does not say when to read that file")
    for path in skill.references:
        if path.relative_to(skill.folder) not in linked:
            told = f"{skill.folder / FILE} names {path.name} nowhere, so no agent will read it."
            yield Finding("E_SKILL_UNLINKED", "error", told, str(path), fix=_WAYS["E_SKILL_LINK_WHEN"])


def check_reference_links(file: Path, page: Page) -> Iterator[Finding]:
    """Links of a reference: none leads on to a further text, because agents stop following after one step."""
    for link in page.links():
        target = _local(link)
        if target is None:
            problem = _follow(file, link, target)
        elif target.suffix == ".md" or not (file.parent / target).resolve().exists():
            problem = _finding(file, link, "E_SKILL_LINK_DEPTH", "a reference leads on to a further file")
        else:
            problem = None
        if problem:
            yield problem


def _local(link: Link) -> Path | None:
    """The path of a link within the skill; None for an address, a place on the page, or what leads outside."""
    parts = urlsplit(link.target)
    path = Path(unquote(parts.path))
    if parts.scheme or parts.netloc or not parts.path or path.is_absolute() or ".." in path.parts:
        return None
    return Path(*path.parts)


_WAYS = {
    "E_SKILL_LINK_OUTSIDE": "link to https://, or to a file of the skill",
    "E_SKILL_LINK_DEPTH": "put the file directly below references/, and link it from SKILL.md",
    "E_SKILL_LINK_MISSING": "correct the path, or write the file",
    "E_SKILL_LINK_WHEN": "write in the same line: Read [references/x.md](references/x.md) when …",
}


def _follow(file: Path, link: Link, target: Path | None) -> Finding | None:
    if target is None:
        good = link.target.startswith(("https://", "#")) and not (link.image and link.target.startswith("https"))
        return None if good else _finding(file, link, "E_SKILL_LINK_OUTSIDE", "it leads outside of the skill")
    if len(target.parts) > 2:
        return _finding(file, link, "E_SKILL_LINK_DEPTH", "it leads more than one level deep")
    if not (file.parent / target).exists():
        return _finding(file, link, "E_SKILL_LINK_MISSING", "there is no such file")
    return None


def _finding(file: Path, link: Link, code: str, why: str) -> Finding:
    told = f"{file}, line {link.line}: link to {link.target!r}: {why}."
    return Finding(code, "error", told, str(file), link.line, _WAYS[code])
