"""Reading a spec file: safe YAML, references inside the spec, dotted overrides, then the config classes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.nodes import MappingNode

from visual_changenet.config import ExperimentConfig
from visual_changenet.errors import MissingFileError, SpecError

ALIAS_LIMIT = 100
REFERENCE = re.compile(r"\$\{([^{}]*)\}")
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
KEY_OF_TAG = "tag:yaml.org,2002:"


class _SpecLoader(yaml.SafeLoader):
    """Safe loader that refuses repeated keys, custom tags and alias bombs."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > ALIAS_LIMIT:
                raise yaml.constructor.ConstructorError(None, None, f"more than {ALIAS_LIMIT} aliases", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


# YAML 1.1 reads 1e-4 as text; specs mean the number.
_SpecLoader.add_implicit_resolver(
    f"{KEY_OF_TAG}float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from YAML text.

    Raises:
        SpecError: ``E_SPEC_YAML`` naming ``where`` and the line.
    """
    try:
        return yaml.load(text, _SpecLoader)  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where} line {mark.line + 1}" if mark is not None else where
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SpecError("E_SPEC_YAML", f"{place}: {problem}.", "correct the YAML there") from error
    except RecursionError as error:
        raise SpecError("E_SPEC_YAML", f"{where}: nested too deeply.", "write a flatter file") from error


def read_spec(path: Path) -> dict[str, Any]:
    """The mapping in a spec file, references not yet resolved.

    Raises:
        MissingFileError: ``E_SPEC_MISSING``; SpecError: ``E_SPEC_YAML``.
    """
    if not path.is_file():
        raise MissingFileError("E_SPEC_MISSING", f"there is no spec file {path}.", "pass an existing file with -e")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError("E_SPEC_YAML", f"{path}: byte {error.start} is not UTF-8.", "save it as UTF-8") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise SpecError("E_SPEC_YAML", f"{path} does not hold a mapping of keys.", "write key: value lines")
    return data


def apply_overrides(spec: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Set ``a.b.c=value`` items in place; values are parsed as YAML.

    Raises:
        SpecError: ``E_SPEC_OVERRIDE``.
    """
    for item in overrides:
        key, mark, text = item.partition("=")
        key = key.lstrip("+")
        if not mark or not PLAIN_KEY.fullmatch(key):
            raise SpecError("E_SPEC_OVERRIDE", f"{item!r} is not of the form key.sub=value.", "write key.sub=value")
        section = spec
        *parents, last = key.split(".")
        for name in parents:
            below = section.setdefault(name, {})
            section[name] = below = {} if below is None else below
            if not isinstance(below, dict):
                raise SpecError(
                    "E_SPEC_OVERRIDE",
                    f"{key}: {name} is a value, not a section.",
                    "check the spelling of the key",
                )
            section = below
        section[last] = _override_value(text, key)
    return spec


def _override_value(text: str, key: str) -> Any:
    """Lists, mappings and quoted text as YAML; numbers, booleans and null with their type; all else as it is.

    Paths thus keep their quotes, commas, colons and ``#``.
    """
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if text.startswith(("[", "{")) or quoted:
        return parse_yaml(text, key)
    try:
        value = parse_yaml(text, key)
    except SpecError:
        return text
    return value if isinstance(value, bool | int | float | None) else text


def resolve_references(spec: dict[str, Any]) -> dict[str, Any]:
    """Replace ``${a.b.c}`` by that value of the same spec, to any depth.

    A string that is one reference takes the value with its type; inside longer text it becomes text.

    Raises:
        SpecError: ``E_SPEC_REFERENCE`` (unknown key, cycle, or anything but a plain key between the braces).
    """
    out = _resolve(spec, spec, ())
    assert isinstance(out, dict)
    return out


def _resolve(value: Any, root: dict[str, Any], trail: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(item, root, trail) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, root, trail) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = REFERENCE.fullmatch(value)
    if whole:
        return _look_up(whole.group(1), root, trail)
    text = REFERENCE.sub(lambda match: str(_look_up(match.group(1), root, trail)), value)
    if "${" in text:
        raise SpecError("E_SPEC_REFERENCE", f"{value!r} has an unfinished reference.", "write ${section.key}")
    return text


def _look_up(key: str, root: dict[str, Any], trail: tuple[str, ...]) -> Any:
    if not PLAIN_KEY.fullmatch(key):
        raise SpecError(
            "E_SPEC_REFERENCE",
            f"${{{key}}} is refused: only keys of this spec may be referred to.",
            "write the value",
        )
    if key in trail:
        raise SpecError("E_SPEC_REFERENCE", f"${{{key}}} refers to itself.", "write the value")
    found: Any = root
    for name in key.split("."):
        if not isinstance(found, dict) or name not in found:
            raise SpecError(
                "E_SPEC_REFERENCE", f"${{{key}}} names no key of this spec.", f"add {key} or write the value"
            )
        found = found[name]
    return _resolve(found, root, (*trail, key))


def validate(spec: dict[str, Any]) -> dict[str, Any]:
    """All keys with defaults filled in, as plain data.

    Raises:
        SpecError: ``E_SPEC_UNKNOWN_KEY`` (with the nearest name) or ``E_SPEC_VALUE``.
    """
    try:
        return ExperimentConfig.model_validate(spec).model_dump(mode="json")
    except ValidationError as error:
        raise _spec_error(error) from error


def _spec_error(error: ValidationError) -> SpecError:
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(parts[:-1])
        near = difflib.get_close_matches(parts[-1], known, n=1)
        fix = f"did you mean {'.'.join([*parts[:-1], near[0]])}?" if near else f"known there: {', '.join(known)}"
        return SpecError("E_SPEC_UNKNOWN_KEY", f"the spec has the unknown key {key}.", fix)
    message = f"{key} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}."
    return SpecError("E_SPEC_VALUE", message, f"correct {key}")


def _known_keys(parents: list[str]) -> list[str]:
    section: Any = ExperimentConfig
    for name in parents:
        section = section.model_fields[name].annotation if name in section.model_fields else None
        if section is None or not hasattr(section, "model_fields"):
            return []
    return sorted(section.model_fields)


def load_spec(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """From file and overrides to a complete, validated spec as plain data."""
    return validate(resolve_references(apply_overrides(read_spec(path), overrides)))
