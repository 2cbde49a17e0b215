"""Tasks: read from ``tasks.yaml``, done by an agent in a workspace of their own, judged by their assertions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from agent import Agent
from checks import CHECKS, Scene
from door import Door, RefusedError
from scripts import script
from workshop import Workshop

FILE = Path(__file__).with_name("tasks.yaml")
Task = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """How a task went: what is wrong (nothing: passed), calls, tokens read; seconds without what was given before."""

    task: str
    wrong: tuple[str, ...]
    calls: int
    tokens: int
    seconds: float


def read_tasks() -> list[Task]:
    """All tasks, in the order of the file."""
    return list(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def attempt(task: Task, workshop: Workshop, agent_type: Callable[[Door], Agent] = Agent) -> Score:
    """Let an agent do a task, and judge what is there afterwards."""
    place, given = workshop.workspace(task["id"], task["given"])
    door = Door(place)
    agent = agent_type(door)
    begin = time.monotonic()
    wrong: list[str] = []
    try:
        agent.learn(task["prompt"].format(**given))
        script(task["id"])(agent, given)
    except RefusedError as error:
        wrong.append(f"the agent gave up: {error}")
    seconds = time.monotonic() - begin
    wrong += judge(task, Scene(door, given, agent.answer))
    return Score(task["id"], tuple(wrong), len(door.calls), door.tokens, round(seconds, 1))


def judge(task: Task, scene: Scene) -> list[str]:
    """What is wrong after a task; the skill that was read counts too."""
    assertions = [{"says": f"Reads the skill {task['skill']}.", "check": "skill_read", "name": task["skill"]}]
    wrong = []
    for assertion in [*assertions, *task["assertions"]]:
        arguments = {name: found for name, found in assertion.items() if name not in ("says", "check")}
        if why := CHECKS[assertion["check"]](scene, **arguments):
            wrong.append(f"{assertion['says']} No: {why}")
    return wrong
