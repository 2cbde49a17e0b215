"""``skillrun stage``: bring weights here, once and verified."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Annotated

import typer

from skillrun.cli.options import Json, Offline
from skillrun.cli.output import Output
from skillrun.cli.transfers import Transfers


def stage(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI",
            help="hf://ORG/REPO/FILE[@REVISION], ORG/REPO (its model.safetensors), https://..., or a path.",
        ),
    ],
    offline: Offline = False,
    json: Json = False,
) -> None:
    """Fetch weights into the cache, resumed and checked; prints the path of the file."""
    from skillrun import staging

    output = Output(json)
    with Transfers(output) as transfers:
        staged = staging.stage(uri, offline=offline, show=partial(transfers.show, "weights"))
    revision = f"  revision {staged.revision}" if staged.revision else ""
    output.say(f"{staged.size / 1e6:.1f} MB  sha256 {staged.sha256}{revision}")
    output.data(staged.to_json(), str(staged.path))
    setting = shlex.quote(f"model.backbone.pretrained_backbone_path={staged.path}")
    output.hint(f"skillrun visual_changenet train {setting} ...")
