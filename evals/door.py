"""The one way in: every call is ``skillrun tools call`` in a process of its own, and is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from skillrun.skills.validate import TOKEN_CHARACTERS

SKILLRUN = str(Path(sys.executable).with_name("skillrun"))
# A call answers in less than a minute; a busy machine gets twice that.
CALL_S = 120


class RefusedError(Exception):
    """A tool answered with an error: ``{code, message, fix, retryable, exit_code}``."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.fix, self.retryable = str(error["code"]), str(error["fix"]), bool(error["retryable"])


@dataclass(frozen=True)
class Call:
    """One call: what was asked, what came back, and whether that was an error."""

    tool: str
    fields: Mapping[str, Any]
    answer: Mapping[str, Any]
    refused: bool
    characters: int


@dataclass
class Door:
    """The tools of one workspace, and everything that was asked through them."""

    workspace: Path
    calls: list[Call] = field(default_factory=list)

    def call(self, tool: str, **fields: Any) -> Mapping[str, Any]:
        """The answer of a tool; asks again as long as the tool says that it is still at work.

        Raises:
            RefusedError: the tool refused.
        """
        while True:
            done = skillrun(self.workspace, "tools", "call", f"skillrun_{tool}", json.dumps(fields))
            told = json.loads(done.stdout)
            error = told.get("error") if done.returncode else None
            self.calls.append(Call(tool, fields, error or told, bool(error), len(done.stdout)))
            if not error:
                return dict(told)
            if error["code"] != "E_TOOL_WORKING":
                raise RefusedError(error)

    @property
    def tokens(self) -> int:
        """What was read: the list of tools once, and every answer (skills are answers too)."""
        return (tool_list() + sum(call.characters for call in self.calls)) // TOKEN_CHARACTERS


@cache
def tool_list() -> int:
    """Characters of the list of tools, as an MCP client is told of them."""
    return len(skillrun(Path.cwd(), "tools", "--format", "mcp").stdout)


def skillrun(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of skillrun in a workspace, on this host, without a terminal."""
    places = {"SKILLRUN_WORKSPACE": str(workspace), "SKILLRUN_CACHE": str(workspace / ".cache")}
    return subprocess.run(
        [SKILLRUN, *words],
        cwd=workspace,
        env={**os.environ, **places, "SKILLRUN_BACKEND": "local", "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CALL_S,
        check=False,
    )
