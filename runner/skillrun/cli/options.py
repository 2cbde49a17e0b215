"""Options that several commands share, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        help="Folder that holds runs/ (default: $SKILLRUN_WORKSPACE, else here).",
        metavar="DIR",
    ),
]
RunReference = Annotated[
    str, typer.Argument(metavar="RUN", help="Run id, unique beginning of one, run folder, or 'last'.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="No request to any server: what is here already, or an error.")
]
