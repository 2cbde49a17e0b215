"""``skillrun mcp``: the agent's tools over the Model Context Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

PORT = 8632


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP on 127.0.0.1, with a token.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="For --http; 0: any free one.")] = PORT,
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Serve the agent's tools over stdin and stdout, which carry nothing but the protocol."""
    import sys

    from skillrun.runfolder import check_writable
    from skillrun.runfolder import workspace as resolve

    _need_library()
    root, output = resolve(workspace), Output(json)
    check_writable(root, what="the workspace")
    if http:
        _http(root, port, output)
    else:
        from skillrun.agent.server import serve_stdio

        if sys.stdin.isatty():
            output.say("serving MCP on stdin and stdout: an agent starts this command (docs/tools.md). Ctrl-D ends it.")
        serve_stdio(root)


def _http(root: Path, port: int, output: Output) -> None:
    import os

    from skillrun.agent.loopback import TOKEN_VARIABLE, serve_http, token_file

    place = f"${TOKEN_VARIABLE}" if TOKEN_VARIABLE in os.environ else str(token_file(root))

    def ready(address: str) -> None:
        output.data({"url": address, "token": place}, address)
        output.say(f"clients send the header Authorization: Bearer TOKEN; the token is in {place}. Ctrl-C ends it.")

    serve_http(root, port, ready)


def _need_library() -> None:
    import importlib.util

    from skillrun.errors import PreflightError

    if importlib.util.find_spec("mcp") is None:
        raise PreflightError("E_MCP_MISSING", "serving MCP needs the package mcp", "pip install 'skillrun[mcp]'")
