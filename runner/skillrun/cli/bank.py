"""``skillrun bank``: for maintainers. Schemas and templates are generated from the config classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skillrun.cli.options import Json
from skillrun.cli.output import Output

app = typer.Typer(help="Generate and check schemas, templates and reference tables.", no_args_is_help=True)

Root = Annotated[Path | None, typer.Option("--root", metavar="DIR", help="Bank to work on (default: this checkout).")]


@app.command()
def generate(root: Root = None, json: Json = False) -> None:
    """Write every generated file; says which ones changed."""
    from skillrun.maintain.generate import write

    changed = [str(path) for path in write(_bank(root))]
    Output(json).data({"changed": changed}, "\n".join(changed) or "all generated files are up to date")


@app.command()
def check(root: Root = None, json: Json = False) -> None:
    """Fail when a generated file differs from its source, with what differs in meaning."""
    from skillrun.errors import GateError
    from skillrun.maintain.generate import check as find_drift

    found = [str(difference) for difference in find_drift(_bank(root))]
    text = "\n".join(found) or "the bank is consistent; generated files are up to date"
    Output(json).data({"ok": not found, "differences": found}, text)
    if found:
        raise GateError("E_BANK_DRIFT", f"{len(found)} differences from the sources", "skillrun bank generate")


def _bank(root: Path | None) -> Path:
    from skillrun import bank
    from skillrun.errors import NotFoundError

    if root is not None and not bank.is_bank(root):
        what = f"{root} is no bank: it holds no schemas and references."
        raise NotFoundError("E_BANK_MISSING", what, "skillrun bank check")
    return root or bank.bank_root()
