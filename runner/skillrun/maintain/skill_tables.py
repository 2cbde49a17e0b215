"""The tables that skills show, each made from the one place where its facts are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.catalogue.entries import RAISED, Family, read_families
from skillrun.maintain.catalogue import TEXTS

MODEL = "visual_changenet"
PATTERNS = Path("docs") / "error-patterns.md"
EXIT_CODES = Path("docs") / "errors.md"
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


class Bank:
    """The sources of the tables.

    Args:
        root: a checkout.
        files: generated files, relative to ``root``; schemas and ``raised.json`` are taken from here.
    """

    def __init__(self, root: Path, files: Mapping[Path, bytes]) -> None:
        self.root, self.files = root, files

    @cached_property
    def info(self) -> dict[str, Any]:
        """The contract of the model."""
        found: dict[str, Any] = load_yaml(self.root / "references" / MODEL / "skill_info.yaml")
        return found

    @cached_property
    def families(self) -> dict[str, Family]:
        """The catalogue of codes, by name of the family."""
        raised = next(content for path, content in self.files.items() if path.name == RAISED.name)
        return {family.name: family for family in read_families(self.root / TEXTS, json.loads(raised))}

    @cached_property
    def commands(self) -> Any:
        """The tree of the command line."""
        from typer.main import get_command

        from skillrun.cli.app import build

        return get_command(build())

    def leaf(self, action: str, key: str) -> dict[str, Any]:
        """The schema node of a key; raises KeyError where the action has none."""
        node: dict[str, Any] = self.schema(action)
        for name in key.split("."):
            node = node["properties"][name]
        return node

    def schema(self, action: str) -> dict[str, Any]:
        """The schema of an action."""
        found: dict[str, Any] = json.loads(self.files[Path("schemas") / MODEL / f"{action}.schema.json"])
        return found


def actions(bank: Bank, chosen: Sequence[str]) -> str:
    """Actions of a container (``train`` or ``deploy``): what each needs, which option gives it, what it starts from."""
    rows = []
    for name, action in bank.info["actions"].items():
        if action["container"] in chosen:
            needed = [f"`{key}`" for key, port in action["inputs"].items() if not port.get("optional")]
            rows.append((f"`{name}`", action["task"], ", ".join(needed), f"`{bank.info['spec_templates'][name]}`"))
    return _table(("action", "task", "needs", "template"), rows)


_OPTIONS = {
    "train_datasets": "--train-data",
    "eval_dataset": "--eval-data",
    "inference_dataset": "--infer-data",
    "calibration_dataset": "--calibration-data",
}


def data(bank: Bank, chosen: Sequence[str]) -> str:
    """Data sources: for each action the option, the keys that it fills, and what it takes of the data set."""
    rows = []
    for name, sources in bank.info["data_sources"].items():
        if bank.info["actions"][name]["container"] in chosen:
            rows += [
                (f"`{name}`", f"`{_OPTIONS[rule['source']]}`", f"`{key}`", rule["path"] and f"`{rule['path']}`")
                for key, rule in sources.items()
            ]
    return _table(("action", "option", "fills", "from"), _grouped(rows))


def inference(bank: Bank, chosen: Sequence[str]) -> str:
    """Which keys get their value from the run or its parent, for actions of a container."""
    rows = []
    for name, keys in bank.info["spec_params"].items():
        if bank.info["actions"][name]["container"] in chosen:
            said = [(key, value if isinstance(value, str) else "staged file") for key, value in keys.items()]
            rows += [
                (f"`{name}`", f"`{key}`", f"`{value}`") for key, value in said if value not in ("key", "output_dir")
            ]
    return _table(("action", "key", "function"), _grouped(rows))


def shorthand(bank: Bank, chosen: Sequence[str]) -> str:
    """Short names of the actions given, with the key of each."""
    rows: dict[str, dict[str, list[str]]] = {}
    for action in chosen:
        for short, key in _short(bank, action).items():
            rows.setdefault(short, {}).setdefault(key, []).append(action)
    lines = [
        (
            f"`{short}`",
            "; ".join(f"`{key}`" + (f" ({', '.join(on)})" if len(keys) > 1 else "") for key, on in keys.items()),
        )
        for short, keys in rows.items()
    ]
    return _table(("short", "key"), lines)


def _short(bank: Bank, action: str) -> dict[str, str]:
    overrides = bank.info.get("spec_shorthand_overrides", {})
    task = bank.info["actions"][action]["task"]
    table = bank.info["spec_shorthand_keys"] | overrides.get(task, {}) | overrides.get(action, {})
    return {short: key for short, key in table.items() if _has(bank, action, key)}


def _has(bank: Bank, action: str, key: str) -> bool:
    try:
        bank.leaf(action, key)
    except KeyError:
        return False
    return True


def parameters(bank: Bank, chosen: Sequence[str]) -> str:
    """Chosen keys of an action (first word the action): default, what is allowed, meaning."""
    action, *keys = chosen
    rows = []
    for key in keys:
        node = bank.leaf(action, key)
        rows.append((f"`{key}`", f"`{json.dumps(node.get('default'))}`", _allowed(node), node["description"]))
    return _table(("key", "default", "allowed", "meaning"), rows)


def _allowed(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {node[word]}" for word, sign in signs.items() if word in node)


def searched(bank: Bank, chosen: Sequence[str]) -> str:
    """Keys that a search varies by default, for trainings, with the range it draws from."""
    rows = []
    for action in chosen:
        for key in bank.schema(action)["automl_default_parameters"]:
            node = bank.leaf(action, key)
            rows.append((f"`{action}`", f"`{key}`", _range(node)))
    return _table(("action", "key", "range"), _grouped(rows))


def _range(node: Mapping[str, Any]) -> str:
    search = node.get("x-search")
    if not search:
        return _allowed(node) or str(node["type"])
    scale = ", logarithmic" if search.get("log") else ""
    return f"{search['low']} to {search['high']}{scale}"


def codes(bank: Bank, chosen: Sequence[str]) -> str:
    """Codes of families: exit code and what each means. ``explain`` has cause and mend."""
    rows = [
        (f"`{code}`", " or ".join(map(str, entry.exit_codes)) or "warning", entry.title)
        for name in chosen
        for code, entry in bank.families[name].codes.items()
    ]
    return _table(("code", "exit", "meaning"), rows)


def patterns(bank: Bank, chosen: Sequence[str]) -> str:
    """Documented error patterns with the code that catches each; with words given, only rows that hold one of them."""
    text = (bank.root / PATTERNS).read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in found[1].split("|")][:3] for found in _ROW.finditer(text)][2:]
    kept = [row for row in rows if not chosen or any(word in " ".join(row) for word in chosen)]
    return _table(("pattern", "code", "when"), kept)


def commands(bank: Bank, chosen: Sequence[str]) -> str:
    """Commands of groups of the command line, or single ones, each with its line of help."""
    rows = []
    for words in chosen:
        command, path = bank.commands, words.split()
        for word in path:
            command = getattr(command, "commands", {})[word]
        for name, leaf in sorted(getattr(command, "commands", {"": command}).items()):
            if not leaf.hidden:
                rows.append((f"`{_usage(leaf, ['skillrun', *path, *filter(None, [name])])}`", leaf.help.split("\n")[0]))
    return _table(("command", "what it does"), rows)


def _usage(command: Any, path: Sequence[str]) -> str:
    arguments = [item.metavar or item.name.upper() for item in command.params if item.param_type_name == "argument"]
    return " ".join([*path, *arguments])


def exits(bank: Bank, chosen: Sequence[str]) -> str:
    """What each exit code says."""
    text = bank.files[EXIT_CODES].decode()
    line = " ".join(text.partition("Exit codes: ")[2].partition("\n\n")[0].split()).rstrip(".")
    rows = [(number, meaning) for number, _, meaning in (part.partition(" ") for part in line.split(", "))]
    return _table(("exit", "meaning"), [("0", "done"), ("1", "unexpected: a defect of skillrun"), *rows])


def _grouped(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The same rows without repeating the first cell."""
    shown: list[Sequence[str]] = []
    for before, row in zip([None, *rows], rows, strict=False):
        shown.append(("", *row[1:]) if before and before[0] == row[0] else row)
    return shown


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


Table = Callable[[Bank, Sequence[str]], str]
TABLES: dict[str, Table] = {
    "actions": actions,
    "codes": codes,
    "commands": commands,
    "data": data,
    "exits": exits,
    "inference": inference,
    "parameters": parameters,
    "patterns": patterns,
    "searched": searched,
    "shorthand": shorthand,
}
