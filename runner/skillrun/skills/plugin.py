"""Manifests by which agents find the skills and the tool server: one plugin, and the marketplace that offers it.

All are made from the name, version and licence that the project states itself and from the bank's skills.
"""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.skills.read import read_skill, skill_folders

PROJECT = "skillrun"
MARKETPLACE = Path(".claude-plugin") / "marketplace.json"
TOOLS = Path(".mcp.json")
_CATEGORY = "development"


@dataclass(frozen=True)
class Identity:
    """What the project says of itself. ``skills`` are (name, description), by name."""

    version: str
    summary: str
    licence: str
    keywords: tuple[str, ...]
    skills: tuple[tuple[str, str], ...]


def identity(root: Path) -> Identity:
    """Who the project says it is: by ``pyproject.toml`` in a checkout, else by the installed package."""
    skills = tuple((skill.name, skill.description) for skill in map(read_skill, skill_folders(root)))
    stated = root / "pyproject.toml"
    if stated.is_file():
        project = tomllib.loads(stated.read_text(encoding="utf-8"))["project"]
        words = tuple(sorted(project["keywords"]))
        return Identity(project["version"], project["description"], project["license"], words, skills)
    found = importlib.metadata.metadata(PROJECT)
    words = tuple(sorted(found["Keywords"].split(",")))
    return Identity(found["Version"], found["Summary"], found["License-Expression"], words, skills)


def plugin_files(of: Identity) -> dict[Path, bytes]:
    """The manifests at the root of the plugin, for each agent that has its own, and the tool server."""
    plain: dict[str, Any] = {
        "name": PROJECT,
        "version": of.version,
        "description": of.summary,
        "author": {"name": PROJECT},
        "license": of.licence,
        "keywords": list(of.keywords),
    }
    # Claude Code looks for skills/ and .mcp.json by itself; the others are told.
    pointing = {**plain, "skills": "./skills/", "mcpServers": f"./{TOOLS.as_posix()}"}
    shown = {"displayName": PROJECT, "shortDescription": of.summary, "developerName": PROJECT, "category": _CATEGORY}
    return {
        Path(".claude-plugin/plugin.json"): _json(plain),
        Path(".codex-plugin/plugin.json"): _json({**pointing, "interface": shown}),
        Path(".cursor-plugin/plugin.json"): _json(pointing),
        TOOLS: _json({"mcpServers": {PROJECT: {"command": PROJECT, "args": ["mcp"]}}}),
    }


def marketplace(of: Identity, source: str) -> bytes:
    """``marketplace.json``; ``source`` is where the plugin lies, from the marketplace on, beginning with ``./``."""
    names = ", ".join(name for name, _ in of.skills)
    entry = {
        "name": PROJECT,
        "source": source,
        "description": f"Skills {names}, and the tools of {PROJECT} mcp.",
        "version": of.version,
        "category": _CATEGORY,
    }
    about = {"description": of.summary, "version": of.version}
    return _json({"name": PROJECT, "owner": {"name": PROJECT}, "metadata": about, "plugins": [entry]})


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
