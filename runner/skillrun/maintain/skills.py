"""Generated parts of the skills: tables between markers, and the links to the contract, templates and schemas.

``<!-- generated: NAME ARGUMENT, ARGUMENT -->`` … ``<!-- /generated -->`` in a skill's Markdown holds the table NAME.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.errors import UsageError
from skillrun.maintain.difference import Difference
from skillrun.maintain.raised import packages
from skillrun.maintain.skill_tables import TABLES, Bank

_SECTION = re.compile(r"(<!-- generated: ([\w-]+) ?([\w ,.-]*) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_OPEN = re.compile(r"^<!-- generated: .*$", re.MULTILINE)
_DEPLOY = "spec_template_deploy_"
_CONTRACT = "skill_info.yaml"


def skill_texts(root: Path, files: Mapping[Path, bytes]) -> dict[Path, bytes]:
    """Every skill text that holds markers, with fresh tables: path relative to ``root`` -> content.

    Nothing where ``root`` holds no sources: an installed bank has no pages to read error patterns from.

    Args:
        root: a checkout.
        files: the other generated files; tables of keys and codes are made from them.

    Raises:
        UsageError: ``E_SKILL_TABLE``: a marker asks for a key, a family or a command that there is not.
    """
    if not packages(root):
        return {}
    bank = Bank(root, files)
    return {path: _fresh(root / path, bank).encode() for path in _marked(root)}


def _marked(root: Path) -> Iterator[Path]:
    for path in sorted([*root.glob("skills/*/SKILL.md"), *root.glob("skills/*/references/*.md")]):
        if not path.is_symlink() and _OPEN.search(path.read_text(encoding="utf-8")):
            yield path.relative_to(root)


def _fresh(path: Path, bank: Bank) -> str:
    def section(found: re.Match[str]) -> str:
        arguments = [word.strip() for word in found[3].split(",") if word.strip()]
        table = TABLES.get(found[2])
        if table is None:
            return found[0]  # `check_skills` tells of it
        try:
            return f"{found[1]}{table(bank, arguments)}{found[4]}"
        except (LookupError, ValueError) as error:
            raise UsageError(
                "E_SKILL_TABLE",
                f"{path}: the table {found[2]!r} can not be made of {found[3]!r}: no source has {error}.",
                "edit the marker, then: skillrun bank generate",
            ) from error

    return _SECTION.sub(section, path.read_text(encoding="utf-8"))


def links(root: Path) -> dict[Path, Path]:
    """Links that skills of models have: path relative to ``root`` -> relative target.

    The skill that is called like a model's ``network_arch`` has all schemas, templates and tables of the model; the one
    with ``-deploy`` behind it the schemas, the contract and the templates for deployment.
    """
    found: dict[Path, Path] = {}
    for contract in sorted(root.glob(f"references/*/{_CONTRACT}")):
        model, info = contract.parent.name, load_yaml(contract)
        name = str(info["network_arch"])
        for skill in (name, f"{name}-deploy"):
            if not (root / "skills" / skill).is_dir():
                continue
            folder = Path("skills") / skill
            for file in _schemas(info, everything=skill == name):
                found[folder / "schemas" / file] = Path("../../../schemas") / model / file
            for path in sorted(contract.parent.iterdir()):
                if skill == name or path.name == _CONTRACT or path.name.startswith(_DEPLOY):
                    found[folder / "references" / path.name] = Path("../../../references") / model / path.name
    return found


def _schemas(info: Mapping[str, Any], *, everything: bool) -> Iterator[str]:
    """Names of the files with schemas of all actions, or of those of deployment."""
    if everything:
        yield "manifest.json"
    for action, told in info["actions"].items():
        if everything or told["container"] == "deploy":
            yield f"{action}.schema.json"


def make_links(root: Path) -> list[Path]:
    """Make the links that are missing or lead elsewhere; returns them, relative to ``root``."""
    made = []
    for path, target in links(root).items():
        link = root / path
        if link.parent.is_symlink():  # a folder that shows another skill's or the bank's
            link.parent.unlink()
        if link.is_symlink() and link.readlink() == target:
            continue
        if not link.is_symlink() and link.exists():
            continue  # real files: a packaged bank
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        made.append(path)
    return made


def check_skills(root: Path) -> Iterator[Difference]:
    """Links of skills that are missing or lead nowhere, and markers that no table can be put between."""
    expected = links(root)
    for path, target in expected.items():
        link = root / path
        if link.is_symlink() and link.readlink() != target:
            yield Difference(path, "", "link", f"leads to {link.readlink()}, not to {target}")
        elif not link.exists():
            yield Difference(path, "", "missing", "run: skillrun bank generate")
    for link in sorted([*root.glob("skills/*/*"), *root.glob("skills/*/*/*")]):
        path = link.relative_to(root)
        if link.is_symlink() and path not in expected:
            yield Difference(path, "", "stale", "no contract asks for this link; delete it")
    for path in _marked(root) if packages(root) else ():
        yield from _check_markers(path, (root / path).read_text(encoding="utf-8"))


def _check_markers(path: Path, text: str) -> Iterator[Difference]:
    sections = list(_SECTION.finditer(text))
    for found in sections:
        if found[2] not in TABLES:
            yield Difference(
                path, found[2], "marker", f"there is no such table; tables are {', '.join(sorted(TABLES))}"
            )
    if len(sections) != len(_OPEN.findall(text)) or len(sections) != text.count("<!-- /generated -->"):
        yield Difference(path, "", "marker", "a marker `generated` has no `/generated`, or the other way round")
