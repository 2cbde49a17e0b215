"""What the MCP server offers to read, and how it says no."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from skillrun import bank
from skillrun.agent.dialects import tell
from skillrun.agent.resources import LOG_BYTES
from skillrun.agent.server import make_server
from skillrun.agent.tools import TOOLS
from skillrun.runfolder import RunFolder

# Both eras of the protocol: one with a handshake, one without.
ERAS = ("auto", "legacy")


def ask(root: Path, questions: Callable[[Client], Awaitable[Any]], era: str = "auto") -> Any:
    async def run() -> Any:
        async with Client(make_server(root), mode=era) as client:
            return await questions(client)

    return anyio.run(run)


def read(root: Path, address: str) -> str:
    async def one(client: Client) -> str:
        found = await client.read_resource(address)
        return str(found.contents[0].text)  # type: ignore[union-attr]

    return str(ask(root, one))


def refused(root: Path, address: str) -> str:
    """The code with which it is refused; empty where there is none."""

    async def one(client: Client) -> str:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(address)
        return str((caught.value.data or {}).get("code", ""))

    return str(ask(root, one))


def a_run(root: Path, run_id: str = "261121-000000-train-aaaa") -> RunFolder:
    run = RunFolder(root / "runs" / run_id)
    run.path.mkdir(parents=True)
    run.write_record(run_id=run.run_id, action="train", handle=None)
    return run


@pytest.mark.parametrize("era", ERAS)
def test_the_tools_are_told_as_they_are_printed(era: str, workspace: Path) -> None:
    async def listed(client: Client) -> list[dict[str, Any]]:
        return [tool.model_dump(by_alias=True, exclude_none=True) for tool in (await client.list_tools()).tools]

    assert ask(workspace, listed, era) == tell(TOOLS, "mcp")


def test_every_listed_resource_can_be_read(workspace: Path) -> None:
    run = a_run(workspace)
    run.log.write_text("the last word\n", encoding="utf-8")
    (run.path / "report.html").write_text("<!doctype html>", encoding="utf-8")
    (run.path / "report.json").write_text("{}", encoding="utf-8")

    async def all_of_them(client: Client) -> dict[str, str]:
        listed = (await client.list_resources()).resources
        return {one.uri: (await client.read_resource(one.uri)).contents[0].text for one in listed}  # type: ignore[union-attr]

    found = ask(workspace, all_of_them)
    for action in bank.actions("visual_changenet"):
        assert found[f"skillrun://templates/visual_changenet/{action}"] == bank.template("visual_changenet", action)
        assert f"skillrun://schemas/visual_changenet/{action}" in found
    assert found["skillrun://skills/visual-changenet"].startswith("---\n")
    assert found[f"skillrun://runs/{run.run_id}/log"] == "the last word\n"
    assert found[f"skillrun://runs/{run.run_id}/report"] == "<!doctype html>"
    assert found[f"skillrun://runs/{run.run_id}/numbers"] == "{}"


def test_only_the_end_of_a_long_log_is_read_from_a_full_line_on(workspace: Path) -> None:
    run = a_run(workspace)
    lines = [f"line {number} ü" for number in range(30_000)]
    run.log.write_text("\n".join(lines), encoding="utf-8")
    text = read(workspace, f"skillrun://runs/{run.run_id}/log")
    assert len(text.encode()) <= LOG_BYTES and text.splitlines() == lines[-len(text.splitlines()) :]


def test_an_address_leads_nowhere_but_to_what_is_offered(workspace: Path) -> None:
    outside = a_run(workspace / "elsewhere")
    outside.log.write_text("secret", encoding="utf-8")
    hidden = quote(str(outside.path), safe="")
    assert refused(workspace, f"skillrun://runs/{hidden}/log") == "E_RUN_NOT_FOUND"
    assert refused(workspace, "skillrun://runs/..%2F..%2Fetc/log") == "E_RUN_NOT_FOUND"
    assert refused(workspace, "skillrun://schemas/..%2F../train") == "E_RESOURCE_UNKNOWN"
    assert refused(workspace, "skillrun://templates/visual_changenet/..%2Fskill_info.yaml") == "E_RESOURCE_UNKNOWN"
    assert refused(workspace, "skillrun://skills/..%2F..") == "E_SKILL_UNKNOWN"
    assert refused(workspace, "file:///etc/hostname") == ""


def test_a_report_that_nobody_wrote_is_named_with_the_way_to_it(workspace: Path) -> None:
    run = a_run(workspace)
    assert refused(workspace, f"skillrun://runs/{run.run_id}/report") == "E_REPORT_MISSING"


@pytest.mark.parametrize("era", ERAS)
def test_an_error_of_a_tool_is_an_answer_and_an_unknown_tool_is_none(era: str, workspace: Path) -> None:
    async def wrong(client: Client) -> None:
        answer = await client.call_tool("skillrun_wait_run", {"run": "none"})
        assert answer.is_error and '"E_RUN_NOT_FOUND"' in answer.content[0].text  # type: ignore[union-attr]
        answer = await client.call_tool("skillrun_wait_run", {"rnu": "none"})
        assert answer.is_error and "did you mean run?" in answer.content[0].text  # type: ignore[union-attr]
        with pytest.raises(MCPError, match="there is no tool"):
            await client.call_tool("skillrun_no", {})

    ask(workspace, wrong, era)


def test_several_calls_go_on_at_once(workspace: Path) -> None:
    async def both(client: Client) -> None:
        run = a_run(workspace)
        answers: list[str] = []

        async def wait(seconds: float) -> None:
            await client.call_tool("skillrun_wait_run", {"run": run.run_id, "timeout_s": seconds})
            answers.append(str(seconds))

        async with anyio.create_task_group() as group:
            group.start_soon(wait, 2)
            await client.list_tools()
            await wait(0)
        assert answers == ["0", "2"]

    ask(workspace, both)


def test_without_the_library_the_command_says_what_to_install() -> None:
    hidden = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'mcp' else find(name, *more)\n"
        "sys.argv = ['skillrun', 'mcp']\n"
        "from skillrun.cli import main\nmain()\n"
    )
    ended = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 3 and "error[E_MCP_MISSING]" in ended.stderr and "pip install" in ended.stderr
