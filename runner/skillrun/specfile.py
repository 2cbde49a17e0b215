"""Spec files as data: a safe YAML subset in, plain values out, and back.

A spec never runs code: no tags, no aliases, no resolver but ``${a.b.c}`` references inside the same spec.
Every error names the file and the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skillrun.errors import NotFoundError, UsageError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}
_Base: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DumperBase: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_Base):  # type: ignore[misc]  # the base is chosen at run time: the C parser where libyaml is present
    """YAML's safe loader, with floats such as ``1e-5`` read as numbers (YAML 1.1 reads them as text)."""


class _Dumper(_DumperBase):  # type: ignore[misc]
    """YAML's safe dumper; a text that `_Loader` would read as a number is written in quotes."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)[eE][-+]?[0-9]+$"),
        list("-+0123456789."),
    )


@dataclass(frozen=True)
class SpecText:
    """A parsed spec: nested values, and the 1-based line of every dotted key."""

    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    name: str = "spec"

    def place(self, key: str) -> str:
        """``file:line`` of a key, or of its nearest written parent."""
        while key:
            if key in self.lines:
                return f"{self.name}:{self.lines[key]}"
            key = key.rpartition(".")[0]
        return self.name


def read_spec(path: Path) -> SpecText:
    """Read a spec file.

    Raises:
        NotFoundError: the file is absent.
        UsageError: it is no YAML mapping, or uses what a spec may not use.
    """
    if not path.is_file():
        raise NotFoundError("E_SPEC_FILE", f"spec file {str(path)!r} does not exist", "check the path after --spec")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError("E_SPEC_YAML", f"{path} is larger than {MAX_BYTES} bytes: no spec is", "check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("E_SPEC_YAML", f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8") from error
    return parse_spec(text, name=str(path))


def parse_spec(text: str, *, name: str = "spec") -> SpecText:
    """Parse spec text; references are resolved. See `read_spec` for the errors."""
    try:
        _refuse_aliases(text, name)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return SpecText({}, {}, name)
            lines: dict[str, int] = {}
            _check_node(node, name, "", lines, 0)
            values = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError("E_SPEC_YAML", f"{place}: {problem}", "mend the YAML at this line") from error
    if not isinstance(values, dict):
        what = f"{name}: a spec is a mapping of sections, not a {type(values).__name__}"
        raise UsageError("E_SPEC_YAML", what, "skillrun visual_changenet template train")
    return SpecText(resolve_references(values, name), lines, name)


def _refuse_aliases(text: str, name: str) -> None:
    if "*" not in text and "&" not in text:
        return
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise UsageError(
                "E_SPEC_ALIAS",
                f"{name}:{line}: YAML aliases (*{event.anchor}) are not read",
                "write ${a.b.c} instead",
            )


def _check_node(node: yaml.Node, name: str, path: str, lines: dict[str, int], depth: int) -> None:
    """Refuse tags, duplicate and non-text keys, and deep nesting; note the line of each key."""
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH:
        raise UsageError("E_SPEC_YAML", f"{name}:{line}: nested deeper than {MAX_DEPTH} levels", "flatten the spec")
    if node.tag not in _PLAIN_TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise UsageError("E_SPEC_TAG", f"{name}:{line}: the YAML tag {tag} is not allowed: a spec is data", "remove it")
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check_node(child, name, path, lines, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            word = str(key.value)
            if word in seen:
                raise UsageError(
                    "E_SPEC_DUPLICATE",
                    f"{name}:{key.start_mark.line + 1}: key {word!r} stands twice",
                    "remove one",
                )
            seen.add(word)
            dotted = f"{path}.{word}" if path else word
            lines[dotted] = key.start_mark.line + 1
            _check_node(child, name, dotted, lines, depth + 1)


def resolve_references(values: dict[str, Any], name: str = "spec") -> dict[str, Any]:
    """Replace every ``${a.b.c}`` by the value at that key of the same spec.

    A text that is one reference takes the value with its type; inside a longer text the value is written out.

    Raises:
        UsageError: anything else inside ``${…}`` (such as ``${eval:…}``), an absent key, or a circle.
    """

    def lookup(dotted: str, trail: tuple[str, ...]) -> Any:
        if not _DOTTED.fullmatch(dotted):
            raise UsageError(
                "E_SPEC_REFERENCE",
                f"{name}: ${{{dotted}}} is not a reference to a key: a spec is data, nothing in it is evaluated",
                "write the value itself",
            )
        if dotted in trail:
            raise UsageError("E_SPEC_REFERENCE", f"{name}: ${{{dotted}}} refers to itself", "write the value itself")
        here: Any = values
        for part in dotted.split("."):
            if not isinstance(here, dict) or part not in here:
                raise UsageError("E_SPEC_REFERENCE", f"{name}: ${{{dotted}}} names no key of this spec", "add the key")
            here = here[part]
        return replace(here, (*trail, dotted))

    def replace(value: Any, trail: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: replace(item, trail) for key, item in value.items()}
        if isinstance(value, list):
            return [replace(item, trail) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole:
            return lookup(whole[1], trail)
        return _REFERENCE.sub(lambda found: str(lookup(found[1], trail) or ""), value)

    resolved: dict[str, Any] = replace(values, ())
    return resolved


def dump_spec(values: dict[str, Any]) -> str:
    """Spec text that every YAML 1.1 and 1.2 reader reads alike."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
