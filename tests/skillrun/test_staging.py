"""Weights from a server that behaves like the hub: real requests over real sockets, and processes that are killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub_server import COMMIT, GATED, REPO, URI, Hub, content, sha256
from skillrun import staging
from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError, UsageError
from skillrun.staging import Progress, Staged, sources, store, transfer
from skillrun.staging.sources import HubFile, LocalFile, WebFile, parse


def fetch(source: str = URI, *, offline: bool = False) -> Staged:
    return staging.stage(source, offline=offline, show=lambda event: None)


def refusal(source: str = URI, *, offline: bool = False) -> SkillrunError:
    with pytest.raises(SkillrunError) as caught:
        fetch(source, offline=offline)
    assert caught.value.fix
    return caught.value


def leftovers() -> list[str]:
    return sorted(path.name for path in store.folder().glob("*.part*"))


# --- what a text means ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf://nvidia/C-RADIOv2-B/model.safetensors", HubFile("nvidia/C-RADIOv2-B", "model.safetensors", "main")),
        ("hf://o/r/sub/w.pth@v1.2", HubFile("o/r", "sub/w.pth", "v1.2")),
        ("hf://o/r/w.pth@refs/pr/3", HubFile("o/r", "w.pth", "refs/pr/3")),
        ("hf://o/r", HubFile("o/r", "model.safetensors", "main")),
        ("nvidia/C-RADIOv2-B", HubFile("nvidia/C-RADIOv2-B", "model.safetensors", "main")),
        ("o/r@abc", HubFile("o/r", "model.safetensors", "abc")),
        ("https://huggingface.co/o/r/resolve/main/a/b.bin?download=true", HubFile("o/r", "a/b.bin", "main")),
        ("https://huggingface.co/o/r/blob/refs%2Fpr%2F1/w%20x.bin", HubFile("o/r", "w x.bin", "refs/pr/1")),
        ("https://mirror.example/hub/o/r/resolve/main/w.bin", HubFile("o/r", "w.bin", "main")),
        ("https://mirror.example/o/r/resolve/main/w.bin", WebFile("https://mirror.example/o/r/resolve/main/w.bin")),
        ("https://huggingface.co/datasets/o/r/resolve/main/w.bin?x=1", None),
    ],
)
def test_every_form_of_a_source_is_recognised(
    text: str, meant: object, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/hub")
    assert parse(text) == (meant or WebFile(text))


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("", UsageError, "E_STAGE_SOURCE"),
        ("a/b\0c", UsageError, "E_STAGE_SOURCE"),
        ("hf://only", UsageError, "E_STAGE_SOURCE"),
        ("hf://o/r/../../x", UsageError, "E_STAGE_SOURCE"),
        ("hf://o/r/w@", UsageError, "E_STAGE_SOURCE"),
        ("https://host:port/x", UsageError, "E_STAGE_SOURCE"),
        ("https:///x", UsageError, "E_STAGE_SOURCE"),
        ("models/w.safetensors", NotFoundError, "E_STAGE_FILE"),
        ("./o/r", NotFoundError, "E_STAGE_FILE"),
        ("/", NotFoundError, "E_STAGE_FILE"),
        ("x" * 5000, NotFoundError, "E_STAGE_FILE"),
    ],
)
def test_what_can_not_be_staged_says_what_to_type(text: str, kind: type[SkillrunError], code: str) -> None:
    with pytest.raises(kind) as caught:
        parse(text)
    assert caught.value.code == code
    assert caught.value.fix


def test_a_local_file_is_taken_as_it_is_and_hashed_once(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "o").mkdir()
    file = workspace / "o" / "r"
    file.write_bytes(b"weights")
    monkeypatch.chdir(workspace)
    assert parse("o/r") == LocalFile(file), "a file that exists wins over a repository's name"
    first = fetch(str(file))
    assert (first.path, first.sha256, first.size, first.revision) == (file, sha256(b"weights"), 7, "")
    moment = file.stat().st_mtime_ns
    file.write_bytes(b"another")
    os.utime(file, ns=(moment, moment))
    assert fetch(str(file)).sha256 == first.sha256, "same size, same time: not read again"
    os.utime(file, ns=(moment, moment + 1))
    assert fetch(str(file)).sha256 == sha256(b"another")


def test_a_local_file_needs_no_writable_cache(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "file").write_bytes(b"x")
    monkeypatch.setenv("SKILLRUN_CACHE", str(workspace / "file" / "below"))
    assert fetch(str(workspace / "file")).sha256 == sha256(b"x")
    assert refusal().code == "E_STAGE_CACHE"


def test_secrets_of_an_address_are_not_repeated(hub: Hub) -> None:
    found = fetch(f"{hub.cdn_url.replace('//', '//user:hidden@')}/w.pth?sig=hidden")
    assert found.source == f"{hub.cdn_url}/w.pth"
    written = "".join(path.read_text() for path in (store.folder() / "index").iterdir())
    assert "hidden" not in written


# --- the straight way ----------------------------------------------------------------------------------------------


def test_a_file_arrives_verified_at_a_pinned_commit_and_only_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    events: list[Progress] = []
    staged = staging.stage(REPO, show=events.append)
    assert staged.path.read_bytes() == hub.data
    assert (staged.source, staged.revision) == (URI, COMMIT)
    assert (staged.sha256, staged.size) == (sha256(hub.data), len(hub.data))
    assert staged.path.name == "model.safetensors"
    assert staged.path.stat().st_mode & 0o777 == 0o444
    assert events[-1] == Progress("downloading", len(hub.data), len(hub.data))
    assert leftovers() == []
    assert COMMIT in hub.asked("hub")[0].path
    assert all(one.headers["Authorization"] == "Bearer hf_secret" for one in hub.seen if one.place == "hub")
    assert all(one.headers["Authorization"] is None for one in hub.seen if one.place == "cdn"), "no token off the hub"
    before = len(hub.seen)
    assert fetch(f"{hub.url}/{REPO}/blob/main/model.safetensors") == staged
    assert [one.method for one in hub.seen[before:]] == ["HEAD"]
    before = len(hub.seen)
    assert fetch(f"{URI}@{COMMIT}").path == staged.path
    assert len(hub.seen) == before, "a commit that is here needs no question"


def test_what_a_plan_brought_is_found_without_a_network_by_the_name_that_was_asked_for(hub: Hub) -> None:
    pinned = staging.pin(REPO, show=lambda event: None)
    assert (pinned.source, pinned.asked) == (f"{URI}@{COMMIT}", URI)
    assert refusal(offline=True).code == "E_STAGE_OFFLINE", "a pin alone brings nothing"
    staging.bring(pinned, show=lambda event: None)
    assert len(hub.asked("cdn")) == 1
    before = len(hub.seen)
    assert fetch(REPO, offline=True).path == pinned.path
    assert staging.pin(REPO, offline=True, show=lambda event: None) == pinned
    assert len(hub.seen) == before


def test_an_old_plan_does_not_turn_a_branch_back(hub: Hub) -> None:
    old = staging.pin(REPO, show=lambda event: None)
    staging.bring(old, show=lambda event: None)
    hub.data = content(2 << 20, b"new")
    new = fetch()
    staging.bring(old, show=lambda event: None)
    assert fetch(offline=True) == new


def test_the_same_content_at_another_revision_is_not_fetched_again(hub: Hub) -> None:
    first = fetch()
    assert fetch(f"{URI}@v2").path == first.path
    assert len(hub.asked("cdn")) == 1


def test_a_small_file_is_checked_by_its_git_hash(hub: Hub) -> None:
    hub.data = b"config"
    hub.etag = hashlib.sha1(b"blob 6\0config").hexdigest()
    assert fetch().sha256 == sha256(b"config")
    assert fetch().size == 6
    assert len(hub.asked("cdn")) == 1
    hub.data, hub.etag = b"gifnoc", "f" * 40
    assert refusal().code == "E_STAGE_HASH"


def test_a_damaged_kept_file_is_fetched_again(hub: Hub) -> None:
    staged = fetch()
    staged.path.chmod(0o644)
    staged.path.write_bytes(b"\0" * staged.size)
    assert refusal(offline=True).code == "E_STAGE_OFFLINE"
    assert fetch().path.read_bytes() == hub.data


def test_an_address_is_asked_whether_it_changed(hub: Hub) -> None:
    address = f"{hub.cdn_url}/files/w.pth"
    first = fetch(address)
    assert (first.revision, first.path.name) == (hub.name, "w.pth")
    assert fetch(address) == first
    assert hub.asked("cdn")[1].headers["If-None-Match"] == f'"{hub.name}"'
    hub.data = content(1000, b"new")
    assert fetch(address).sha256 == sha256(hub.data)
    hub.refusals = [(403, {})]
    assert refusal(address).code == "E_URL_REFUSED"
    hub.refusals = [(404, {})]
    assert refusal(address).code == "E_URL_NOT_FOUND"


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "token", "kind", "code"),
    [
        (401, GATED, "", CredentialsError, "E_HUB_NO_TOKEN"),
        (401, {}, "", CredentialsError, "E_HUB_NO_TOKEN"),
        (403, GATED, "hf_x", CredentialsError, "E_HUB_NOT_ACCEPTED"),
        (401, {}, "hf_x", CredentialsError, "E_HUB_TOKEN_REFUSED"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "hf_x", CredentialsError, None),
        (403, {}, "hf_x", CredentialsError, "E_HUB_TOKEN_REFUSED"),
        (401, {"X-Error-Code": "RepoNotFound"}, "", NotFoundError, "E_HUB_NOT_FOUND"),
        (404, {"X-Error-Code": "RepoNotFound"}, "hf_x", NotFoundError, "E_HUB_NOT_FOUND"),
        (404, {"X-Error-Code": "EntryNotFound"}, "", NotFoundError, "E_HUB_NOT_FOUND"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "", NotFoundError, "E_HUB_NOT_FOUND"),
        (404, {}, "", NotFoundError, "E_HUB_NOT_FOUND"),
        (400, {}, "", BackendError, "E_HUB_UNREACHABLE"),
    ],
)
@pytest.mark.parametrize("where", ["metadata", "bytes"])
def test_a_refusal_is_final_and_says_which(
    status: int,
    headers: dict[str, str],
    token: str,
    kind: type[SkillrunError],
    code: str | None,
    where: str,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    (hub.refusals if where == "metadata" else hub.cdn_refusals).append((status, headers))
    error = refusal()
    assert isinstance(error, kind)
    assert error.code == (code or "E_HUB_TOKEN_REFUSED")
    assert "hf_x" not in error.message + error.fix
    expected = ["HEAD"] if where == "metadata" else ["HEAD", "GET", "GET"]
    assert [one.method for one in hub.seen] == expected, "never asked twice"


def test_a_missing_file_and_a_missing_revision_are_named(hub: Hub) -> None:
    hub.refusals = [(404, {"X-Error-Code": "EntryNotFound"}), (404, {"X-Error-Code": "RevisionNotFound"})]
    assert "no file 'model.safetensors'" in refusal().message
    assert "no revision 'v9'" in refusal(f"{URI}@v9").message


def test_a_rate_limit_is_waited_for_as_the_server_asks_and_then_told(hub: Hub) -> None:
    hub.refusals = [(429, {"Retry-After": "1"})]
    before = time.monotonic()
    assert fetch().size == len(hub.data)
    assert time.monotonic() - before >= 1
    hub.data = content(1000, b"other")
    hub.refusals = [(429, {"Retry-After": "0"})] * 4
    error = refusal()
    assert (error.code, error.exit_code, error.retryable) == ("E_HUB_RATE_LIMIT", 8, True)
    hub.refusals = [(429, {"Retry-After": "3600"})]
    assert refusal().code == "E_HUB_RATE_LIMIT", "nobody waits an hour without a word"


def test_a_server_error_is_tried_again_and_then_told(hub: Hub) -> None:
    hub.refusals, hub.cdn_refusals = [(500, {}), (503, {})], [(502, {})]
    assert fetch().size == len(hub.data)
    hub.data = content(1000, b"other")
    hub.refusals = [(500, {})] * 4
    error = refusal()
    assert (error.code, error.retryable) == ("E_HUB_UNREACHABLE", True)
    assert "500" in error.message


def test_a_server_that_is_away_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        error = refusal()
    assert error.code == "E_HUB_UNREACHABLE"
    assert "--offline" in error.fix


# --- interrupted downloads -----------------------------------------------------------------------------------------


def test_a_dropped_connection_goes_on_where_it_stopped(hub: Hub) -> None:
    hub.cuts = [1_000_000, 1_000_001, 7]
    assert fetch().path.read_bytes() == hub.data
    assert hub.ranges_asked() == [None, "bytes=1000000-", "bytes=2000001-", "bytes=2000008-"]


def test_more_drops_than_tries_are_survived_while_bytes_arrive(hub: Hub) -> None:
    hub.cuts = [100_000] * 20
    assert fetch().sha256 == sha256(hub.data)
    hub.data, hub.cuts = content(1000, b"other"), [0] * 99
    assert refusal().code == "E_HUB_UNREACHABLE"
    assert len(hub.cuts) == 95, "without a new byte patience ends"


def test_a_server_that_ignores_ranges_sends_all_again(hub: Hub) -> None:
    hub.ranges, hub.cuts = False, [1_000_000, 2_000_000]
    assert fetch().path.read_bytes() == hub.data
    assert hub.ranges_asked()[1:] == ["bytes=1000000-", "bytes=2000000-"]


@pytest.mark.parametrize("source", ["hub", "address"])
def test_content_that_changes_between_tries_is_fetched_from_the_start(source: str, hub: Hub) -> None:
    new = content(2 << 20, b"new")

    def change() -> None:
        hub.data = new

    hub.cuts, hub.after_cut = [1_000_000], change
    staged = fetch(URI if source == "hub" else f"{hub.cdn_url}/w.pth")
    assert staged.path.read_bytes() == new
    assert hub.ranges_asked() == [None, None if source == "hub" else "bytes=1000000-"]


def test_wrong_bytes_of_the_right_size_are_refused_and_not_kept(hub: Hub) -> None:
    hub.lies = content(len(hub.data), b"lie")
    error = refusal()
    assert (error.code, error.exit_code) == ("E_STAGE_HASH", 8)
    assert leftovers() == []
    assert refusal(offline=True).code == "E_STAGE_OFFLINE"


@pytest.mark.parametrize("extra", [-1000, 1000])
def test_a_file_of_another_size_than_declared_is_refused(extra: int, hub: Hub) -> None:
    hub.lies = content(len(hub.data) + extra)
    assert refusal().code in ("E_STAGE_HASH", "E_HUB_UNREACHABLE")
    assert refusal(offline=True).code == "E_STAGE_OFFLINE"


@pytest.mark.parametrize("size", [1_000_000, 3 << 20, (3 << 20) + 5])
def test_a_damaged_part_is_fetched_from_the_start(size: int, hub: Hub) -> None:
    part = part_of(URI)
    part.begin(hub.name)
    part.path.write_bytes(b"\0" * size)
    assert fetch().path.read_bytes() == hub.data


def test_a_complete_part_needs_no_bytes(hub: Hub) -> None:
    part = part_of(URI)
    part.begin(hub.name)
    part.path.write_bytes(hub.data)
    assert fetch().path.read_bytes() == hub.data
    assert hub.asked("cdn") == []


def part_of(text: str) -> transfer.Part:
    root = store.folder()
    root.mkdir(parents=True, exist_ok=True)
    return transfer.Part(root / f"{store.key_of(text)}.part")


# --- the disk ------------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_told_before_any_byte(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    free = transfer.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: free)
    error = refusal()
    assert (error.code, error.exit_code) == ("E_STAGE_DISK_FULL", 3)
    assert "3 MB" in error.message
    assert hub.asked("cdn") == []


def test_a_disk_that_fills_up_on_the_way_is_told(hub: Hub) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError) as caught:
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    part_of(URI).path.symlink_to("/dev/full")
    error = refusal()
    assert (error.code, error.exit_code) == ("E_STAGE_DISK_FULL", 3)


# --- offline -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_asks_nobody(how: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = fetch()
    before = len(hub.seen)
    if how != "argument":
        monkeypatch.setenv(how, "1")
    offline = how == "argument"
    assert fetch(offline=offline) == staged
    assert fetch(REPO, offline=offline) == staged
    assert fetch(f"{URI}@{COMMIT}", offline=offline).path == staged.path, "the commit that a plan recorded"
    error = refusal("hf://org/other/w.pth", offline=offline)
    assert error.code == "E_STAGE_OFFLINE"
    assert "skillrun stage hf://org/other/w.pth" in error.fix
    assert len(hub.seen) == before


def test_a_cache_carried_to_another_place_is_found_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, cache = fetch(), store.folder().parent
    moved = cache.with_name("moved")
    cache.rename(moved)
    monkeypatch.setenv("SKILLRUN_CACHE", str(moved))
    assert fetch(offline=True).sha256 == staged.sha256
    assert fetch(offline=True).path.is_relative_to(moved)


# --- processes -----------------------------------------------------------------------------------------------------

PROGRAM = "from skillrun.cli.stage import stage\nimport sys, typer\ntyper.run(stage)"


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the process ended before its time"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def large(size: int) -> bytes:
    """Quickly made, with a period that is no multiple of any block: bytes at a wrong offset are wrong bytes."""
    block = content((1 << 20) + 7)
    return (block * (size // len(block) + 1))[:size]


def killed_on_the_way(hub: Hub, after: int) -> int:
    """Kill -9 a process that has more than ``after`` bytes; returns how many it left."""
    process = started(URI)
    try:
        wait_until(lambda: part_of(URI).size > after, process)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    return part_of(URI).size


def test_of_400_mb_a_killed_process_leaves_what_one_of_two_next_ones_completes(hub: Hub) -> None:
    hub.data = large(400_000_000)
    hub.etag = sha256(hub.data)
    hub.hold_at = 250_000_000
    arrived = killed_on_the_way(hub, 150_000_000)
    assert 150_000_000 < arrived < 260_000_000, "killed while bytes arrive"
    hub.freed.set()
    both = [started("--json", URI) for _ in range(2)]
    answers = [ended(process) for process in both]
    staged = [json.loads(out) for out, _ in answers]
    with Path(staged[0]["path"]).open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == hub.etag
    assert staged[0] == staged[1]
    assert staged[0]["sha256"] == hub.etag
    assert hub.ranges_asked() == [None, f"bytes={arrived}-"], "the second of the two fetched nothing"
    assert "checking" in "".join(err for _, err in answers)
    assert leftovers() == []


def test_two_processes_fetch_once(hub: Hub) -> None:
    hub.data, hub.drip_s = content(20 << 20), 0.02
    first = started(URI)
    hub.started.wait(60)
    second = started(URI)
    answers = [ended(first), ended(second)]
    assert answers[0][0] == answers[1][0]
    assert "waiting for another process" in answers[1][1]
    assert len(hub.asked("cdn")) == 1


def test_the_command_prints_the_path_and_tells_the_rest_on_stderr(hub: Hub) -> None:
    out, err = ended(started(URI))
    assert Path(out.rstrip("\n")).read_bytes() == hub.data
    assert sha256(hub.data) in err
    assert "next: skillrun visual_changenet train" in err


def test_names_from_servers_are_harmless() -> None:
    assert WebFile("https://h/a/..%2F..%2Fetc%2Fpasswd").name == "passwd"
    assert WebFile("https://h/").name == "weights"
    assert WebFile("https://h/%2e%2e").name == "weights"
    assert sources.HubFile("o/r", "ü x.bin", "main").name == "__x.bin"
