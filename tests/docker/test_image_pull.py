"""Images from a real registry: fetched with progress, and every refusal told apart."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from docker import DockerClient
from skillrun import images
from skillrun.errors import BackendError, CredentialsError, NotFoundError
from skillrun.image_pull import explain, login
from skillrun.images import ImageReference
from skillrun.progress import Progress

# bcrypt of user:secret, the one form that the registry reads
HTPASSWD = "user:$2y$05$IZe2PvPxbo6AY9lkmKVHuOAyTETmatv9ucWWcta0pAs3xfaaaB10G\n"
LAYER_BYTES = 3_000_000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _registry(folder: Path, *, closed: bool) -> Iterator[str]:
    """A registry on a port of its own; plain HTTP, which engines allow on 127.0.0.0/8."""
    program = shutil.which("docker-registry")
    if program is None:
        if os.environ.get("SKILLRUN_REQUIRE_ENGINE"):
            pytest.fail("a registry is required here: apt-get install docker-registry")
        pytest.skip("no registry program: apt-get install --no-install-recommends docker-registry")
    folder.mkdir()
    port = _free_port()
    (folder / "htpasswd").write_text(HTPASSWD, encoding="utf-8")
    guard = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n" if closed else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n{guard}",
        encoding="utf-8",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _wait_for(port, process, folder)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 15
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"the registry did not start: {(folder / 'log').read_text(encoding='utf-8')[-500:]}")


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _registry(tmp_path_factory.mktemp("open") / "r", closed=False) as host:
        yield host


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _registry(tmp_path_factory.mktemp("closed") / "r", closed=True) as host:
        yield host


@pytest.fixture
def pushed(
    engine: DockerClient, open_registry: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[ImageReference]:
    """An image that the open registry has and the engine has not."""
    name = f"{open_registry}/team/{request.node.name.replace('_', '-')[:40].strip('-')}:1.0"
    _make(engine, tmp_path, name)
    _must_push(engine.api.push(name, stream=True, decode=True))
    engine.images.remove(name, force=True)
    yield images.resolve(name)
    for image in engine.images.list(name.rpartition(":")[0]):
        engine.images.remove(image.id, force=True)


def _make(engine: DockerClient, folder: Path, name: str) -> None:
    """A layer that does not compress and that no engine has yet, so that every byte is transferred."""
    import io
    import os
    import tarfile

    archive, content = folder / "layer.tar", os.urandom(LAYER_BYTES)
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("random")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    repository, _, tag = name.rpartition(":")
    engine.api.import_image_from_file(str(archive), repository=repository, tag=tag)


def _must_push(events: Any) -> None:
    for event in events:
        assert "error" not in event, event


def _silent(progress: Progress) -> None:
    pass


def _never(progress: Progress) -> None:
    pytest.fail("something was fetched")


def test_a_missing_image_is_fetched_with_progress_in_bytes(engine: DockerClient, pushed: ImageReference) -> None:
    seen: list[Progress] = []
    made = images.ensure(engine, pushed, "missing", seen.append)
    assert made == images.find(engine, pushed.reference)
    last = seen[-1]
    assert last.done == last.total >= LAYER_BYTES
    assert all(step.done <= step.total for step in seen)
    assert {step.phase for step in seen} >= {"downloading", "extracting"}


def test_a_present_image_is_not_fetched_again(engine: DockerClient, pushed: ImageReference) -> None:
    first = images.ensure(engine, pushed, "missing", _silent)
    assert images.ensure(engine, pushed, "missing", _never) == first
    assert images.ensure(engine, pushed, "never", _never) == first


def test_always_brings_what_the_tag_means_now(engine: DockerClient, pushed: ImageReference, tmp_path: Path) -> None:
    old = images.ensure(engine, pushed, "missing", _silent)
    _make(engine, tmp_path, pushed.reference)
    _must_push(engine.api.push(pushed.reference, stream=True, decode=True))
    newer = images.find(engine, pushed.reference)
    engine.api.tag(old, *pushed.reference.rsplit(":", 1), force=True)
    assert images.ensure(engine, pushed, "always", _silent) == newer != old


def test_a_pinned_digest_is_fetched_and_found(engine: DockerClient, pushed: ImageReference) -> None:
    images.ensure(engine, pushed, "missing", _silent)
    pinned = images.resolve(engine.images.get(pushed.reference).attrs["RepoDigests"][0])
    engine.images.remove(pushed.reference, force=True)
    assert "@sha256:" in pinned.reference
    made = images.ensure(engine, pinned, "missing", _silent)
    assert images.ensure(engine, pinned, "never", _never) == made
    engine.images.remove(made, force=True)


def test_never_fetches_nothing_and_tells_how_to_carry_it_here(engine: DockerClient, pushed: ImageReference) -> None:
    with pytest.raises(NotFoundError) as caught:
        images.ensure(engine, pushed, "never", _never)
    assert caught.value.code == "E_IMAGE_MISSING"
    assert "docker save" in caught.value.fix
    assert "docker load" in caught.value.fix


@pytest.mark.parametrize("name", ["nothing/here:1.0", "team/thing:no-such-tag"])
def test_what_the_registry_has_not_is_told_as_that(engine: DockerClient, open_registry: str, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        images.ensure(engine, images.resolve(f"{open_registry}/{name}"), "missing", _silent)
    assert caught.value.code == "E_IMAGE_NOT_FOUND"
    assert name in caught.value.message


@pytest.mark.usefixtures("no_logins")
def test_a_registry_that_wants_a_login_gives_the_command(engine: DockerClient, closed_registry: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        images.ensure(engine, images.resolve(f"{closed_registry}/team/thing:1"), "missing", _silent)
    assert caught.value.code == "E_IMAGE_LOGIN"
    assert caught.value.fix == f"docker login {closed_registry}"


@pytest.fixture
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this user is logged in to stays out of it."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def test_a_host_that_does_not_answer_is_told_at_once_as_offline(engine: DockerClient) -> None:
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        images.ensure(engine, images.resolve(f"127.0.0.1:{_free_port()}/team/thing:1"), "missing", _silent)
    assert caught.value.code == "E_IMAGE_OFFLINE"
    assert caught.value.retryable
    assert "docker load" in caught.value.fix
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("policy", ["never", "missing", "always"])
def test_no_registry_is_asked_for_an_image_of_ours(engine: DockerClient, policy: images.Policy) -> None:
    ours = ImageReference("skillrun/not-built:0", "skillrun.visual_changenet_train", "cpu", published=False)
    with pytest.raises(NotFoundError) as caught:
        images.ensure(engine, ours, policy, _never)
    assert caught.value.code == "E_IMAGE_MISSING"
    assert caught.value.fix.startswith("skillrun images build train --cpu")


def test_the_login_to_the_published_images_names_their_one_user() -> None:
    host = images.resolve("tao_toolkit.pyt").registry
    assert login(host) == f"docker login -u '$oauthtoken' {host}"
    assert login("docker.io") == "docker login"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "E_IMAGE_DISK_FULL"),
        ("toomanyrequests: You have reached your unauthenticated pull rate limit.", "E_IMAGE_RATE_LIMIT"),
        ("pull access denied for a/b, repository does not exist or may require 'docker login'", "E_IMAGE_LOGIN"),
        ("Get https://h/v2/: dial tcp: lookup h: no such host", "E_IMAGE_OFFLINE"),
        ("Get https://h/v2/: x509: certificate signed by unknown authority", "E_IMAGE_TRUST"),
        ("http: server gave HTTP response to HTTPS client", "E_IMAGE_TRUST"),
        ("something that nobody foresaw", "E_IMAGE_PULL"),
    ],
)
def test_refusals_that_can_not_be_brought_about_here_are_told_by_their_words(said: str, code: str) -> None:
    error = explain(images.resolve("host.example/team/thing:1"), said)
    assert error.code == code
    assert error.fix
