"""``skillrun tools``: the agent's tools, as schemas and as one call from a script."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

_CALL = "call"


def tools(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[call NAME [JSON]]", help="Nothing: print all tools. Or call one, with its fields."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="mcp, openai or anthropic (the latter two strict).")] = "mcp",
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """The tools as an agent is told of them, one a line; or one call, answered by one JSON document on stdout."""
    from skillrun.errors import SkillrunError

    if not words:
        return _print(form, Output(json))
    output = Output(as_json=True)
    try:
        return output.data(_call(words, workspace), "")
    except SkillrunError as error:
        output.error(error.to_json())
        raise typer.Exit(error.exit_code) from error


def _print(form: str, output: Output) -> None:
    from skillrun.agent.dialects import tell
    from skillrun.agent.tools import TOOLS
    from skillrun.errors import UsageError

    if form not in ("mcp", "openai", "anthropic"):
        raise UsageError("E_TOOL_FORMAT", f"--format {form!r} is none of mcp, openai, anthropic", "--format mcp")
    told = tell(TOOLS, form)  # type: ignore[arg-type]
    lines = ",\n".join(json_module.dumps(tool, ensure_ascii=False, separators=(",", ":")) for tool in told)
    output.data({"format": form, "tools": told}, f"[\n{lines}\n]")


def _call(words: list[str], workspace: Path | None) -> dict[str, Any]:
    from skillrun.agent.tools import call
    from skillrun.errors import UsageError
    from skillrun.runfolder import workspace as resolve

    if words[0] != _CALL or len(words) not in (2, 3):
        fix = "skillrun tools call skillrun_list_runs '{}'"
        raise UsageError("E_TOOL_ARGUMENTS", f"a call is: call NAME [JSON]; this is {' '.join(words)[:200]!r}", fix)
    return call(words[1], _read(words[1], *words[2:]), resolve(workspace))


def _read(name: str, text: str = "{}") -> dict[str, Any]:
    from skillrun.errors import UsageError

    fix = f"skillrun tools call {name} '{{}}'"
    try:
        value = json_module.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("E_TOOL_ARGUMENTS", f"{name}: the arguments are no JSON: {error}", fix) from error
    if not isinstance(value, dict):
        raise UsageError("E_TOOL_ARGUMENTS", f"{name}: the arguments are no JSON object", fix)
    return value
