"""A server that behaves like the hub and its CDN, for every part of the suite that needs weights.

Real requests over real sockets; what it has, and how it misbehaves, is set from the test.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from skillrun import staging

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "org/radio"
URI = f"hf://{REPO}/model.safetensors"
GATED = {"X-Error-Code": "GatedRepo"}


def content(size: int, seed: bytes = b"a") -> bytes:
    """Bytes that differ everywhere, the same at every call."""
    return hashlib.shake_256(seed).digest(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Seen:
    """One request: the place is ``hub`` or ``cdn``."""

    place: str
    method: str
    path: str
    headers: Message


@dataclass
class Hub:
    """What the server has, and how it misbehaves; lists are used up, one entry a request.

    Attributes:
        refusals: status and headers of the next answers of any kind.
        cdn_refusals: of the next answers that would carry bytes.
        cuts: after how many bytes of an answer the connection drops.
        drip_s: pause after every block of 256 KiB; ``started`` is set when the first bytes are out.
        hold_at: after so many bytes of an answer nothing more is sent until ``freed`` is set.
    """

    data: bytes = field(default_factory=lambda: content(3 << 20))
    etag: str | None = None
    ranges: bool = True
    lies: bytes | None = None
    drip_s: float = 0.0
    hold_at: int | None = None
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cdn_refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    after_cut: Callable[[], None] = lambda: None
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    cdn_url: str = ""
    started: Event = field(default_factory=Event)
    freed: Event = field(default_factory=Event)

    @property
    def name(self) -> str:
        """What the server calls the content."""
        return self.etag if self.etag is not None else sha256(self.data)

    def asked(self, place: str, method: str = "GET") -> list[Seen]:
        return [one for one in self.seen if (one.place, one.method) == (place, method)]

    def ranges_asked(self) -> list[str | None]:
        return [one.headers.get("Range") for one in self.asked("cdn")]


class Handler(BaseHTTPRequestHandler):
    """Hub paths are ``/org/repo/resolve/revision/file``; everything else carries bytes."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    place: str

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        hub = self.hub
        if self.path.startswith("/api/"):  # what the hub's library asks on its own, once a day
            self._head(404, {"Content-Length": "0"})
            return
        hub.seen.append(Seen(self.place, method, self.path, self.headers))
        bytes_here = self.place == "cdn"
        queue = hub.cdn_refusals if bytes_here and hub.cdn_refusals else hub.refusals
        if queue:
            status, headers = queue.pop(0)
            self._head(status, {"Content-Length": "0", **headers})
        elif bytes_here:
            self._bytes()
        else:
            linked = {"X-Linked-Etag": f'"{hub.name}"', "X-Linked-Size": str(len(hub.data))}
            named = {"X-Repo-Commit": COMMIT, "ETag": '"pointer"', "Accept-Ranges": "bytes", **linked}
            self._head(302, {**named, "Location": f"{hub.cdn_url}/blobs/{hub.name}?sig=1", "Content-Length": "0"})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _bytes(self) -> None:
        hub = self.hub
        data, etag, start = hub.lies or hub.data, f'"{hub.name}"', 0
        if self.headers.get("If-None-Match") == etag:
            self._head(304, {"ETag": etag})
            return
        wanted = self.headers.get("Range") if self.headers.get("If-Range") in (None, etag) else None
        if wanted and hub.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            self._head(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            return
        named = {"ETag": etag} if hub.name else {}
        there = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self._head(206 if start else 200, {**named, **there, "Content-Length": str(len(data) - start)})
        self._send(memoryview(data)[start:])

    def _send(self, data: memoryview) -> None:
        cut = self.hub.cuts.pop(0) if self.hub.cuts else None
        out = data if cut is None else data[:cut]
        try:
            for offset in range(0, len(out), 1 << 18):
                self.wfile.write(out[offset : offset + (1 << 18)])
                self.hub.started.set()
                time.sleep(self.hub.drip_s)
                if self.hub.hold_at is not None and offset >= self.hub.hold_at:
                    self.hub.freed.wait(60)
        except OSError:  # the client was killed
            self.close_connection = True
            return
        if cut is not None:
            self.hub.after_cut()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def hub(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub and its CDN, on two ports; the environment of this process points there, without a token."""
    from huggingface_hub import close_session, constants

    found, servers = Hub(), []
    for place in ("hub", "cdn"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": found, "place": place}))
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    found.url, found.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    monkeypatch.setattr(staging, "WAITS_S", (0.01, 0.02, 0.03))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(workspace / "no-token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("HF_HOME", str(workspace / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield found
    found.freed.set()
    close_session()
    for server in servers:
        server.shutdown()
        server.server_close()
