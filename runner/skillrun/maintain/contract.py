"""Check ``skill_info.yaml`` against its JSON Schema, and every name in it against the config classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.inference_functions import INFERENCE_FUNCTIONS
from skillrun.maintain.difference import Difference
from skillrun.maintain.schema import action_leaves
from skillrun.maintain.source import Source, load_source
from skillrun.maintain.template import template_name

Report = Callable[[str, str], Difference]
CONTRACT_SCHEMA = Path("references") / "skill_info.schema.json"


def check_contracts(root: Path) -> list[Difference]:
    """All contradictions in the contracts below ``root``; empty means consistent.

    A contract that does not fit ``references/skill_info.schema.json`` is not looked at further.
    """
    found: list[Difference] = []
    for path in sorted((root / "references").glob("*/skill_info.yaml")):
        info = load_yaml(path)
        relative = path.relative_to(root)

        def report(key: str, detail: str, place: Path = relative) -> Difference:
            return Difference(place, key, "contract", detail)

        problems = list(_shape(root, info, report))
        found += problems or list(check_names(info, load_source(info["config_class"]), report))
    return found


def _shape(root: Path, info: Any, report: Report) -> Iterator[Difference]:
    import json

    from jsonschema import Draft202012Validator

    schema = json.loads((root / CONTRACT_SCHEMA).read_text(encoding="utf-8"))
    for error in Draft202012Validator(schema).iter_errors(info):
        yield report(".".join(str(part) for part in error.absolute_path), error.message)


def check_names(info: Mapping[str, Any], source: Source, report: Report) -> Iterator[Difference]:
    """Contradictions between a well-formed contract and the config classes."""
    known = {name: {leaf.key: leaf for leaf in action_leaves(source, name)} for name in source.actions}
    for name in sorted(set(info["actions"]) ^ set(known)):
        yield report(f"actions.{name}", "is not in both the contract and the config classes")
    for name, action in info["actions"].items():
        if name in known:
            yield from _action(name, action, info, source, known[name], report)
    for table in ("data_sources", "spec_params", "spec_templates"):
        for name in sorted(set(info[table]) - set(info["actions"])):
            yield report(f"{table}.{name}", "is no action of this contract")
    yield from _shorthand(info, source, known, report)


def _action(
    name: str,
    action: Mapping[str, Any],
    info: Mapping[str, Any],
    source: Source,
    leaves: Mapping[str, Any],
    report: Report,
) -> Iterator[Difference]:
    chosen = source.actions[name]
    expected = {
        "task": chosen.task,
        "container": "deploy" if chosen.deploy else "train",
        "command": f"visual_changenet {chosen.command} -e {{config_path}}",
    }
    for field, value in expected.items():
        if action[field] != value:
            yield report(f"actions.{name}.{field}", f"is {action[field]!r}, the config classes say {value!r}")
    for table in ("inputs", "outputs"):
        for key, port in action[table].items():
            yield from _port(f"actions.{name}.{table}", key, port["type"], leaves, report)
    for key in sorted(set(action["inputs"]) & set(action["outputs"])):
        yield report(f"actions.{name}", f"{key} is both input and output")
    if info["spec_templates"].get(name) != template_name(source, name):
        yield report(f"spec_templates.{name}", f"must be {template_name(source, name)}")
    yield from _origins(name, action, info, leaves, report)


def _origins(
    name: str, action: Mapping[str, Any], info: Mapping[str, Any], leaves: Mapping[str, Any], report: Report
) -> Iterator[Difference]:
    """Where the keys of an action get their values: data sets, and inference functions."""
    for key in info["data_sources"].get(name, {}):
        if key not in action["inputs"]:
            yield report(f"data_sources.{name}", f"{key} is no input of this action")
    for key, function in info["spec_params"].get(name, {}).items():
        if key not in leaves:
            yield report(f"spec_params.{name}", f"{key} is no key of this action")
        if isinstance(function, str) and function not in INFERENCE_FUNCTIONS:
            yield report(f"spec_params.{name}.{key}", f"{function!r} is no inference function")


def _port(place: str, key: str, kind: str, leaves: Mapping[str, Any], report: Report) -> Iterator[Difference]:
    if key not in leaves:
        yield report(place, f"{key} is no key of this action")
        return
    mark = leaves[key].schema.get("x-path")
    if mark is None:
        yield report(place, f"{key} is no path")
    elif mark["kind"] != {"file": "file", "folder": "dir"}[kind]:
        yield report(place, f"{key} is a {mark['kind']}, not a {kind}")
    elif (mark["direction"] == "in") != place.endswith("inputs"):
        yield report(place, f"{key} is a path for {mark['direction']}put")


def _shorthand(
    info: Mapping[str, Any], source: Source, known: Mapping[str, Mapping[str, Any]], report: Report
) -> Iterator[Difference]:
    everywhere = frozenset[str]().union(*known.values())
    for alias, key in info["spec_shorthand_keys"].items():
        if key not in everywhere:
            yield report(f"spec_shorthand_keys.{alias}", f"{key} is no key of any action")
    for scope, table in info["spec_shorthand_overrides"].items():
        tasks = [name for name, action in source.actions.items() if action.task == scope]
        scoped = [known[name] for name in (tasks or [scope]) if name in known]
        if not scoped:
            yield report(f"spec_shorthand_overrides.{scope}", "is neither a task nor an action")
        for alias, key in table.items():
            if scoped and not any(key in leaves for leaves in scoped):
                yield report(f"spec_shorthand_overrides.{scope}.{alias}", f"{key} is no key there")
