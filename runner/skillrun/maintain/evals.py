"""Evaluation cases beside each skill, in the two published shapes, from the two files in ``evals/``.

``questions.json``: a list of ``{id, question, expected_skill, expected_script, ground_truth, expected_behavior}``;
``expected_skill`` null: no skill of the bank is wanted. ``evals.json``: ``{skill_name, evals}`` with
``{id, prompt, expected_output, files, assertions}`` for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.maintain.difference import Difference

_TRIGGERS, _TASKS = Path("evals/triggers.yaml"), Path("evals/tasks.yaml")
# What stands for the id of an earlier run where nobody has made one.
_RUNS = {"trained": "RUN", "failed": "RUN"}
_Rows = Iterable[Mapping[str, Any]]


def eval_files(root: Path) -> dict[Path, bytes]:
    """The files of every skill: path relative to ``root`` -> content. Nothing where ``root`` holds no ``evals/``."""
    if not (root / _TASKS).is_file():
        return {}
    triggers: Any = load_yaml(root / _TRIGGERS)
    tasks: Any = load_yaml(root / _TASKS)
    files: dict[Path, bytes] = {}
    for skill in sorted(path.parent.name for path in root.glob("skills/*/SKILL.md")):
        mine = [task for task in tasks if task["skill"] == skill]
        folder = Path("skills") / skill / "evals"
        files[folder / "questions.json"] = _dump(_questions(skill, triggers, mine))
        files[folder / "evals.json"] = _dump({"skill_name": skill, "evals": [_case(task) for task in mine]})
    return files


def check_evals(root: Path, fresh: Mapping[Path, bytes]) -> Iterator[Difference]:
    """Files of cases that no skill has any more."""
    if (root / _TASKS).is_file():
        for path in sorted(path.relative_to(root) for path in root.glob("skills/*/evals/*")):
            if path not in fresh:
                yield Difference(path, "", "stale", "no source asks for this file; delete it")


def _questions(skill: str, triggers: _Rows, tasks: _Rows) -> list[dict[str, Any]]:
    found = []
    for row in triggers:
        if skill not in (row["expected_skill"], row.get("near")):
            continue
        wanted = row["expected_skill"]
        behavior = f"Uses the skill {wanted}." if wanted else "Uses no skill of this bank."
        if row.get("near") == skill:
            behavior = f"{behavior[:-1]}, not {skill}."
        found.append(_question(row["id"], row["query"], wanted, None, behavior, [behavior]))
    for task in tasks:
        steps = [f"Uses the skill {skill}.", *(assertion["says"] for assertion in task["assertions"])]
        found.append(_question(task["id"], _prompt(task), skill, task["tool"], task["expected_output"], steps))
    return found


def _question(
    name: str, question: str, skill: str | None, script: str | None, truth: str, steps: list[str]
) -> dict[str, Any]:
    return {
        "id": name,
        "question": question,
        "expected_skill": skill,
        "expected_script": script,
        "ground_truth": truth,
        "expected_behavior": steps,
    }


def _case(task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": task["id"],
        "prompt": _prompt(task),
        "expected_output": task["expected_output"],
        "files": [thing for thing in task["given"] if thing not in _RUNS],
        "assertions": [assertion["says"] for assertion in task["assertions"]],
    }


def _prompt(task: Mapping[str, Any]) -> str:
    return str(task["prompt"]).format(**_RUNS)


def _dump(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
