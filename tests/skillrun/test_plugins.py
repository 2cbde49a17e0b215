"""The checkout is a marketplace of one plugin: manifests are complete, lead to files, and are never behind."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.cli.parsing import problem_of
from skillrun.maintain.plugins import manifests
from skillrun.skills.plugin import identity, marketplace, plugin_files
from skillrun.skills.read import read_skill, skill_folders

ROOT = bank.bank_root()
PLUGINS = [Path(f".{agent}-plugin/plugin.json") for agent in ("claude", "codex", "cursor")]
KEBAB = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return told


def test_the_manifests_in_the_checkout_are_those_of_the_sources() -> None:
    for path, content in manifests(ROOT).items():
        assert (ROOT / path).read_bytes() == content, f"{path}: skillrun bank generate"


def test_the_marketplace_names_its_owner_and_leads_to_a_plugin() -> None:
    market = load(Path(".claude-plugin/marketplace.json"))
    assert KEBAB.fullmatch(market["name"]) and market["owner"] == {"name": PROJECT["name"]}
    assert market["metadata"] == {"description": PROJECT["description"], "version": PROJECT["version"]}
    (entry,) = market["plugins"]
    assert KEBAB.fullmatch(entry["name"]) and entry["source"].startswith("./") and ".." not in entry["source"]
    plugin = ROOT / entry["source"]
    assert json.loads((plugin / PLUGINS[0]).read_text(encoding="utf-8"))["name"] == entry["name"]
    assert all(folder.name in entry["description"] for folder in skill_folders())


@pytest.mark.parametrize("path", PLUGINS, ids=str)
def test_a_plugin_says_what_the_project_says_and_its_paths_exist(path: Path) -> None:
    told = load(path)
    for key in ("name", "version", "description", "license"):
        assert told[key] == PROJECT[key]
    assert told["keywords"] == sorted(PROJECT["keywords"])
    assert KEBAB.fullmatch(told["name"]) and re.fullmatch(r"\d+\.\d+\.\d+", told["version"])
    known = {"name", "version", "description", "author", "license", "keywords", "skills", "mcpServers", "interface"}
    assert told.keys() <= known and told["author"] == {"name": PROJECT["name"]}
    for key in ("skills", "mcpServers"):
        if key in told:
            assert told[key].startswith("./") and (ROOT / told[key]).exists()
    # A manifest's folder holds nothing else: skills, commands and hooks lie at the root of a plugin.
    assert {item.name for item in (ROOT / path).parent.iterdir()} <= {"plugin.json", "marketplace.json"}


def test_the_tool_server_is_a_command_that_can_be_typed() -> None:
    (server,) = load(Path(".mcp.json"))["mcpServers"].values()
    assert server.keys() == {"command", "args"} and server["command"] in PROJECT["scripts"]
    assert problem_of([server["command"], *server["args"]]) == ""


def test_every_skill_says_the_licence_and_the_version_of_the_project() -> None:
    for folder in skill_folders():
        fields = read_skill(folder).fields
        assert fields["license"] == PROJECT["license"]


def test_a_new_version_or_skill_makes_other_manifests(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "skills/run-automl", tmp_path / "skills/run-automl")
    text = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        text.replace(f'version = "{PROJECT["version"]}"', 'version = "9.9.9"', 1), encoding="utf-8"
    )
    of = identity(tmp_path)
    assert of.version == "9.9.9" and [name for name, _ in of.skills] == ["run-automl"]
    assert b"9.9.9" in plugin_files(of)[PLUGINS[0]] and b"run-automl, and" in marketplace(of, "./")


def test_an_installed_bank_has_no_manifests_and_says_the_same_of_itself(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "skills", tmp_path / "skills")
    assert manifests(tmp_path) == {}
    here, there = identity(ROOT), identity(tmp_path)
    assert (here.summary, here.licence, here.keywords, here.skills) == (
        there.summary,
        there.licence,
        there.keywords,
        there.skills,
    )
