"""What the commands that make data sets say: a bar while they work, then what they wrote."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.data.layout import DatasetSummary

Seed = Annotated[int, typer.Option("--seed", min=0)]
Force = Annotated[bool, typer.Option("--force", help="Replace what lies at the destination.")]
Source = Annotated[Path, typer.Argument(metavar="SRC", help="The data set to start from; it is only read.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="New or empty folder.")]


@contextmanager
def bar(words: str, output: Output) -> Iterator[Callable[[int, int], None]]:
    """A progress callback: a bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty() or output.as_json:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(words, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def say_made(summary: DatasetSummary, out: Path, side: int, output: Output) -> None:
    """What was written, and a first training on it that a CPU can do; ``side`` is the most pixels that it reads."""
    output.data({"dataset": asdict(summary)}, f"{out}\n  {counts_line(summary)}")
    hint_training(summary, out, side, output)


def counts_line(summary: DatasetSummary) -> str:
    """``train PASS 8, train spur 2, …``."""
    return ", ".join(f"{name} {value}" for name, value in _flat(summary.counts))


def hint_training(summary: DatasetSummary, out: Path, most: int, output: Output) -> None:
    """The next command: a small training where the data set has the sides for one, else its check.

    Args:
        most: largest side in pixels that the training reads; smaller pictures are read as they are.
    """
    small, side = "model.backbone.type=fan_tiny_8_p4_hybrid", -(-min(most, _side(out) or most) // 32) * 32
    if summary.task == "segment" and {"train", "val"} <= summary.counts.keys():
        folder = shlex.quote(str(out))
        output.hint(
            f"skillrun visual_changenet segment_train --no-automl --train-data {folder} {small} segment_img_size={side}"
        )
    elif summary.task == "classify" and {"train", "eval"} <= summary.counts.keys():
        train, held_out = (shlex.quote(str(out / part)) for part in ("train", "eval"))
        output.hint(
            f"skillrun visual_changenet train --no-automl --train-data {train} --eval-data {held_out} "
            f"{small} dataset.classify.image_width={side} dataset.classify.image_height={side}"
        )
    else:
        output.hint(f"skillrun data check {shlex.quote(str(out))}")


def _side(out: Path) -> int | None:
    """The longer side of one picture of a data set, in pixels."""
    from PIL import Image

    from skillrun.data.folders import IMAGE_SUFFIXES

    first = next((path for path in out.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES), None)
    if first is None:
        return None
    with Image.open(first) as picture:
        return max(picture.size)


def _flat(counts: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(counts, dict):
        for name, value in counts.items():
            yield from _flat(value, f"{prefix}{name} ")
    else:
        yield prefix.strip(), counts
