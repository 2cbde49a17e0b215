"""A scripted agent. It knows no commands and opens no run folder: it reads skills, calls tools and follows their fixes.

The moves are general; `scripts` says for each task which of them it takes. The only files that it may touch are those
that the user gave it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from door import Door, RefusedError
from retriever import Retriever

Fields = dict[str, Any]
# Refusals in a row that the agent tries to mend before it gives up.
PATIENCE = 5
_VALUE = re.compile(r"[a-z_][\w.]*=\S*")
_RENAME = re.compile(r"write ([a-z_][\w.]*)=")


class Agent:
    """Does what a user asks, through the tools.

    Attributes:
        answer: what it tells the user at the end: ids, codes, commands, by name.
    """

    def __init__(self, door: Door) -> None:
        self.door = door
        self.answer: dict[str, str] = {}

    def learn(self, question: str) -> str:
        """Choose a skill for the question by the descriptions, read it to the end, and return its name."""
        listed = self.door.call("read_skills")["skills"]
        skill = Retriever({one["name"]: one["description"] for one in listed}).choose(question).skill
        cursor: int | None = 0
        while cursor is not None:
            cursor = self.door.call("read_skills", name=skill, cursor=cursor).get("next_cursor")
        return str(skill)

    def plan(self, fields: Fields) -> Mapping[str, Any]:
        """A plan without errors; ``fields`` are mended by the fixes of those that it has.

        Raises:
            RefusedError: what can not be mended from here.
        """
        for _ in range(PATIENCE):
            plan = self.door.call("plan_run", **fields)
            if plan["ok"]:
                return plan
            wrong = [found for found in plan["findings"] if found["severity"] == "error"]
            if not sum(self.mend(fields, found) for found in wrong):
                break
        raise RefusedError({**wrong[0], "retryable": False})

    def mend(self, fields: Fields, problem: Mapping[str, Any]) -> bool:
        """Change the fields as the fix says; False where it says nothing that fields can do."""
        if renamed := _RENAME.search(problem["fix"]):
            return _rename(fields, problem["message"], renamed[1])
        values = [word for word in shlex.split(problem["fix"].replace(",", " ")) if _VALUE.fullmatch(word)]
        fields["overrides"] = [*fields.get("overrides", []), *values]
        return bool(values)

    def launch(self, fields: Fields, key: str, plan_hash: str = "") -> str:
        """Start a run and return its id."""
        return str(self.door.call("launch_run", **fields, key=key, plan_hash=plan_hash)["run_id"])

    def finish(self, run: str) -> Mapping[str, Any]:
        """Wait until a run is over, and return the last word about it."""
        while True:
            told = self.door.call("wait_run", run=run, timeout_s=50)
            if told["done"]:
                return told

    def do(self, fields: Fields, key: str) -> Mapping[str, Any]:
        """Plan, launch exactly that plan, wait, and return the result."""
        plan = self.plan(fields)
        run = self.launch(fields, key, plan["plan_hash"])
        self.answer["run"], self.answer["state"] = run, self.finish(run)["state"]
        return self.door.call("get_result", run=run)


def _rename(fields: Fields, message: str, right: str) -> bool:
    """Give the override that the message quotes the right name."""
    given = fields.get("overrides", [])
    names = [value.partition("=")[0] for value in given]
    wrong = next((name for name in names if f"{name!r}" in message), None)
    if wrong is None:
        return False
    fields["overrides"] = [re.sub(f"^{re.escape(wrong)}=", f"{right}=", value) for value in given]
    return True
