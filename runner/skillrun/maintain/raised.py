"""Which codes the sources can say, and how a command ends with each: read from the syntax trees, nothing is imported.

A code is a string constant ``E_…`` or ``W_…``. Its exit codes are those of the error classes that it is given to,
directly or by way of a function that takes the code as an argument.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skillrun.preflight.rule import EXIT_CODES

CODE = re.compile(r"[EW]_[A-Z0-9]+(?:_[A-Z0-9]+)*")
# The decorator of a rule of the preflight; its second argument is the room, which has an exit code.
RULE = "rule"
# Where a code is put into a finding or into result.json, no class tells how the command ends.
_OTHERWISE = {"skillrun/data": 7, "skillrun/preflight": 3, "skillrun/skills": 2, "skillrun": 9, "visual_changenet": 1}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class _Module:
    """One source file: its tree, the parent of each node, and its functions by name."""

    name: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    functions: dict[str, _Function] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in ast.walk(self.tree):
            self.parents.update((child, node) for child in ast.iter_child_nodes(node))
            if isinstance(node, _Function):
                self.functions.setdefault(node.name, node)

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, the nearest first."""
        while node in self.parents:
            node = self.parents[node]
            yield node


def packages(root: Path) -> list[Path]:
    """The packages of a checkout that say codes; none in an installed bank."""
    return [path for path in (root / "runner" / "skillrun", *sorted(root.glob("containers/*/*"))) if path.is_dir()]


def raised(root: Path, rules: Iterable[str] = ()) -> dict[str, dict[str, list[int]]]:
    """Exit codes by code and by command, e.g. ``{"E_DATA_LIST": {"visual_changenet": [7]}}``.

    Args:
        root: a checkout.
        rules: ids of the schemas' rules; the runner makes a code ``E_RULE_…`` of each.
    """
    found: dict[str, dict[str, list[int]]] = {rule_code(rule): {"skillrun": [2]} for rule in rules}
    for package in packages(root):
        for code, exits in _Package(package).codes().items():
            found.setdefault(code, {})[package.name] = sorted(exits)
    return dict(sorted(found.items()))


def rule_code(rule: str) -> str:
    """The code of a schema's rule, as the runner spells it."""
    return f"E_RULE_{rule.upper().replace('-', '_')}"


def rule_ids(files: Mapping[Path, bytes]) -> list[str]:
    """Ids of all rules that can refuse, of the schemas among generated files."""
    schemas = [json.loads(content) for path, content in files.items() if path.name.endswith(".schema.json")]
    return sorted({rule["id"] for schema in schemas for rule in schema.get("x-rules", ()) if not rule.get("clamp")})


class _Package:
    """The modules of one package, and the error classes in them."""

    def __init__(self, folder: Path) -> None:
        self.modules = [
            _Module(path.relative_to(folder.parent).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
            for path in sorted(folder.rglob("*.py"))
        ]
        self.exits = dict(_exit_codes(self.modules))

    def codes(self) -> dict[str, set[int]]:
        """Every code of the package with the exit codes of its classes; a warning ends nothing."""
        found: dict[str, set[int]] = defaultdict(set)
        places: dict[str, str] = {}
        for module in self.modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                    found[node.value] |= self._ends(module, node)
                    places.setdefault(node.value, module.name)
        for code, exits in found.items():
            if code.startswith("W_"):
                exits.clear()
            elif not exits:
                exits.add(next(end for place, end in _OTHERWISE.items() if places[code].startswith(place)))
        return dict(found)

    def _ends(self, module: _Module, constant: ast.Constant) -> set[int]:
        """Exit codes of the classes that a constant is given to."""
        for node in module.above(constant):
            if isinstance(node, ast.Call):
                return self._of_call(module, node, set())
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                return self._of_name(module, node, node.targets[0].id)
            if isinstance(node, ast.arguments):
                return self._of_function(module, module.parents[node], set())
        return set()

    def _of_call(self, module: _Module, call: ast.Call, seen: set[str]) -> set[int]:
        name = _last_name(call.func)
        if name in self.exits:
            return {self.exits[name]}
        if name == RULE and isinstance(call.args[1], ast.Constant):
            return {EXIT_CODES[room] for room in EXIT_CODES if room == call.args[1].value}
        if name in seen:
            return set()
        elsewhere = isinstance(call.func, ast.Attribute) and _last_name(call.func.value) != "self"
        others = [item for item in self.modules if item is not module]
        owners = [*others, module] if elsewhere else [module, *others]
        owner = next((item for item in owners if name in item.functions), None)
        return self._of_function(owner, owner.functions[name], seen | {name}) if owner else set()

    def _of_function(self, module: _Module, function: ast.AST, seen: set[str]) -> set[int]:
        """Exit codes of what a function does with the arguments that it is given."""
        assert isinstance(function, _Function)
        given = function.args
        names = {item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self"}
        return set().union(*(self._of_call(module, call, seen) for call in _calls_with(function, names)))

    def _of_name(self, module: _Module, node: ast.AST, name: str) -> set[int]:
        scope = next((item for item in module.above(node) if isinstance(item, _Function)), None)
        calls = _calls_with(scope, {name}) if scope else ()
        return set().union(*(self._of_call(module, call, set()) for call in calls))


def _exit_codes(modules: Iterable[_Module]) -> Iterator[tuple[str, int]]:
    """(class, its ``exit_code``) of every class that has one."""
    classes = [node for module in modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    for node in classes:
        for line in node.body:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", line)
            value = getattr(line, "value", None)
            if _last_name(target) == "exit_code" and isinstance(value, ast.Constant) and isinstance(value.value, int):
                yield node.name, value.value


def _calls_with(scope: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    """Calls in a scope that are given one of these names."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Call):
            given: list[Any] = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(item, ast.Name) and item.id in names for item in given):
                yield node


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
