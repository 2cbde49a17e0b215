"""MCP over HTTP: on this host only, only with the token, and never with a token that is no secret."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from skillrun.agent.loopback import TOKEN_VARIABLE, find_token, token_file
from skillrun.errors import UsageError

SKILLRUN = str(Path(sys.executable).with_name("skillrun"))
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@dataclass
class Server:
    """One that listens."""

    process: subprocess.Popen[str]
    told: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.told["url"])


@pytest.fixture
def server(workspace: Path) -> Iterator[Server]:
    words = [SKILLRUN, "mcp", "--http", "--port", "0", "--json", "--workspace", str(workspace)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    yield Server(process, json.loads(text))
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=30)
    assert rest == "" and "Traceback" not in said and process.returncode in (0, 130), said


def post(url: str, **headers: str | bytes) -> httpx2.Response:
    kinds = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx2.post(url, json=LIST, headers={**kinds, **{name.title(): value for name, value in headers.items()}})


def test_with_the_token_the_same_tools_answer_as_anywhere(server: Server, workspace: Path) -> None:
    path = Path(server.told["token"])
    assert path == token_file(workspace) and path.stat().st_mode & 0o777 == 0o600
    token = path.read_text(encoding="utf-8")

    async def ask() -> None:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as line,
            Client(streamable_http_client(server.url, http_client=line)) as client,
        ):
            assert len((await client.list_tools()).tools) == 12
            answer = await client.call_tool("skillrun_list_runs", {})
            assert answer.structured_content == {"runs": [], "in_all": 0}

    anyio.run(ask)


def test_without_the_token_or_from_a_foreign_page_nothing_answers(server: Server, workspace: Path) -> None:
    token = token_file(workspace).read_text(encoding="utf-8")
    assert post(server.url).status_code == 401
    assert post(server.url, authorization="Bearer x").status_code == 401
    assert post(server.url, authorization=f"Bearer {token}x").status_code == 401
    assert post(server.url, authorization="Bearer ü".encode()).status_code == 401
    assert post(server.url, authorization=f"Basic {token}").status_code == 401
    known = {"authorization": f"Bearer {token}"}
    assert post(server.url, **known, host="inspection.example").status_code in (403, 421)
    assert post(server.url, **known, origin="https://inspection.example").status_code == 403


def test_it_listens_on_this_host_only(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
        line.settimeout(5)
        assert line.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken_is_named_with_a_way_out(workspace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [SKILLRUN, "mcp", "--http", "--port", port, "--json", "--workspace", str(workspace)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    error = json.loads(ended.stdout)["error"]
    assert (ended.returncode, error["code"], error["fix"]) == (8, "E_MCP_PORT", "skillrun mcp --http --port 0")


def test_one_workspace_keeps_its_token(workspace: Path) -> None:
    first = find_token(workspace)
    assert len(first) >= 32 and find_token(workspace) == first
    assert [path.name for path in token_file(workspace).parent.iterdir()] == ["mcp-token"]


@pytest.mark.parametrize("token", ["", "short", "with a blank in the middle", "ü" * 32])
def test_a_token_that_is_no_secret_is_refused(token: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(UsageError) as caught:
        find_token(workspace)
    assert caught.value.code == "E_MCP_TOKEN" and (not token or token not in caught.value.message)


def test_a_token_that_others_can_read_is_refused(workspace: Path) -> None:
    find_token(workspace)
    token_file(workspace).chmod(0o644)
    with pytest.raises(UsageError) as caught:
        find_token(workspace)
    assert caught.value.code == "E_MCP_TOKEN"


def test_a_given_token_is_taken_and_written_nowhere(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "canary-" * 4)
    assert find_token(workspace) == os.environ[TOKEN_VARIABLE]
    assert not token_file(workspace).exists()
