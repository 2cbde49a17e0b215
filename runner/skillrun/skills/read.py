"""Skill folders of the bank, and the frontmatter of a ``SKILL.md``, read as strictly as the strictest agent does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.bank import bank_root
from skillrun.errors import NotFoundError, UsageError

FILE = "SKILL.md"
_FENCE = "---"


@dataclass(frozen=True)
class Skill:
    """One skill.

    Attributes:
        folder: where it lies; its name is the skill's name.
        fields: the frontmatter; texts, and one mapping of texts below ``metadata``.
        body: what stands below the frontmatter.
        body_line: line of the file in which the body begins, 1-based.
    """

    folder: Path
    fields: Mapping[str, Any]
    body: str
    body_line: int

    @property
    def name(self) -> str:
        """The name in the frontmatter."""
        return str(self.fields.get("name", ""))

    @property
    def description(self) -> str:
        """What an agent reads to decide whether it needs the skill."""
        return str(self.fields.get("description", ""))

    @property
    def references(self) -> list[Path]:
        """Texts below ``references/`` that are read on demand, sorted."""
        return sorted(self.folder.glob("references/*.md"))


def skill_folders(root: Path | None = None) -> list[Path]:
    """The skill folders of a bank (default: the one in use), sorted by name."""
    return sorted(path.parent for path in ((root or bank_root()) / "skills").glob(f"*/{FILE}"))


def find_skill(name: str) -> Skill:
    """The skill of that name in the bank. Raises NotFoundError with the nearest names."""
    folders = {folder.name: folder for folder in skill_folders()}
    if name not in folders:
        near = difflib.get_close_matches(name, folders, n=2, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}" if near else ""
        raise NotFoundError("E_SKILL_UNKNOWN", f"There is no skill {name!r}{meant}.", "skillrun skills list")
    return read_skill(folders[name])


def read_skill(folder: Path) -> Skill:
    """Read one skill folder.

    Raises:
        NotFoundError: ``E_SKILL_MISSING``: the folder has no ``SKILL.md``.
        UsageError: ``E_SKILL_FRONTMATTER``: the file is no UTF-8, or its frontmatter can not be read by every agent.
    """
    path = folder / FILE
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise NotFoundError(
            "E_SKILL_MISSING", f"{path} can not be read: {error.strerror}.", "name the folder that holds SKILL.md"
        ) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, 1, f"it is no UTF-8 (byte {error.start})") from error
    lines = text.split("\n")
    if lines[0] != _FENCE:
        raise _unreadable(path, 1, f"line 1 is {lines[0][:20]!r}, not ---, so agents see no name and no description")
    if _FENCE not in lines[1:]:
        raise _unreadable(path, 1, "the frontmatter has no closing --- line")
    end = lines.index(_FENCE, 1)
    return Skill(folder, _fields(path, "\n".join(lines[1:end])), "\n".join(lines[end + 1 :]), end + 2)


def _fields(path: Path, text: str) -> dict[str, Any]:
    """The mapping in the frontmatter; only what plain block YAML can say."""
    import yaml

    try:
        for line, what in _unusual(yaml.parse(text, Loader=yaml.SafeLoader)):
            raise _unreadable(path, line + 2, what)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            raise _unreadable(path, 2, "the frontmatter is no mapping")
        for line, what in _twice(node):
            raise _unreadable(path, line + 2, what)
        fields: dict[str, Any] = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        raise _unreadable(path, line + 2, f"no YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise _unreadable(path, 2, f"no YAML: {error}".split("\n")[0]) from error
    return fields


def _unusual(events: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """Flow style, anchors, aliases and tags, which strict readers of frontmatter refuse."""
    import yaml

    for event in events:
        line = event.start_mark.line
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield line, "anchors and aliases are refused"
        elif getattr(event, "tag", None):
            yield line, f"the tag {event.tag} is refused"
        elif getattr(event, "flow_style", None) and isinstance(event, yaml.CollectionStartEvent):
            yield line, "{…} and […] are refused by strict readers; write one item a line"


def _twice(node: Any) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for key, _ in node.value:
        if str(key.value) in seen:
            yield key.start_mark.line, f"{key.value!r} stands twice"
        seen.add(str(key.value))


def _unreadable(path: Path, line: int, why: str) -> UsageError:
    return UsageError(
        "E_SKILL_FRONTMATTER",
        f"{path}, line {line}: {why}.",
        "begin the file with ---, one `field: text` a line, and ---",
    )
