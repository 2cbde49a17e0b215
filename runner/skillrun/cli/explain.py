"""``skillrun explain``: what a code means, why it happens and what mends it."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.catalogue import Entry

WIDTH = 100


def explain(
    code: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]", help="E_… or W_…, or a pasted line that holds one.")
    ] = None,
    json: Json = False,
) -> None:
    """What an error or a warning means, why it happens and what mends it; without a code, all families."""
    from skillrun import catalogue

    output = Output(json)
    if code:
        entry = catalogue.explain(" ".join(code))
        output.data({"explained": entry.to_json()}, "\n".join(_lines(entry)))
        return
    rows = [(family.name, len(family.codes), family.title) for family in catalogue.families()]
    output.table("families", ("family", "codes", "about"), rows, "the catalogue is empty")
    output.hint(f"skillrun explain CODE; all codes: {catalogue.PAGE}")


def _lines(entry: Entry) -> list[str]:
    ends = " or ".join(map(str, entry.exit_codes)) or "none: the command goes on"
    facts = {"severity": entry.severity, "exit code": ends, "cause": entry.cause, "mend": entry.mend}
    lines = [fill(f"{name:<10} {text}", WIDTH, subsequent_indent=" " * 11) for name, text in facts.items()]
    return [f"{entry.code}: {entry.title}", *lines, f"{'page':<10} {entry.anchor}"]
