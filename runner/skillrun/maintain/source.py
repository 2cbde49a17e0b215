"""Read the config classes of a model as a plain tree of sections and leaves.

This is the only place of the runner that loads model code: the class is found by the name ``config_class`` in
the model's ``skill_info.yaml``, its siblings ``actions``, ``presets``, ``rules`` and ``legacy`` beside it.
"""

from __future__ import annotations

import hashlib
import importlib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from skillrun.errors import NotFoundError

_PUBLISHED = ("automl_enabled", "math_cond", "option_weights", "depends_on", "parent_param", "popular")
_OWN = ("x-path", "x-search", "x-skillrun-only")
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True)
class Leaf:
    """One settable key: its default, its JSON Schema without default, and its place in the spec."""

    key: str
    default: Any
    schema: Mapping[str, Any]

    @property
    def automl(self) -> bool | None:
        """True = searched by default, False = never, None = only where asked for by name."""
        flag: bool | None = self.schema.get("automl_enabled")
        return flag


@dataclass(frozen=True)
class Source:
    """Everything the generator needs from the model package.

    Attributes:
        leaves: all leaves in the order of the classes.
        sections: dotted key -> description of every section.
        actions: action name -> object with ``task``, ``command``, ``deploy`` and ``reads_key(key)``.
        preset: action name -> dotted key -> value.
        rules: action name -> cross-field rules.
        renamed: old dotted key -> names that replaced it.
        digest: sha256 over the source files of the config package.
    """

    leaves: tuple[Leaf, ...]
    sections: Mapping[str, str]
    actions: Mapping[str, Any]
    preset: Callable[[str], Mapping[str, Any]]
    rules: Callable[[str], list[dict[str, Any]]]
    renamed: Mapping[str, tuple[str, ...]]
    digest: str


def load_source(config_class: str) -> Source:
    """Load ``package.module:Class``.

    Raises:
        NotFoundError: the module or the class does not exist.
    """
    module_name, _, class_name = config_class.partition(":")
    try:
        module = importlib.import_module(module_name)
        root = getattr(module, class_name)
        beside = {name: importlib.import_module(f"{module_name}.{name}") for name in _BESIDE}
    except (ImportError, AttributeError) as error:
        raise NotFoundError(
            "E_CONFIG_CLASS",
            f"The config class {config_class!r} can not be loaded: {error}.",
            "Correct config_class in skill_info.yaml, or install the model package.",
        ) from error
    sections: dict[str, str] = {}
    leaves = tuple(_walk(root, "", sections))
    return Source(
        leaves=leaves,
        sections=sections,
        actions=beside["actions"].ACTIONS,
        preset=beside["presets"].preset,
        rules=beside["rules"].rules_of,
        renamed=beside["legacy"].RENAMED,
        digest=_digest(Path(str(module.__file__)).parent),
    )


_BESIDE = ("actions", "presets", "rules", "legacy")


def _digest(folder: Path) -> str:
    """sha256 over names and contents, in the order of names; line endings of a checkout do not matter."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("**/*.py")):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0")
        total.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return total.hexdigest()


def _walk(cls: Any, prefix: str, sections: dict[str, str]) -> Iterator[Leaf]:
    for name, info in cls.model_fields.items():
        key = f"{prefix}{name}"
        if hasattr(info.annotation, "model_fields"):
            sections[key] = info.description
            yield from _walk(info.annotation, f"{key}.", sections)
            continue
        extra = dict(info.json_schema_extra or {})
        default = info.get_default(call_default_factory=True)
        if "entries" in extra:
            sections[key] = info.description
            yield from _entries(key, info, extra, default)
        else:
            yield Leaf(key, default, _leaf_schema(info, extra))


def _entries(key: str, info: Any, extra: dict[str, Any], default: dict[str, Any]) -> Iterator[Leaf]:
    """A dict with fixed keys is a section whose leaves are its entries."""
    value_type = get_args(_plain(info.annotation))[1]
    for name, meaning in extra["entries"].items():
        schema = {**_typed(value_type, extra), "description": meaning}
        yield Leaf(f"{key}.{name}", default[name], schema)


def _leaf_schema(info: Any, extra: dict[str, Any]) -> dict[str, Any]:
    schema = _typed(info.annotation, extra)
    patterns = [item.pattern for item in info.metadata if getattr(item, "pattern", None)]
    if patterns:
        schema["pattern"] = patterns[0]
    schema["description"] = info.description
    schema |= {name: extra[name] for name in (*_PUBLISHED, *_OWN) if name in extra}
    return schema


def _plain(annotation: Any) -> Any:
    """The type below ``Annotated``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _typed(annotation: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of a type, with the bounds of ``extra`` on its numbers."""
    kind = _plain(annotation)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = next(item for item in get_args(kind) if item is not type(None))
        schema = _typed(inner, extra)
        return {**schema, "type": [schema["type"], "null"]}
    if origin is Literal:
        return {"type": "string", "enum": [*get_args(kind), *extra.get("also", ())]}
    if origin is list:
        length = extra.get("length")
        limits = {} if length is None else {"minItems": length, "maxItems": length}
        return {"type": "array", "items": _typed(get_args(kind)[0], extra), **limits}
    if origin is dict:
        entry = _typed(get_args(kind)[1], extra)
        return {"type": "object", "patternProperties": {"^.+$": entry}, "additionalProperties": False}
    if kind is Any:
        return {}
    return {"type": _NAMES[kind], **(_bounds(extra) if kind in (int, float) else {})}


def _bounds(extra: Mapping[str, Any]) -> dict[str, Any]:
    names = {"low": "minimum", "high": "maximum", "above": "exclusiveMinimum"}
    return {name: extra[key] for key, name in names.items() if key in extra}
