"""The tools and resources as a server of the Model Context Protocol.

The protocol's library frames messages and speaks both of its eras; what is offered comes from `skillrun.agent.tools`
and `skillrun.agent.resources`. A tool works in a thread, so several calls go on at once and tell their progress.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate

from skillrun import __version__
from skillrun.agent import resources
from skillrun.agent.dialects import tell
from skillrun.agent.tool import Tool
from skillrun.agent.tools import TOOLS, call, tool
from skillrun.errors import NotFoundError, SkillrunError

INSTRUCTIONS = (
    "Trains, evaluates and runs Visual ChangeNet, which compares a test image with a golden one. "
    "skillrun_read_skills first. A run: skillrun_plan_run, skillrun_launch_run with a key of yours and the plan_hash, "
    "skillrun_wait_run until done, skillrun_get_result. Runs go on without you. Errors carry their fix."
)
# Seconds between two notes of progress.
PACE_S = 2.0
_LONG_MS = 3_600_000

_Context = ServerRequestContext[Any, Any]
_ADDRESSES = [(UriTemplate.parse(kind.address), kind) for kind in resources.KINDS]


def make_server(root: Path) -> Server[Any]:
    """A server for one workspace; `serve_stdio` and `skillrun.agent.loopback` put it on a wire.

    Args:
        root: absolute workspace folder.
    """
    told = types.ListToolsResult(tools=[types.Tool.model_validate(one) for one in tell(TOOLS, "mcp")])

    async def list_tools(_context: _Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return told

    async def call_tool(context: _Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        return await _call(context, params, root)

    async def list_resources(
        _context: _Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=await anyio.to_thread.run_sync(lambda: list(_resources(root))))

    async def list_templates(
        _context: _Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[_template(kind) for kind in resources.KINDS])

    async def read_resource(_context: _Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await anyio.to_thread.run_sync(_read, params.uri, root)

    return Server(
        "skillrun",
        version=__version__,
        title="skillrun",
        instructions=INSTRUCTIONS,
        cache_hints={
            "tools/list": CacheHint(_LONG_MS, "public"),
            "resources/templates/list": CacheHint(_LONG_MS, "public"),
        },
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _call(context: _Context, params: types.CallToolRequestParams, root: Path) -> types.CallToolResult:
    try:
        asked = tool(params.name)
    except NotFoundError as error:
        raise MCPError(types.INVALID_PARAMS, error.message, error.to_json()) from error
    arguments = params.arguments or {}
    async with anyio.create_task_group() as group:
        group.start_soon(_tell_progress, context, asked, arguments, root)
        result = await anyio.to_thread.run_sync(_answer, asked.name, arguments, root, abandon_on_cancel=True)
        group.cancel_scope.cancel()
    return result


async def _tell_progress(context: _Context, asked: Tool, arguments: Mapping[str, Any], root: Path) -> None:
    """How many seconds the call works by now, and in words how far it is; clients that did not ask hear nothing."""
    began = time.monotonic()
    while True:
        await anyio.sleep(PACE_S)
        word = await anyio.to_thread.run_sync(_course, asked, arguments, root, abandon_on_cancel=True)
        await context.session.report_progress(round(time.monotonic() - began, 3), message=word)


def _course(asked: Tool, arguments: Mapping[str, Any], root: Path) -> str:
    if asked.course is None:
        return "at work"
    try:
        return asked.course(asked.read(arguments), root)
    except SkillrunError as error:
        return error.message


def _answer(name: str, arguments: Mapping[str, Any], root: Path) -> types.CallToolResult:
    """The answer as structure and as the same JSON in text; an error is one that the agent reads and mends."""
    try:
        answer = call(name, arguments, root)
    except SkillrunError as error:
        return types.CallToolResult(content=[_text(error.to_json())], is_error=True)
    return types.CallToolResult(content=[_text(answer), *_links(answer)], structured_content=answer)


def _text(value: Mapping[str, Any]) -> types.TextContent:
    return types.TextContent(text=json.dumps(value, ensure_ascii=False, default=str))


def _links(answer: Mapping[str, Any]) -> Iterator[types.ResourceLink]:
    """Where a report that was written just now can be read."""
    if answer.get("report"):
        address = resources.REPORT.at({"run": answer["run_id"]})
        yield types.ResourceLink(uri=address, name=f"report of {answer['run_id']}", mime_type=resources.REPORT.mime)


def _resources(root: Path) -> Iterator[types.Resource]:
    for kind in resources.KINDS:
        for values in kind.known(root):
            name = f"{kind.name} {' '.join(values.values())}"
            yield types.Resource(uri=kind.at(values), name=name, description=kind.description, mime_type=kind.mime)


def _template(kind: resources.Kind) -> types.ResourceTemplate:
    return types.ResourceTemplate(
        uri_template=kind.address, name=kind.name, description=kind.description, mime_type=kind.mime
    )


def _read(address: str, root: Path) -> types.ReadResourceResult:
    kind, values = _find(address)
    try:
        text = kind.read(values, root)
    except SkillrunError as error:
        raise MCPError(types.INVALID_PARAMS, error.message, error.to_json()) from error
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=address, mime_type=kind.mime, text=text)])


def _find(address: str) -> tuple[resources.Kind, dict[str, str]]:
    for pattern, kind in _ADDRESSES:
        values = pattern.match(address)
        if values is not None:
            return kind, {name: str(value) for name, value in values.items()}
    told = f"no resource has the address {address[:200]!r}"
    raise MCPError(types.INVALID_PARAMS, told, {"fix": "list the resources and their templates"})


def serve_stdio(root: Path) -> None:
    """Serve over stdin and stdout until the client closes stdin; logs and stray prints go to stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    # Ctrl-C would wait for the thread that waits for a line. Nothing has to be tidied: jobs and runs stand alone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    async def serve() -> None:
        server = make_server(root)
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)
