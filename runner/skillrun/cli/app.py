"""Wiring of the command line; each noun has a module of its own."""

from __future__ import annotations

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


def build() -> typer.Typer:
    """The whole command tree; a model's group appears when the bank holds its schemas."""
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
    documented = typer.Typer(help="The documented launcher spelling: model MODEL ACTION -e spec.yaml key=value.")
    deploy = typer.Typer(help="The documented launcher spelling for TensorRT actions.")
    for name in bank.models():
        app.add_typer(model.group(name), name=name)
        documented.add_typer(model.launcher_group(name), name=name)
        deploy.add_typer(model.launcher_group(name, deploy=True), name=name)
    app.add_typer(runs.app, name="runs")
    app.add_typer(automl.app, name="automl")
    app.add_typer(data.app, name="data")
    app.add_typer(images.app, name="images")
    app.add_typer(bundle.app, name="bundle")
    app.command("tools")(tools.tools)
    app.command("stage")(stage.stage)
    app.command("parents")(parents.parents)
    app.command("card")(card.card)
    app.command("threshold")(threshold.threshold)
    app.command("doctor")(doctor.doctor)
    app.command("explain")(explain.explain)
    app.command("report")(report.report)
    app.add_typer(skills.app, name="skills")
    app.add_typer(bank_commands.app, name="bank")
    app.add_typer(documented, name="model")
    app.add_typer(deploy, name="deploy")
    return app


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
        build()()
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
