"""``skillrun data``: make, convert, mend and check data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skillrun.cli.data_check import check
from skillrun.cli.data_convert import Task, convert
from skillrun.cli.data_mend import align, fix, split
from skillrun.cli.data_talk import Force, Seed, bar, say_made
from skillrun.cli.options import Json
from skillrun.cli.output import Output

app = typer.Typer(help="Make, convert, mend and check data sets.", no_args_is_help=True)


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New or empty folder.")],
    task: Task = "classify",
    pairs: Annotated[int, typer.Option(min=4, help="How many golden/test pairs.")] = 200,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a picture in pixels.")] = 64,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Draw pairs of board pictures, half of them with a defect; the same seed gives the same bytes."""
    from skillrun.data.synth import synth as draw

    with bar("drawing", Output(json)) as progress:
        summary = draw(out, task=task, pairs=pairs, seed=seed, size=size, force=force, progress=progress)
    say_made(summary, out, size, Output(json))


for command in (convert, split, align, fix, check):
    app.command()(command)
