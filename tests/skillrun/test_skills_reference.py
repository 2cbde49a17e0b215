"""The specification's own validator and ours agree: on every skill of the bank, and on what breaks a frontmatter."""

from __future__ import annotations

from pathlib import Path

import pytest
from skills_ref import validate as by_reference

from skillrun.cli.parsing import problem_of
from skillrun.skills.read import skill_folders
from skillrun.skills.validate import validate as by_us

NAME = "name: good-skill"
WHEN = "description: Use when boards are compared. Not for anything else."
GOOD = f'---\n{NAME}\n{WHEN}\nlicense: Apache-2.0\nmetadata:\n  version: "0.1"\n---\n\n# Boards\n'
BROKEN = {
    "no frontmatter": GOOD.removeprefix("---\n"),
    "a blank line first": f"\n{GOOD}",
    "a comment first": f"<!-- boards -->\n{GOOD}",
    "no end": GOOD.replace('"0.1"\n---\n', '"0.1"\n'),
    "empty": "---\n---\n# Boards\n",
    "a list": "---\n- name\n- description\n---\n# Boards\n",
    "a quote without end": GOOD.replace("license: A", 'license: "A'),
    "a tab": GOOD.replace("  version", "\tversion"),
    "flow style": GOOD.replace('metadata:\n  version: "0.1"', "metadata: {version: x}"),
    "a field twice": GOOD.replace("license:", f"{NAME}\nlicense:"),
    "an anchor": GOOD.replace("Apache-2.0", "&licence Apache-2.0"),
    "a tag": GOOD.replace("license: ", "license: !!str "),
    "a field of no specification": GOOD.replace("license:", "tags: boards\nlicense:"),
    "two of them": GOOD.replace("license:", "author: somebody\nversion: 1\nlicense:"),
    "no name": GOOD.replace(f"{NAME}\n", ""),
    "an empty name": GOOD.replace(NAME, "name:"),
    "capitals": GOOD.replace(NAME, "name: Good-Skill"),
    "a blank in the name": GOOD.replace(NAME, "name: good skill"),
    "an underscore in the name": GOOD.replace(NAME, "name: good_skill"),
    "a hyphen first": GOOD.replace(NAME, "name: -good-skill"),
    "a hyphen last": GOOD.replace(NAME, "name: good-skill-"),
    "two hyphens": GOOD.replace(NAME, "name: good--skill"),
    "a long name": GOOD.replace(NAME, f"name: {'good-' * 14}skill"),
    "another name than the folder": GOOD.replace(NAME, "name: other-skill"),
    "no description": GOOD.replace(f"{WHEN}\n", ""),
    "an empty description": GOOD.replace(WHEN, "description:"),
    "a long description": GOOD.replace("Not for anything else.", "Not for that. " * 80),
    "a long compatibility": GOOD.replace("license: Apache-2.0", f"compatibility: {'word ' * 120}"),
}


@pytest.mark.parametrize("folder", skill_folders(), ids=lambda folder: folder.name)
def test_every_skill_of_the_bank_fits_the_specification(folder: Path) -> None:
    assert by_reference(folder) == [] == by_us(folder, problem_of)


def put(root: Path, text: str) -> Path:
    folder = root / "good-skill"
    folder.mkdir()
    (folder / "SKILL.md").write_text(text, encoding="utf-8")
    return folder


def test_both_find_nothing_in_the_good_one(hostile_dir: Path) -> None:
    folder = put(hostile_dir, GOOD)
    assert by_reference(folder) == [] == by_us(folder, problem_of)


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_both_find_what_is_broken(text: str, hostile_dir: Path) -> None:
    folder = put(hostile_dir, text)
    assert text != GOOD and by_reference(folder) and by_us(folder, problem_of)
