"""Wiring of the command line; each noun has a module of its own."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from skillrun import __version__, bank, signatures
from skillrun.cli import (
    automl,
    bundle,
    card,
    data,
    doctor,
    explain,
    images,
    mcp,
    model,
    parents,
    report,
    runs,
    skills,
    skills_trust,
    stage,
    threshold,
    tools,
)
from skillrun.cli import bank as bank_commands
from skillrun.cli.output import Output
from skillrun.cli.words import json_last
from skillrun.errors import InterruptedRunError, SkillrunError, UsageError

NAME = "skillrun"
TOLD_STEPS = 6  # of a traceback
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
        name=NAME,
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
    app.command("mcp")(mcp.mcp)
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
    return next((word for word in skills_trust.taken(sys.argv[1:])[0] if not word.startswith("-")), "")


def _asks_json() -> bool:
    """Whether ``--json`` was typed; what follows ``--`` are values."""
    words = sys.argv[1:]
    return "--json" in words[: words.index("--")] if "--" in words else "--json" in words


def _version(wanted: bool) -> None:
    if wanted:
        Output(_asks_json()).data({"version": __version__}, f"skillrun {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    require_signed: Annotated[
        Path | None,
        typer.Option(
            skills_trust.OPTION,
            metavar="PUB.pem",
            help=f"Load no bank that this key has not signed (default: ${signatures.VARIABLE}).",
        ),
    ] = None,
) -> None:
    """Train, evaluate and run inspection models, from schema-checked specs."""
    if require_signed:
        skills_trust.require(require_signed)
        bank.bank_root()


def run() -> None:
    """Run the command line; errors become one line with a fix, and the exit code of their class.

    With ``--json`` stdout gets one document, the answer or the error, whatever happens.
    """
    sys.excepthook = _unforeseen
    _open_closed_streams()
    Output.answered = False
    words = sys.argv[1:]
    try:
        words, key = skills_trust.taken(words)
        if key:
            skills_trust.require(key)  # the tree of commands is made of the bank already
        command = get_command(build(_typed()))
        words = json_last(command, words)
        code = command.main(words, prog_name=NAME, standalone_mode=False)
        if code == InterruptedRunError.exit_code:
            raise InterruptedRunError("E_INTERRUPTED", "interrupted", shlex.join([NAME, *words]))
    except TyperException as error:
        sys.exit(_refused(error, words))
    except typer.Abort:
        sys.exit(_end(UsageError("E_CONFIRM", "not confirmed; nothing was done", shlex.join([NAME, *words, "--yes"]))))
    except SkillrunError as error:
        sys.exit(_end(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(_end(SkillrunError("E_FILES", f"{place}{error.strerror or error}.", "skillrun doctor")))
    sys.exit(code)


def _refused(error: TyperException, words: list[str]) -> int:
    """Say why a command line can not be read; a group alone shows its commands instead. The exit code."""
    from typer._click.exceptions import NoArgsIsHelpError

    from skillrun.cli.usage import usage_error

    if isinstance(error, NoArgsIsHelpError) and not _asks_json():
        Output().say(error.format_message())
        return UsageError.exit_code
    return _end(usage_error(error, words))


def _end(error: SkillrunError) -> int:
    """Say an error; the exit code."""
    output = Output(_asks_json() and not Output.answered)
    if isinstance(error, InterruptedRunError) and not output.as_json:
        output.say(error.message)
        return error.exit_code
    # A reader that went away, or a full disk, hears no error either; its exit code is told all the same.
    with suppress(OSError, SkillrunError):
        output.error(error.to_json())
    return error.exit_code


def _unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last resort: what nobody caught is told like any other error, with the places that a report needs."""
    steps = [f"{step.filename}:{step.lineno} in {step.name}" for step in extract_tb(trace)[-TOLD_STEPS:]]
    what = f"this is a defect of skillrun: {kind.__name__}: {error}"
    _end(SkillrunError("E_INTERNAL", what, "skillrun doctor", details=steps))


def _open_closed_streams() -> None:
    """A parent may close stdin or stderr; then nothing is there to be read, and nobody listens."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
