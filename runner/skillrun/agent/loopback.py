"""The server over streamable HTTP, on this host only, for those who bring the token."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from skillrun.agent.server import make_server
from skillrun.errors import BackendError, UsageError

HOST = "127.0.0.1"
PATH = "/mcp"
TOKEN_VARIABLE = "SKILLRUN_MCP_TOKEN"
TOKEN_CHARACTERS = 16


class _Token:
    """Knows one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def verify_token(self, token: str) -> AccessToken | None:
        """Who brings the token; None for any other."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        return AccessToken(token=token, client_id="skillrun", scopes=[])


def token_file(root: Path) -> Path:
    """Where the token of a workspace lies, when none is in the environment."""
    return root / ".skillrun" / "mcp-token"


def find_token(root: Path) -> str:
    """The token: from ``SKILLRUN_MCP_TOKEN``, else the one of the workspace, which is made when it is missing.

    Raises:
        UsageError: ``E_MCP_TOKEN``: the token is shorter than 16 characters, or others may read its file.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is not None:
        return _checked(given, f"${TOKEN_VARIABLE}", f"export {TOKEN_VARIABLE}=$(openssl rand -hex 32)")
    path = token_file(root)
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        told = f"{path} can not be written: {error.strerror}"
        raise UsageError("E_MCP_TOKEN", told, f"export {TOKEN_VARIABLE}=$(openssl rand -hex 32)") from error
    if path.stat().st_mode & 0o077:
        raise UsageError("E_MCP_TOKEN", f"others may read {path}", f"rm {path}, then skillrun mcp --http")
    return _checked(path.read_text(encoding="utf-8").strip(), str(path), f"rm {path}, then skillrun mcp --http")


def _make(path: Path) -> None:
    """A new token, whole, for this user's eyes; where two servers start at once the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".mcp-token-{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(32), encoding="ascii")
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def _checked(token: str, place: str, fix: str) -> str:
    if len(token) >= TOKEN_CHARACTERS and token.isascii() and token.isprintable() and " " not in token:
        return token
    told = f"the token in {place} is no word of at least {TOKEN_CHARACTERS} ASCII characters"
    raise UsageError("E_MCP_TOKEN", told, fix)


def serve_http(root: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve on 127.0.0.1 until interrupted.

    Args:
        port: 0 takes any free one.
        ready: called with the address once it accepts connections.

    Raises:
        BackendError: ``E_MCP_PORT``: somebody else listens there.
        UsageError: `find_token`.
    """
    token = find_token(root)
    listening = _listen(port)
    origin = f"http://{HOST}:{listening.getsockname()[1]}"
    auth = AuthSettings(issuer_url=AnyHttpUrl(origin), resource_server_url=None)
    app = make_server(root).streamable_http_app(
        streamable_http_path=PATH, host=HOST, auth=auth, token_verifier=_Token(token)
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", access_log=False))
    with listening, suppress(KeyboardInterrupt):  # its way to end, at whatever moment
        ready(f"{origin}{PATH}")
        anyio.run(server.serve, [listening])


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        told = f"port {port} of {HOST}: {error.strerror}"
        raise BackendError("E_MCP_PORT", told, "skillrun mcp --http --port 0") from error
    return listening
