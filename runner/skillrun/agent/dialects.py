"""The tools as MCP, OpenAI and Anthropic want to be told of them, from the one pydantic source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from skillrun.agent.tool import Given, Tool

Dialect = Literal["mcp", "openai", "anthropic"]
_NULL = {"type": "null"}
# What strict schemas do not take; descriptions tell the bounds.
_LOOSE = ("default", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


def tell(tools: Iterable[Tool], dialect: Dialect) -> list[dict[str, Any]]:
    """One object a tool, in the order given; the same bytes for the same tools."""
    form = {"mcp": _mcp, "openai": _openai, "anthropic": _anthropic}[dialect]
    return [form(tool) for tool in tools]


def _mcp(tool: Tool) -> dict[str, Any]:
    hints = tool.hints
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": schema(tool.given),
        "outputSchema": schema(tool.answer),
        "annotations": {
            "readOnlyHint": hints.read_only,
            "destructiveHint": hints.destructive,
            "idempotentHint": hints.idempotent,
            "openWorldHint": hints.open_world,
        },
    }


def _openai(tool: Tool) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description, "strict": True, "parameters": strict(tool.given)}
    return {"type": "function", "function": told}


def _anthropic(tool: Tool) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description, "strict": True, "input_schema": strict(tool.given)}
    if tool.example is None:
        return told
    fields = tool.given.model_fields
    return {**told, "input_examples": [{name: tool.example.get(name) for name in fields}]}


def schema(model: type[Any]) -> dict[str, Any]:
    """A model's JSON schema (draft 2020-12) without references, titles and defaults that mean "left out"."""
    raw = model.model_json_schema()
    told: dict[str, Any] = _plain(raw, raw.get("$defs", {}))
    told.setdefault("additionalProperties", False)
    return told


def strict(model: type[Given]) -> dict[str, Any]:
    """A model's JSON schema where every field is required; what may be left out may be null instead."""
    told: dict[str, Any] = _without(schema(model), _LOOSE)
    needed = set(told.get("required", ()))
    fields = told.setdefault("properties", {})
    for name, node in fields.items():
        if name not in needed:
            fields[name] = _nullable(node)
    told["required"] = list(fields)
    return told


def _plain(node: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, shared) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain({**shared[node["$ref"].rpartition("/")[2]], **_without(node, ("$ref",))}, shared)
    kinds = [kind for kind in node.get("anyOf", ()) if kind != _NULL]
    if len(kinds) == 1:  # "something or null"
        return _plain(_nullable({**kinds[0], **_without(node, ("anyOf",))}), shared)
    told = {}
    for name, value in node.items():
        if name == "properties":
            told[name] = {field: _plain(child, shared) for field, child in value.items()}
        elif name not in ("title", "$defs", "description") and not (name == "default" and value in (None, "", [])):
            told[name] = _plain(value, shared)
    if "description" in node and "properties" not in node:
        told["description"] = node["description"]
    return told


def _nullable(node: Mapping[str, Any]) -> dict[str, Any]:
    kind = node.get("type")
    kinds = [kind] if isinstance(kind, str) else list(kind or ())
    if "$ref" in node or not kinds or "null" in kinds:
        return dict(node)
    told = {**node, "type": [*kinds, "null"]}
    return {**told, "enum": [*node["enum"], None]} if "enum" in node else told


def _without(node: Any, names: Iterable[str]) -> Any:
    """The same schema without some keywords, at every level; fields of these names stay."""
    if isinstance(node, list):
        return [_without(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: {field: _without(child, names) for field, child in value.items()}
        if name == "properties"
        else _without(value, names)
        for name, value in node.items()
        if name not in names
    }
