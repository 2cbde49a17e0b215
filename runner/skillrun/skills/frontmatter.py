"""Rules of the frontmatter: those of the Agent Skills specification, and the tighter ones of this bank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from skillrun.findings import Finding
from skillrun.skills.read import FILE, Skill

FIELDS = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
NAME_LENGTH = 64
# The specification allows 1024; agents drop descriptions when those of all skills get too long together.
DESCRIPTION_LENGTH = 450
COMPATIBILITY_LENGTH = 500
# Lists of skills may show no more of a description than this.
TRIGGER_WITHIN = 120
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_TRIGGER = re.compile(r"\buse (?:this |it )?(?:when|to|for|before|after|if|whenever)\b", re.IGNORECASE)


def check_frontmatter(skill: Skill) -> Iterator[Finding]:
    """Everything that is wrong with the fields of a skill."""
    file = str(skill.folder / FILE)
    for field in skill.fields:
        if field not in FIELDS:
            yield Finding(
                "E_SKILL_FIELD",
                "error",
                f"{file}: the specification has no field {field!r}.",
                file,
                fix=f"put it below metadata, or remove it; fields are {', '.join(FIELDS)}",
            )
    yield from _name(skill, file)
    yield from _description(skill, file)
    yield from _others(skill, file)


def _name(skill: Skill, file: str) -> Iterator[Finding]:
    name, folder = skill.fields.get("name"), skill.folder.resolve().name
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_LENGTH:
        what = f"{file}: name {name!r} is not 1 to {NAME_LENGTH} of a-z, 0-9 and single hyphens between them."
        yield Finding("E_SKILL_NAME", "error", what, file, fix=f"write name: {_slug(folder)}")
    elif name != folder:
        what = f"{file}: name {name!r} is not that of its folder, {folder!r}."
        yield Finding("E_SKILL_NAME", "error", what, file, fix=f"write name: {folder}, or rename the folder to {name}")


def _slug(text: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", text.lower())) or "my-skill"


def _description(skill: Skill, file: str) -> Iterator[Finding]:
    text = skill.fields.get("description")
    if not isinstance(text, str) or not text.strip():
        what = f"{file}: there is no description, so no agent will ever pick the skill."
        yield Finding("E_SKILL_DESCRIPTION", "error", what, file, fix="write description: Use when …")
        return
    if len(text) > DESCRIPTION_LENGTH:
        what = f"{file}: the description has {len(text)} characters; {DESCRIPTION_LENGTH} are the limit of this bank."
        yield Finding("E_SKILL_DESCRIPTION", "error", what, file, fix="move details into the body")
    if not _TRIGGER.search(text[:TRIGGER_WITHIN]):
        what = f"{file}: the first {TRIGGER_WITHIN} characters of the description do not say when to use the skill."
        yield Finding("E_SKILL_TRIGGER", "error", what, file, fix="begin with: Use when … or Use to …")


def _others(skill: Skill, file: str) -> Iterator[Finding]:
    for field in ("license", "compatibility", "allowed-tools"):
        value = skill.fields.get(field, "-")
        if not isinstance(value, str) or not value.strip():
            yield _value(file, field, f"is {value!r}, not a text", f"write {field}: and a text in one line")
        elif field == "compatibility" and len(value) > COMPATIBILITY_LENGTH:
            yield _value(file, field, f"has {len(value)} of {COMPATIBILITY_LENGTH} characters", "shorten it")
    metadata: Any = skill.fields.get("metadata", {})
    if not isinstance(metadata, dict):
        yield _value(file, "metadata", "is no mapping", "write one `  key: text` a line below metadata:")
        return
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            yield _value(file, f"metadata.{key}", f"is {value!r}, not a text", f'write {key}: "{value}"')


def _value(file: str, field: str, what: str, fix: str) -> Finding:
    return Finding("E_SKILL_VALUE", "error", f"{file}: {field} {what}.", file, fix=fix)
