"""``skillrun card``: the model card of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skillrun.cli.options import Json, RunReference, Workspace
from skillrun.cli.output import Output


def card(
    run: RunReference,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where the card goes (default: MODEL_CARD.md in the run's folder)."),
    ] = None,
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Write a model card: architecture, data, quality, speed, limits, licence. Markdown with the hub's metadata."""
    from skillrun.card import FILE, make_card, write_card
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve

    root, output = resolve(workspace), Output(json)
    folder = find_run(run, root)
    made = make_card(folder, root)
    path = out.expanduser().absolute() if out else folder.path / FILE
    write_card(made, path)
    output.data({"path": str(path), **made.numbers}, str(path))
    if made.numbers["evaluation"]:
        output.say(f"quality: measured by {made.numbers['evaluation']}")
    else:
        output.say("quality: nothing measured this model")
