"""``skillrun images``: build our container images, and see which images there are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from docker import DockerClient
    from skillrun.image_build import BuildStep
    from skillrun.images import ImageReference
    from skillrun.progress import Progress

app = typer.Typer(help="Build and list container images.", no_args_is_help=True)

SHORT_ID = 12
LONG_STEPS = ("FROM", "RUN", "COPY")  # the others take no time
COLUMNS = ("key", "variant", "reference", "source", "present", "id", "size_mb", "created")


@app.command("list")
def list_(json: Json = False) -> None:
    """Every image that skillrun knows, and whether the engine has it; sizes in MB."""
    from skillrun import engine, images
    from skillrun.errors import BackendError

    output = Output(json)
    client: DockerClient | None = None
    try:
        client = engine.connect()
    except BackendError as error:
        output.say(f"{error.message}; whether an image is present can not be told")
    rows = [_row(image, client) for image in images.known()]
    output.table("images", COLUMNS, rows, "references/versions.yaml names no image")
    absent = [
        image.variant for image, row in zip(images.known(), rows, strict=True) if not image.published and not row[4]
    ]
    if client is not None and "cpu" in absent:
        output.hint("skillrun images build --cpu")


def _row(image: ImageReference, client: DockerClient | None) -> tuple[Any, ...]:
    """``present`` is empty where no engine could be asked."""
    from skillrun import images

    source = "published" if image.published else "ours"
    start = (image.key, image.variant, image.reference, source)
    if client is None:
        return (*start, None, None, None, None)
    found = images.inspect(client, image.reference)
    if found is None:
        return (*start, False, None, None, None)
    short = str(found["Id"]).removeprefix("sha256:")[:SHORT_ID]
    return (*start, True, short, round(int(found["Size"]) / 1e6), _moment(str(found.get("Created") or "")))


def _moment(created: str) -> str:
    """The engine's time stamp to the minute, in local time; it has more digits than Python reads."""
    try:
        moment = datetime.strptime(created[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return created
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


@app.command()
def build(
    roles: Annotated[
        list[str] | None, typer.Argument(metavar="[train|deploy]...", help="Which images (default: train and deploy).")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="The variant without CUDA.")] = False,
    wheelhouse: Annotated[
        Path | None, typer.Option("--wheelhouse", metavar="DIR", help="Install from these wheels, without a network.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="IMAGE", help="Start from this image (default: versions.yaml).")
    ] = None,
    json: Json = False,
) -> None:
    """Build our images on the engine: from this checkout, pinned by constraints.txt."""
    from skillrun import engine, image_build

    output, client = Output(json), engine.connect()
    made = []
    for role in dict.fromkeys(roles or image_build.ROLES):
        with _progress(output, f"{role} image") as show:
            built = image_build.build(client, role, cpu=cpu, wheelhouse=wheelhouse, base=base, show=show)
        output.say(f"built {built.reference}  {built.size / 1e6:.0f} MB in {built.seconds:.0f} s")
        made.append({**vars(built), "role": role})
    output.data({"images": made}, "\n".join(str(image["reference"]) for image in made))
    output.hint(f"skillrun visual_changenet train --backend docker{' --gpus none' if cpu else ''} ...")


@contextmanager
def _progress(output: Output, title: str) -> Iterator[Callable[[BuildStep | Progress], None]]:
    """A bar on a terminal, else a line for every step that takes time."""
    from skillrun.image_build import BuildStep

    if not sys.stderr.isatty():

        def say(event: BuildStep | Progress) -> None:
            if isinstance(event, BuildStep) and event.text.startswith(LONG_STEPS):
                output.say(f"{title}: {_words(event)}")

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(event: BuildStep | Progress) -> None:
            done, total = (
                (event.number - 1, event.steps) if isinstance(event, BuildStep) else (event.done, event.total or None)
            )
            bar.update(task, description=f"{title}: {_words(event)}", completed=done, total=total)

        yield show


def _words(event: BuildStep | Progress) -> str:
    from skillrun.image_build import BuildStep

    if isinstance(event, BuildStep):
        return f"{event.number}/{event.steps} {event.text[:60]}"
    return f"base {event.phase} {event.done / 1e6:.0f}/{event.total / 1e6:.0f} MB"
