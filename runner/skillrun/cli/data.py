"""``skillrun data``: make, convert and check data sets."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.data_check import check
from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.data.layout import DatasetSummary

app = typer.Typer(help="Make, convert and check data sets.", no_args_is_help=True)

Task = Annotated[str, typer.Option("--task", help="classify or segment.")]
Seed = Annotated[int, typer.Option("--seed", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace what lies at the destination.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="New or empty folder.")]


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

    with _bar("drawing", Output(json)) as progress:
        summary = draw(out, task=task, pairs=pairs, seed=seed, size=size, force=force, progress=progress)
    _say_made(summary, out, size, Output(json))


@app.command()
def convert(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="deeppcb.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the original data set.")],
    destination: Destination,
    task: Task = "classify",
    centred: Annotated[bool, typer.Option("--centred", help="Defects in the middle of their crop.")] = False,
    crop: Annotated[
        int | None,
        typer.Option(min=0, max=640, help="Side of a crop in pixels [classify: 64; segment: 0, whole boards]."),
    ] = None,
    eval_groups: Annotated[str, typer.Option("--eval-groups", help="Board groups to hold out, with commas.")] = "",
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Turn a known data set into the documented layout, split by board."""
    from skillrun.data.deeppcb import DEFAULT_EVAL_GROUPS, convert_deeppcb
    from skillrun.errors import UsageError

    if kind != "deeppcb":
        raise UsageError(
            "E_CONVERT_KIND",
            f"there is no converter {kind!r}; there is: deeppcb",
            "skillrun data convert --help",
        )
    groups = tuple(name.strip() for name in eval_groups.split(",") if name.strip()) or DEFAULT_EVAL_GROUPS
    with _bar("converting", Output(json)) as progress:
        summary = convert_deeppcb(
            source,
            destination,
            task=task,
            centred=centred,
            crop=crop,
            eval_groups=groups,
            seed=seed,
            force=force,
            progress=progress,
        )
    _say_made(summary, destination, int(summary.source.get("crop_px", 256)), Output(json))


app.command()(check)


def _say_made(summary: DatasetSummary, out: Path, side: int, output: Output) -> None:
    """What was written, and a first training on it that a CPU can do; ``side`` is that of a picture in pixels."""
    counts = ", ".join(f"{name} {value}" for name, value in _flat(summary.counts))
    output.data({"dataset": asdict(summary)}, f"{out}\n  {counts}")
    small, side = "model.backbone.type=fan_tiny_8_p4_hybrid", -(-side // 32) * 32
    if summary.task == "segment":
        folder = shlex.quote(str(out))
        output.hint(
            f"skillrun visual_changenet segment_train --no-automl --train-data {folder} {small} segment_img_size={side}"
        )
    else:
        train, held_out = (shlex.quote(str(out / part)) for part in ("train", "eval"))
        output.hint(
            f"skillrun visual_changenet train --no-automl --train-data {train} --eval-data {held_out} "
            f"{small} dataset.classify.image_width={side} dataset.classify.image_height={side}"
        )


def _flat(counts: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(counts, dict):
        for name, value in counts.items():
            yield from _flat(value, f"{prefix}{name} ")
    else:
        yield prefix.strip(), counts


@contextmanager
def _bar(words: str, output: Output) -> Iterator[Callable[[int, int], None]]:
    """A progress callback: a bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty() or output.as_json:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
