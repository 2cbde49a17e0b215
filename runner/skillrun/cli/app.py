"""Wiring of the command line; each noun has a module of its own."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from skillrun import __version__, bank
from skillrun.cli import (
    automl,
    bundle,
    card,
    data,
    doctor,
    explain,
    images,
    model,
    parents,
    report,
    runs,
    skills,
    stage,
    threshold,
    tools,
)
from skillrun.cli import bank as bank_commands
from skillrun.cli.output import Output
from skillrun.errors import InterruptedRunError, SkillrunError

EPILOG = """Examples:

  skillrun data synth --out boards

  skillrun visual_changenet train --no-automl --train-data boards/train --eval-data boards/eval

  skillrun visual_changenet evaluate --parent last --eval-data boards/eval

  skillrun report last --open

  skillrun explain E_DATA_CSV_BOM
"""


def build(typed: str | None = None) -> typer.Typer:
    """The command tree; a model's group appears when the bank holds its schemas.

    Args:
        typed: the first word that was typed: only its group gets its commands, because making all of them takes longer
            than most commands do. None: the whole tree.
    """
    app = typer.Typer(
        name="skillrun",
        help="Train, evaluate and run inspection models, from schema-checked specs.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)

    def add(group: typer.Typer, name: str) -> None:
        needed = typed in (None, name)
        app.add_typer(group if needed else typer.Typer(help=group.info.help), name=name)

    documented = typer.Typer(help="The documented launcher spelling: model MODEL ACTION -e spec.yaml key=value.")
    deploy = typer.Typer(help="The documented launcher spelling for TensorRT actions.")
    for name in bank.models():
        add(model.group(name), name)
        documented.add_typer(model.launcher_group(name), name=name)
        deploy.add_typer(model.launcher_group(name, deploy=True), name=name)
    add(runs.app, "runs")
    add(automl.app, "automl")
    add(data.app, "data")
    add(images.app, "images")
    add(bundle.app, "bundle")
    app.command("tools")(tools.tools)
    app.command("stage")(stage.stage)
    app.command("parents")(parents.parents)
    app.command("card")(card.card)
    app.command("threshold")(threshold.threshold)
    app.command("doctor")(doctor.doctor)
    app.command("explain")(explain.explain)
    app.command("report")(report.report)
    add(skills.app, "skills")
    add(bank_commands.app, "bank")
    add(documented, "model")
    add(deploy, "deploy")
    return app


def _typed() -> str | None:
    """The first word of the command line; None where a shell asks for completions, which may be of any command."""
    if "_SKILLRUN_COMPLETE" in os.environ:
        return None
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _version(wanted: bool) -> None:
    if wanted:
        Output().data({}, f"skillrun {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train, evaluate and run inspection models, from schema-checked specs."""


def run() -> None:
    """Run the command line; errors become one line with a fix, and the exit code of their class."""
    try:
        build(_typed())()
    except InterruptedRunError as error:
        output = Output("--json" in sys.argv)
        if output.as_json:
            output.error(error.to_json())
        else:
            output.say(error.message)
        sys.exit(error.exit_code)
    except SkillrunError as error:
        Output("--json" in sys.argv).error(error.to_json())
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        Output().say("interrupted")
        sys.exit(130)
