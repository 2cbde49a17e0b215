"""``skillrun data convert``: a known data set into the documented layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.data_talk import Destination, Force, bar, say_made
from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.data.layout import DatasetSummary

Task = Annotated[str, typer.Option("--task", help="classify or segment.")]
# Which options besides SRC, DST and --force each converter knows.
KINDS: dict[str, frozenset[str]] = {
    "deeppcb": frozenset({"task", "seed", "centred", "crop", "eval_groups"}),
    "mvtec": frozenset({"task", "seed"}),
    "visa": frozenset({"task", "seed"}),
    "levir": frozenset({"tile"}),
    "folders": frozenset({"task", "seed"}),
}


def convert(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS) + ".")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the original data set.")],
    destination: Destination,
    task: Annotated[
        str | None, typer.Option("--task", help="classify or segment [classify; levir: always segment].")
    ] = None,
    centred: Annotated[
        bool | None, typer.Option("--centred", help="deeppcb: defects in the middle of their crop.")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            min=0, max=640, help="deeppcb: side of a crop in pixels [classify: 64; segment: 0, whole boards]."
        ),
    ] = None,
    eval_groups: Annotated[
        str | None, typer.Option("--eval-groups", help="deeppcb: board groups to hold out, with commas.")
    ] = None,
    tile: Annotated[int | None, typer.Option("--tile", help="levir: side of a tile in pixels [256].")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the split and the crops [0].")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Turn a known data set into the documented layout, with a part held out."""
    if kind == "levir" and task == "segment":
        task = None
    named = {
        "task": task,
        "seed": seed,
        "centred": centred,
        "crop": crop,
        "eval_groups": eval_groups or None,
        "tile": tile,
    }
    given = _known_options(kind, {name: value for name, value in named.items() if value is not None})
    if eval_groups:
        given["eval_groups"] = tuple(name.strip() for name in eval_groups.split(",") if name.strip())
    with bar("converting", Output(json)) as progress:
        summary = _converter(kind)(source, destination, force=force, progress=progress, **given)
    _say_left_out(summary, Output(json))
    side = summary.source.get("crop_px") or summary.source.get("tile_px") or 256
    say_made(summary, destination, int(side), Output(json))


def _known_options(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    from skillrun.errors import UsageError

    if kind not in KINDS:
        names = ", ".join(KINDS)
        raise UsageError(
            "E_CONVERT_KIND", f"there is no converter {kind!r}; there are: {names}", "skillrun data convert --help"
        )
    for name, value in given.items():
        if name not in KINDS[kind]:
            option = "--" + name.replace("_", "-")
            knowing = ", ".join(other for other, options in KINDS.items() if name in options)
            raise UsageError(
                "E_CONVERT_OPTION",
                f"{option} {value} does not go with {kind}; it is for {knowing}.",
                f"Leave out {option}",
            )
    return given


def _converter(kind: str) -> Callable[..., DatasetSummary]:
    from skillrun.data import deeppcb, levir, mvtec, plain, visa

    converters: dict[str, Callable[..., DatasetSummary]] = {
        "deeppcb": deeppcb.convert_deeppcb,
        "mvtec": mvtec.convert_mvtec,
        "visa": visa.convert_visa,
        "levir": levir.convert_levir,
        "folders": plain.convert_folders,
    }
    return converters[kind]


def _say_left_out(summary: DatasetSummary, output: Output) -> None:
    for why, left in summary.source.get("left_out", {}).items():
        names = left["names"][:20]
        more = left["count"] - len(names)
        output.say(f"left out, {why}: {left['count']}: " + ", ".join(names) + (f" and {more} more" if more else ""))
