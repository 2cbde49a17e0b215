"""Copies of the bank's skills where an agent looks for them. What somebody else put there stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skillrun.errors import ConflictError
from skillrun.runfolder import read_json, write_atomic
from skillrun.skills.copies import contents_of, digest, put, skill_contents, writing
from skillrun.skills.places import PLACES, Agent
from skillrun.skills.read import find_skill, skill_folders

# Beside the skills, because a skill holds no hidden files: name -> digests of copies that were made here.
RECORD = ".skillrun-skills.json"


@dataclass(frozen=True)
class Installed:
    """One skill: where its copy lies, and whether it is ``new``, ``replaced`` or ``unchanged``."""

    name: str
    folder: Path
    state: str


def install(agent: Agent, home: Path, names: Sequence[str] = ()) -> list[Installed]:
    """Copy skills to where ``agent`` looks below ``home``.

    Args:
        agent: whose place.
        home: the home folder, or a project.
        names: which skills; none: all of the bank.

    Raises:
        ConflictError: ``E_SKILL_FOREIGN``: a folder of that name is not a copy made here, or was edited. Nothing is
            written then.
        NotFoundError: ``E_SKILL_UNKNOWN``. PreflightError: ``E_SKILL_WRITE``.
    """
    place = home / PLACES[agent]
    folders = [find_skill(name).folder for name in dict.fromkeys(names)] or skill_folders()
    wanted = {folder.name: skill_contents(folder) for folder in folders}
    known = _record(place)
    here = {name: _digest_of(place / name) for name in wanted}
    fresh = {name: digest(contents) for name, contents in wanted.items()}
    states = {name: _state(place / name, here[name], fresh[name], known.get(name, [])) for name in wanted}
    for name, contents in wanted.items():
        # Noted before it is done, together with what is there: whichever a crash leaves, it is known as ours.
        _note(place, known | {name: sorted({here[name] or fresh[name], fresh[name]})})
        if states[name] != "unchanged":
            put(contents, place / name)
        known |= {name: [fresh[name]]}
    _note(place, known)
    return [Installed(name, place / name, states[name]) for name in wanted]


def _record(place: Path) -> dict[str, list[str]]:
    told = (read_json(place / RECORD) or {}).get("skills")
    return dict(told) if isinstance(told, dict) else {}


def _note(place: Path, known: dict[str, list[str]]) -> None:
    if known != _record(place):
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            write_atomic(place / RECORD, json.dumps({"schema_version": 1, "skills": known}, indent=1) + "\n")


def _digest_of(target: Path) -> str:
    """Of a plain folder; empty for anything else, and for nothing."""
    found = contents_of(target) if target.is_dir() and not target.is_symlink() else None
    return digest(found) if found is not None else ""


def _state(target: Path, here: str, fresh: str, known: Sequence[str]) -> str:
    if not target.exists() and not target.is_symlink():
        return "new"
    if here == fresh:
        return "unchanged"
    if here in known:
        return "replaced"
    why = "was edited since it was installed" if known else "was not installed by skillrun"
    aside = target.with_name(f"my-{target.name}")
    raise ConflictError(
        "E_SKILL_FOREIGN",
        f"{target} {why}; nothing was written.",
        f"rename or remove it, for instance to {aside.name}, or choose another place: --dir PROJECT",
    )
