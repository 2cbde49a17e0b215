"""Tools that read the bank: skills, and one part of a schema at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from skillrun import bank
from skillrun.agent.tool import Answer, Given, cut
from skillrun.errors import NotFoundError
from skillrun.overrides import nearest

MODEL = "visual_changenet"
PAGE = 10_000  # characters: each SKILL.md of ours is one page
KEYS = 30


class SkillsGiven(Given):
    name: str = Field("", description="Skill to read; empty lists all.")
    file: str = Field("SKILL.md", description="File of it, e.g. references/errors.md.")
    cursor: int = Field(0, ge=0, description="next_cursor of the page before.")


class Skill(Answer):
    name: str
    description: str


class SkillsAnswer(Answer):
    skills: list[Skill] | None = None
    text: str | None = None
    files: list[str] | None = None
    next_cursor: int | None = None


def read_skills(given: SkillsGiven, _root: Path) -> SkillsAnswer:
    """Lists the skills (what to do, when, with which commands), or reads a file of one, a page at a time."""
    from skillrun.skills.read import FILE, find_skill, read_skill, skill_folders

    if not given.name:
        every = [read_skill(folder) for folder in skill_folders()]
        return SkillsAnswer(skills=[Skill(name=skill.name, description=skill.description) for skill in every])
    skill = find_skill(given.name)
    files = [FILE, *(path.relative_to(skill.folder).as_posix() for path in skill.references)]
    if given.file not in files:
        message = f"skill {given.name} has no file {cut(given.file, 80)!r}"
        close = nearest(given.file, files, 1) or [FILE]
        raise NotFoundError("E_TOOL_NO_FILE", message, f"file={close[0]}")
    text = (skill.folder / given.file).read_text(encoding="utf-8")
    end = given.cursor + PAGE
    page = text[given.cursor : end]
    return SkillsAnswer(text=page, files=files, next_cursor=end if end < len(text) else None)


class SchemaGiven(Given):
    action: str = Field(description="e.g. train, evaluate, inference, export, quantize, segment_train.")
    path: str = Field("", description="Dotted section or key, e.g. train.optim; empty: the whole spec.")
    depth: int = Field(1, ge=1, le=4, description="Levels below path, 1-4.")
    cursor: int = Field(0, ge=0, description="next_cursor of the page before.")


class Key(Answer):
    key: str
    type: str
    description: str
    default: Any = None
    choices: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    short: str | None = None


class Section(Answer):
    path: str
    keys: int
    description: str


class SchemaAnswer(Answer):
    action: str
    path: str
    keys: list[Key]
    sections: list[Section]
    next_cursor: int | None = None


def get_schema(given: SchemaGiven, _root: Path) -> SchemaAnswer:
    """Spec keys of an action under a path: type, default, bounds, meaning; deeper sections as counts. Call it before
    you set an override. `short` is a key's shorthand."""
    action = bank.resolve_action(MODEL, given.action)
    node = _node(action, given.path)
    short = {key: alias for alias, key in bank.shorthand(MODEL, action).items()}
    if "properties" not in node:
        return SchemaAnswer(action=action, path=given.path, keys=[_key(given.path, node, short)], sections=[])
    found = list(_below(node, given.path, given.depth))
    keys = [_key(path, child, short) for path, child in found if "properties" not in child]
    sections = [
        Section(path=path, keys=_count(child), description=_told(child))
        for path, child in found
        if "properties" in child
    ]
    end = given.cursor + KEYS
    return SchemaAnswer(
        action=action,
        path=given.path,
        keys=keys[given.cursor : end],
        sections=sections if given.cursor == 0 else [],
        next_cursor=end if end < len(keys) else None,
    )


def _node(action: str, path: str) -> Mapping[str, Any]:
    here: Mapping[str, Any] = bank.schema(MODEL, action)
    path = bank.shorthand(MODEL, action).get(path, path)
    for part in path.split(".") if path else ():
        children = here.get("properties", {})
        if part not in children:
            close = nearest(path, [*_sections(bank.schema(MODEL, action), ""), *sorted(bank.keys(MODEL, action))], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            fix = f"path={close[0]}" if close else f"path={next(iter(bank.schema(MODEL, action)['properties']))}"
            raise NotFoundError("E_TOOL_NO_KEY", f"{action} has no key or section {cut(path, 120)!r}{hint}", fix)
        here = children[part]
    return here


def _below(node: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, node) down to a depth; a section that is opened is not listed itself."""
    for name, child in node["properties"].items():
        place = f"{path}.{name}" if path else name
        if "properties" in child and depth > 1:
            yield from _below(child, place, depth - 1)
        else:
            yield place, child


def _sections(node: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, child in node["properties"].items():
        if "properties" in child:
            yield path + name
            yield from _sections(child, f"{path}{name}.")


def _count(node: Mapping[str, Any]) -> int:
    return sum(_count(child) if "properties" in child else 1 for child in node["properties"].values())


def _told(node: Mapping[str, Any]) -> str:
    return cut(str(node.get("description", "")), 160)


def _key(path: str, node: Mapping[str, Any], short: Mapping[str, str]) -> Key:
    types = node.get("type", "any")
    return Key(
        key=path,
        type=types if isinstance(types, str) else "|".join(types),
        description=_told(node),
        default=node.get("default"),
        choices=node.get("enum"),
        minimum=node.get("minimum"),
        maximum=node.get("maximum"),
        short=short.get(path),
    )
