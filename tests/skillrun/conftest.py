"""A local S3-compatible store, and a line to it that counts, holds and drops."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest

KEY, SECRET = "AKIAEXAMPLEKEY", "not/so+secret=words"
_REQUEST = re.compile(rb"(?:^|\r\n)(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP/1\.1\r\n")


@dataclass
class Line:
    """A TCP proxy between the client and the store.

    Attributes:
        down: bytes that went to clients.
        requests: ``METHOD path?query`` of what clients asked, in order.
        cuts: a connection is dropped when it has brought so many bytes; one entry a connection.
        hold_at: from so many bytes (of all) on, nothing more goes through; ``held`` is set then.
        hold_puts: after so many requests with ``PUT`` nothing more goes to the store; ``held`` is set then.
        up_cut: a connection is dropped when a client has sent so many bytes on it.
        closed: every connection is dropped at once.
        drops: so many of the next connections are dropped at once.
    """

    upstream: tuple[str, int]
    down: int = 0
    requests: list[str] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    hold_at: int | None = None
    hold_puts: int | None = None
    up_cut: int | None = None
    closed: bool = False
    drops: int = 0
    held: Event = field(default_factory=Event)
    freed: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [Thread(target=self._accept, daemon=True)]
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads[0].start()

    def asked(self, method: str) -> list[str]:
        return [one for one in self.requests if one.startswith(f"{method} ")]

    def stop(self) -> None:
        self.freed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.closed or self.drops > 0:
                self.drops -= 1
                return
            with socket.create_connection(self.upstream) as server:
                up = Thread(target=self._up, args=(client, server), daemon=True)
                up.start()
                self._down(server, client)
                for one in (client, server):
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                up.join(10)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        sent, whole = 0, True
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                self.requests += [f"{found[1].decode()} {found[2].decode()}" for found in _REQUEST.finditer(data)]
                sent += len(data)
                if self.hold_puts is not None and len(self.asked("PUT")) > self.hold_puts:
                    self.held.set()
                    self.freed.wait(60)
                    whole = False
                    break
                if self.up_cut is not None and sent >= self.up_cut:
                    client.shutdown(socket.SHUT_RDWR)
                    whole = False
                    break
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR if whole else socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        came = 0
        limit: int | None = None
        while data := server.recv(1 << 16):
            if limit is None and self.cuts and came + len(data) > 2048:  # an answer that carries bytes
                limit = self.cuts.pop(0)
            if limit is not None and came + len(data) > limit:
                client.sendall(data[: max(0, limit - came)])
                return
            if self.hold_at is not None and self.down >= self.hold_at:
                self.held.set()
                self.freed.wait(60)
            self.down += len(data)
            came += len(data)
            client.sendall(data)


@dataclass
class Store:
    """The store: ``client`` talks to it directly, ``line`` is what the code under test uses."""

    client: Any
    line: Line
    direct: str

    def fill(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Make the bucket where it is missing, and put the objects in it."""
        self.client.create_bucket(Bucket=bucket)
        for key, data in objects.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        answer = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for one in answer.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        with self.client.get_object(Bucket=bucket, Key=key)["Body"] as body:
            return bytes(body.read())

    def ask_for_credentials(self) -> None:
        """From now on the store looks at who asks, until the end of the test."""
        post(f"{self.direct}/moto-api/reset-auth", b"0")


def post(url: str, body: bytes) -> None:
    with urlopen(Request(url, data=body, headers={"Content-Type": "text/plain"}, method="POST")) as answer:
        answer.read()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[str, int]]:
    """moto's server, on a free port; yields host and port."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()


@pytest.fixture
def s3(s3_server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Iterator[Store]:
    """An empty store; the environment leads to it through its line."""
    import boto3

    direct = f"http://{s3_server[0]}:{s3_server[1]}"
    post(f"{direct}/moto-api/reset-auth", b"inf")
    post(f"{direct}/moto-api/reset", b"")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    nowhere = tmp_path_factory.mktemp("aws") / "none"
    line = Line(s3_server)
    given = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(nowhere),
        "AWS_SHARED_CREDENTIALS_FILE": str(nowhere),
        "AWS_ENDPOINT_URL": line.url,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", endpoint_url=direct)
    try:
        yield Store(client, line, direct)
    finally:
        client.close()
        line.stop()
        post(f"{direct}/moto-api/reset-auth", b"inf")
