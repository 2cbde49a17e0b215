"""``skillrun parents``: what a run or a results folder offers to the next one, and which file would be taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.lineage import Candidate, Explanation

_COLUMNS = ("", "file", "epoch", "step", "marks", "numbers")
_NUMBERS = 3


def parents(
    run: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="Run id, its beginning, 'last', or a folder.")],
    pick: Annotated[str, typer.Option("--pick", help="Which checkpoint: best, last, epoch=N, step=N.")] = "best",
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Checkpoints that a later run could start from, the one it would take, and why."""
    from skillrun.lineage import explain, find_parent
    from skillrun.runfolder import workspace as resolve

    found = explain(find_parent(run, resolve(workspace)), pick)
    output = Output(json)
    if json:
        output.data(found.to_json(), "")
    else:
        _show(found, output)
    exported = not found.candidates and (found.onnx or found.engines)
    if found.problem is not None and not exported:
        if json:
            raise typer.Exit(found.problem.exit_code)
        raise found.problem
    if not json:
        output.hint(_next(found))


def _show(found: Explanation, output: Output) -> None:
    taken = found.chosen.path if found.chosen else None
    rows = [
        ("→" if entry.path == taken else "", *_row(entry, found.monitor))  # the arrow marks the one that is taken
        for entry in found.candidates
    ]
    output.table("candidates", _COLUMNS, rows, f"{found.parent.name} lists no checkpoint of its own")
    lines = [f"{kind:<7} {path}" for kind, paths in (("onnx", found.onnx), ("engine", found.engines)) for path in paths]
    if found.chosen:
        lines += [f"takes   {found.chosen.path}", f"because {found.chosen.reason}"]
    if lines:
        output.data({}, "\n".join(lines))


def _row(entry: Candidate, monitor: str) -> tuple[object, ...]:
    marks = [mark for mark, there in (("best", entry.best), ("last", entry.last), ("gone", not entry.exists)) if there]
    names = [name for name in dict.fromkeys([monitor, *entry.metrics]) if name in entry.metrics]
    validated = sorted(names, key=lambda name: (name != monitor, not name.startswith("val_")))
    numbers = ", ".join(f"{name} {entry.metrics[name]:.4g}" for name in validated[:_NUMBERS])
    return entry.path.name, entry.epoch, entry.step, " ".join(marks), numbers


def _next(found: Explanation) -> str:
    action = "evaluate"
    if found.chosen is None and found.engines:
        action = "trt_evaluate"
    pick = "" if found.pick == "best" or found.chosen is None else f" --pick {found.pick}"
    return f"skillrun visual_changenet {action} --parent {found.parent.reference}{pick}"
