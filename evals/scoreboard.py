"""The scoreboard: which skill a query wakes, and whether a scripted agent gets every task done through the tools.

Run: ``python evals/scoreboard.py`` (about two minutes on two cores); ``--task ID`` for single tasks, ``--json`` for one
JSON document. Exit code 1 where a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tasks import Score, attempt, read_tasks
from triggers import Part, descriptions, score_triggers
from workshop import Workshop


def main() -> int:
    """Do everything, show it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", action="append", default=[], metavar="ID", help="only this task; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    given = parser.parse_args()
    tasks = read_tasks()
    unknown = set(given.task) - {task["id"] for task in tasks}
    if unknown:
        parser.error(f"no task {', '.join(sorted(unknown))}; tasks are {', '.join(task['id'] for task in tasks)}")
    threshold, parts = score_triggers(descriptions())
    talk = Console(stderr=True)
    scores = []
    with tempfile.TemporaryDirectory(prefix="skillrun evals ") as folder:
        workshop = Workshop(Path(folder))
        for task in tasks:
            if not given.task or task["id"] in given.task:
                talk.print(f"{task['id']} …", highlight=False)
                scores.append(attempt(task, workshop))
    passed = all(part.passed for part in parts) and not any(score.wrong for score in scores)
    if given.json:
        sys.stdout.write(json.dumps(_told(threshold, parts, scores, passed), indent=1) + "\n")
    else:
        _show(Console(), threshold, parts, scores)
    return 0 if passed else 1


def _told(threshold: float, parts: list[Part], scores: list[Score], passed: bool) -> dict[str, Any]:
    rates = [{**asdict(part), "precision": part.precision, "recall": part.recall} for part in parts]
    tasks = [{**asdict(score), "passed": not score.wrong} for score in scores]
    return {"passed": passed, "threshold": threshold, "triggers": rates, "tasks": tasks}


def _show(console: Console, threshold: float, parts: list[Part], scores: list[Score]) -> None:
    table = Table(title=f"Triggers, by words alone (threshold {threshold:.2f})", title_justify="left")
    for name in ("queries", "right", "near misses woken", "precision", "recall", "abstained", "gate"):
        table.add_column(name, justify="left" if name == "queries" else "right")
    for part in parts:
        right, woken = f"{part.right}/{part.positives}", f"{part.woken}/{part.near}"
        rates = (f"{part.precision:.0%}", f"{part.recall:.0%}", str(part.abstained))
        table.add_row(part.name, right, woken, *rates, _word(part.passed))
    console.print(table)
    table = Table(title="Tasks, by a scripted agent through the tools", title_justify="left")
    for name in ("task", "result", "calls", "tokens read", "seconds"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for score in scores:
        table.add_row(score.task, _word(not score.wrong), str(score.calls), str(score.tokens), f"{score.seconds:.1f}")
    done = sum(not score.wrong for score in scores)
    sums = (sum(score.calls for score in scores), sum(score.tokens for score in scores))
    seconds = sum(score.seconds for score in scores)
    table.add_section()
    table.add_row("all", f"{done}/{len(scores)}", *map(str, sums), f"{seconds:.1f}")
    console.print(table)
    for score in scores:
        for why in score.wrong:
            console.print(f"{score.task}: {why}", highlight=False, markup=False, soft_wrap=True)


def _word(passed: bool) -> str:
    return "pass" if passed else "FAIL"


if __name__ == "__main__":
    sys.exit(main())
