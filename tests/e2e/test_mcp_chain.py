"""The whole chain through the Model Context Protocol: plan, launch, wait, result, evaluate the best, report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp import StdioServerParameters
from mcp.client.client import Client

from skillrun.agent.server import make_server
from skillrun.data.synth import synth
from skillrun.runfolder import find_run, list_runs
from skillrun.watch import status

SKILLRUN = str(Path(sys.executable).with_name("skillrun"))
TINY = [
    *("pretrained_backbone=", "model.backbone.type=fan_tiny_8_p4_hybrid", "batch_size=4", "train.threads=1"),
    *("model.decode_head.decoder_params.embed_dim=16", "dataset.classify.workers=0"),
    *("dataset.classify.image_width=32", "dataset.classify.image_height=32"),
]
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "by hand", "version": "1"}}
# A client in a process of its own: launches what it is told, says the run's id, and then waits to be killed.
LAUNCHER = """
import anyio, json, sys
from mcp import StdioServerParameters
from mcp.client.client import Client

async def main():
    async with Client(StdioServerParameters(command=sys.argv[1], args=["mcp", "--workspace", sys.argv[2]])) as client:
        answer = await client.call_tool("skillrun_launch_run", json.loads(sys.argv[3]))
        print(answer.structured_content["run_id"], flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@dataclass
class Agent:
    """One connection, whose answers are held to the schemas that the server told.

    Attributes:
        progress: what was told while each call went on.
    """

    client: Client
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    progress: list[list[tuple[float, str]]] = field(default_factory=list)

    async def meet(self) -> None:
        listed = await self.client.list_tools()
        self.outputs = {tool.name: tool.output_schema or {} for tool in listed.tools}
        assert len(self.outputs) == 12

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        self.progress.append([])
        answer = await self.client.call_tool(f"skillrun_{name}", arguments, progress_callback=self._hear)
        assert not answer.is_error, answer.content
        Draft202012Validator(self.outputs[f"skillrun_{name}"]).validate(answer.structured_content)
        assert json.loads(answer.content[0].text) == answer.structured_content  # type: ignore[union-attr]
        told: dict[str, Any] = answer.structured_content
        return told

    async def _hear(self, progress: float, _total: float | None, message: str | None) -> None:
        self.progress[-1].append((progress, message or ""))

    async def until_done(self, run: str) -> dict[str, Any]:
        while not (told := await self.call("wait_run", run=run, timeout_s=50))["done"]:
            pass
        assert told["state"] == "succeeded", told
        return told

    async def finish(self, train: str, boards: Path) -> None:
        """From a training that was launched to a report of its best checkpoint, read as a resource."""
        await self.until_done(train)
        best = (await self.call("get_result", run=train))["best_checkpoint"]
        asked = {"action": "evaluate", "parent": train, "pick": "best", "eval_data": str(boards / "eval")}
        launched = await self.call("launch_run", key="evaluate", overrides=["train.threads=1"], **asked)
        await self.until_done(launched["run_id"])
        assert (await self.call("resolve_parent", run=train))["checkpoint"] == best
        result = await self.call("get_result", run=launched["run_id"], report=True)
        assert result["metrics"] and Path(result["report"]).is_file()
        page = await self.client.read_resource(f"skillrun://runs/{launched['run_id']}/report")
        assert page.contents[0].text.startswith("<!doctype html>")  # type: ignore[union-attr]


@pytest.fixture
def boards(hostile_dir: Path) -> Path:
    synth(hostile_dir / "boards", task="classify", pairs=8, seed=1, size=32, force=False)
    return hostile_dir / "boards"


def training(boards: Path, epochs: int) -> dict[str, Any]:
    data = {"train_data": str(boards / "train"), "eval_data": str(boards / "eval")}
    return {"action": "train", "backend": "local", "overrides": [*TINY, f"num_epochs={epochs}"], **data}


def by_stdio(root: Path) -> StdioServerParameters:
    return StdioServerParameters(command=SKILLRUN, args=["mcp", "--workspace", str(root)], env=dict(os.environ))


def test_the_whole_chain_goes_through_a_client_in_memory(boards: Path, workspace: Path) -> None:
    async def chain() -> None:
        async with Client(make_server(workspace)) as client:
            agent = Agent(client)
            await agent.meet()
            fields = training(boards, 1)
            planned = await agent.call("plan_run", **fields)
            assert planned["ok"]
            launched = await agent.call("launch_run", key="first", plan_hash=planned["plan_hash"], **fields)
            assert launched["plan_hash"] == planned["plan_hash"]
            await agent.finish(launched["run_id"], boards)
            for told in agent.progress:
                seconds = [second for second, _ in told]
                assert seconds == sorted(set(seconds))
            assert any(word.startswith("running") for told in agent.progress for _, word in told)

    anyio.run(chain)


def test_a_client_that_is_killed_leaves_its_run_and_a_new_one_finishes_the_chain(boards: Path, workspace: Path) -> None:
    fields = training(boards, 2)
    words = [sys.executable, "-c", LAUNCHER, SKILLRUN, str(workspace), json.dumps({**fields, "key": "mine"})]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    run = first.stdout.readline().strip()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not status(find_run(run, workspace)).done  # it had no time to end

    async def pick_up() -> None:
        async with Client(by_stdio(workspace)) as client:
            agent = Agent(client)
            await agent.meet()
            again = await agent.call("launch_run", key="mine", **fields)  # as one does that never got its answer
            assert again["run_id"] == run
            await agent.finish(run, boards)

    anyio.run(pick_up)
    assert len(list(list_runs(workspace))) == 2


def exchange(root: Path, *messages: dict[str, Any]) -> list[str]:
    """Lines that the server writes on stdout, from its start to the close of its stdin."""
    server = subprocess.Popen(
        [SKILLRUN, "mcp", "--workspace", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None
    lines: list[str] = []
    for message in messages:
        server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        server.stdin.flush()
        if "id" in message:
            lines.append(server.stdout.readline())
    rest, _ = server.communicate(timeout=30)
    assert server.returncode == 0
    return lines + rest.splitlines(keepends=True)


def test_stdout_is_the_protocol_and_nothing_else_and_the_tools_are_the_same_bytes(workspace: Path) -> None:
    lines = exchange(
        workspace,
        {"id": 0, "method": "initialize", "params": HELLO},
        {"method": "notifications/initialized"},
        *({"id": number, "method": "tools/list"} for number in range(1, 11)),
        {"id": 11, "method": "tools/call", "params": {"name": "skillrun_check_host", "arguments": {}}},
        {"id": 12, "method": "tools/call", "params": {"name": "skillrun_check_data", "arguments": {"paths": ["/no"]}}},
        {"id": 13, "method": "tools/call", "params": {"name": "skillrun_nothing", "arguments": {}}},
    )
    messages = [json.loads(line) for line in lines]
    assert [message["id"] for message in messages] == list(range(14))
    assert all(message["jsonrpc"] == "2.0" for message in messages) and "\x1b" not in "".join(lines)
    lists = {json.dumps(message["result"]) for message in messages[1:11]}
    assert len(lists) == 1 and len(messages[1]["result"]["tools"]) == 12
    error = json.loads(messages[12]["result"]["content"][0]["text"])
    assert messages[12]["result"]["isError"] and {"code", "message", "fix", "retryable"} <= error.keys()
    assert messages[13]["error"]["data"]["code"] == "E_TOOL_UNKNOWN"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_server_whose_client_says_nothing(number: signal.Signals, workspace: Path) -> None:
    words = [SKILLRUN, "mcp", "--workspace", str(workspace)]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO}
    server.stdin.write(json.dumps(message) + "\n")
    server.stdin.flush()
    assert json.loads(server.stdout.readline())["id"] == 0
    server.send_signal(number)
    said, complaints = server.communicate(timeout=30)
    assert (server.returncode, said) == (-number, "") and "Traceback" not in complaints
