"""``skillrun bundle``: one verified file that brings weights, images and wheels to a host without a network."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.options import Json
from skillrun.cli.output import Output
from skillrun.cli.transfers import Transfers

if TYPE_CHECKING:
    from skillrun.bundle import Image, Taken, Weights, Wheel

app = typer.Typer(help="Bring weights, images and wheels to a host without a network.", no_args_is_help=True)

SHORT = 12  # digits of a hash in a table
COLUMNS = ("kind", "name", "size_mb", "sha256", "source", "revision")
File = Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")]


@app.command()
def create(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file, e.g. line.skillrun-bundle.")],
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="SOURCE", help="As `skillrun stage` takes it (default: the backbone)."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="NAME", help="An image (default: ours that are built).")
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--wheels", metavar="DIR", help="These wheels (default: skillrun's and what it requires, by pip)."
        ),
    ] = None,
    no_wheels: Annotated[bool, typer.Option("--no-wheels", help="Leave wheels out.")] = False,
    no_image: Annotated[bool, typer.Option("--no-image", help="Leave images out.")] = False,
    json: Json = False,
) -> None:
    """Collect weights, images and wheels, and write them to one file; prints its path."""
    from skillrun import bundle
    from skillrun.errors import UsageError

    for both, text in (
        (wheels and no_wheels, "--wheels and --no-wheels"),
        (image and no_image, "--image and --no-image"),
    ):
        if both:
            raise UsageError("E_BUNDLE_OPTIONS", f"{text} contradict each other", "leave one of them out")
    output = Output(json)
    content = bundle.Content(tuple(weights or ()), tuple(image or ()), not no_image, wheels, not no_wheels)
    if wheels is None and not no_wheels:
        output.say("wheels: pip collects skillrun's, for this Python and this kind of host")
    with Transfers(output) as transfers:
        made = bundle.create(out, content, partial(transfers.show, "bundle"))
    output.say(f"{len(made.manifest.members)} members, {made.size / 1e6:.1f} MB, sha256 {made.sha256}")
    value = {"path": str(made.path), "size": made.size, "sha256": made.sha256}
    output.data({**value, "bundle": made.manifest.model_dump(mode="json")}, str(made.path))
    output.hint(f"on the other host: skillrun bundle load {shlex.quote(made.path.name)}")


@app.command()
def load(
    file: File,
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Folder for the wheels.", show_default=True)
    ] = Path("skillrun-wheels"),
    json: Json = False,
) -> None:
    """Check all of a bundle, then take over what is not here yet."""
    from skillrun import bundle

    output = Output(json)
    with Transfers(output) as transfers:
        taken = bundle.load(file, into, partial(transfers.show, "bundle"))
    command = bundle.install_command(taken)
    new = sum(one.state == "loaded" for one in taken)
    output.say(f"{file} is whole; {new} of {len(taken)} members are new" if new else f"{file} is whole; nothing is new")
    if json:
        output.data({"members": [one.to_json() for one in taken], "new": new, "install": command}, "")
    else:
        output.table("members", ("state", "kind", "name", "place"), _summary(taken), "the bundle is empty")
    if command:
        output.hint(command)


@app.command()
def show(file: File, json: Json = False) -> None:
    """What a bundle holds; contents are not read, `load` checks them."""
    from skillrun import bundle

    output = Output(json)
    with bundle.opened(file) as found:
        manifest = found.manifest
    output.say(f"made {manifest.created} by skillrun {manifest.skillrun_version}, {found.size / 1e6:.1f} MB")
    if json:
        output.data({"path": str(file), "size": found.size, "bundle": manifest.model_dump(mode="json")}, "")
    else:
        output.table("members", COLUMNS, [_row(member) for member in manifest.members], "the bundle is empty")


def _summary(taken: list[Taken]) -> list[tuple[str, str, str, str]]:
    """A line for each member; one for all wheels of a state."""
    rows: list[tuple[str, str, str, str]]
    rows = [(one.state, one.member.kind, one.member.name, one.place) for one in taken if one.member.kind != "wheel"]
    for state in ("loaded", "already here"):
        wheels = [one for one in taken if one.member.kind == "wheel" and one.state == state]
        if wheels:
            rows.append((state, "wheel", f"{len(wheels)} wheels", str(Path(wheels[0].place).parent)))
    return rows


def _row(member: Weights | Image | Wheel) -> tuple[Any, ...]:
    record = member.model_dump()
    source, revision = record.get("source") or record.get("image_id"), record.get("revision")
    return (member.kind, member.name, f"{member.size / 1e6:.2f}", member.sha256[:SHORT], source, revision)
