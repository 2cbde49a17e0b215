"""``skillrun doctor``: what this host lacks for a run, and what to type."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}
FAILED_EXIT = 3


def doctor(json: Json = False, workspace: Workspace = None) -> None:
    """Look at this host: Python, disk, memory, Docker, GPUs, images, hub. Exit code 3 where no run can start."""
    from skillrun.doctor import Check, checks, failed
    from skillrun.runfolder import workspace as resolve

    output, found = Output(json), list[Check]()
    for check in checks(resolve(workspace)):
        found.append(check)
        if not json:
            output.data({}, _text(check.status, check.name, check.message, check.fix))
    count = Counter(check.status for check in found)
    summary = f"{count['ok']} ok, {count['warn']} to look at, {count['fail']} in the way"
    if json:
        output.data({"ok": not failed(found), "checks": [asdict(check) for check in found], "summary": summary}, "")
    else:
        output.say(summary)
    if failed(found):
        raise typer.Exit(FAILED_EXIT)


def _text(status: str, name: str, message: str, fix: str) -> str:
    line = f"{MARKS[status]} {name}: {' '.join(message.split())}"
    return f"{line}\n    fix: {fix}" if fix else line
