"""Data sets from a local S3-compatible store, and from other addresses: real requests, processes that are killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from skillrun import staging
from skillrun.errors import (
    BackendError,
    CredentialsError,
    DataError,
    NotFoundError,
    PreflightError,
    SkillrunError,
    UsageError,
)
from skillrun.remote import fetch
from skillrun.remote.content import md5_of_parts
from skillrun.remote.data import BLOCK
from skillrun.staging import Progress

MIB = 1 << 20
BOARDS = {
    "set/dataset.csv": b"input_path,golden_path,label,object_name\n",
    "set/images/a b.png": b"first",
    "set/images/ü/é ☃.png": b"second",
    "set/images/empty.png": b"",
    "set/images/": b"",
}
CHILD = """
import sys
from pathlib import Path
from skillrun.remote import fetch
print(fetch(sys.argv[1], Path(sys.argv[2]), offline=False, show=lambda progress: print(progress.phase, flush=True)))
"""


def content(size: int, seed: bytes = b"a") -> bytes:
    return hashlib.shake_256(seed).digest(size)


def get(url: str, cache: Path, *, offline: bool = False, seen: list[Progress] | None = None) -> Path:
    return fetch(url, cache, offline=offline, show=(seen if seen is not None else []).append)


def refused(kind: type[SkillrunError], url: str, cache: Path, *, offline: bool = False) -> SkillrunError:
    with pytest.raises(kind) as caught:
        get(url, cache, offline=offline)
    return caught.value


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def child(url: str, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, url, str(cache)], stdout=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "WAITS_S", (0.01, 0.01, 0.01))


def test_a_folder_of_a_bucket_becomes_a_folder_here(s3: Any, hostile_dir: Path) -> None:
    s3.fill("boards", {**BOARDS, "other/x": b"no"})
    seen: list[Progress] = []
    folder = get("s3://boards/set/", hostile_dir, seen=seen)
    wanted = {name.removeprefix("set/"): data for name, data in BOARDS.items() if not name.endswith("/")}
    assert files(folder) == wanted
    assert seen[-1] == Progress("downloading", sum(map(len, wanted.values())), sum(map(len, wanted.values())))
    assert folder.is_relative_to(hostile_dir / "data")


def test_what_is_here_is_not_asked_for_again(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    first = get("s3://boards/set", tmp_path)
    before = len(s3.line.requests)
    assert get("s3://boards/set/", tmp_path) == first
    assert len(s3.line.requests) == before + 1, "one listing"


def test_a_changed_data_set_is_another_folder_and_the_old_one_stays_as_it_was(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    old = get("s3://boards/set", tmp_path)
    kept = files(old)
    s3.client.put_object(Bucket="boards", Key="set/images/a b.png", Body=b"other")
    s3.client.delete_object(Bucket="boards", Key="set/images/empty.png")
    before = len(s3.line.requests)
    new = get("s3://boards/set", tmp_path)
    assert new != old and files(old) == kept
    assert (new / "images/a b.png").read_bytes() == b"other"
    assert not (new / "images/empty.png").exists()
    assert len(s3.line.requests) == before + 2, "a listing and the one object that changed"
    assert (new / "dataset.csv").samefile(old / "dataset.csv")


def test_one_object_becomes_one_file(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"deep/images.tar": b"tar", "deep/images.tar.md5": b"x"})
    file = get("s3://boards/deep/images.tar", tmp_path)
    assert file.name == "images.tar" and file.read_bytes() == b"tar"
    assert get("s3://boards/deep/images.tar", tmp_path, offline=True) == file


def test_a_whole_bucket_can_be_named(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"a": b"1", "b/c": b"2"})
    assert files(get("s3://boards", tmp_path)) == {"a": b"1", "b/c": b"2"}


def test_a_file_that_was_edited_here_is_fetched_anew(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    folder = get("s3://boards/set", tmp_path)
    image = folder / "images/a b.png"
    image.chmod(0o644)
    image.write_bytes(b"FIRST")
    assert refused(NotFoundError, "s3://boards/set", tmp_path, offline=True).code == "E_REMOTE_OFFLINE"
    assert get("s3://boards/set", tmp_path) == folder
    assert image.read_bytes() == b"first"


def test_a_killed_process_is_continued_where_it_stopped(s3: Any, tmp_path: Path) -> None:
    data = content(6 * BLOCK)
    s3.fill("boards", {"set/big.tar": data})
    s3.line.hold_at = 3 * BLOCK
    with child("s3://boards/set", tmp_path) as process:
        assert s3.line.held.wait(60)
        process.send_signal(signal.SIGKILL)
    (part,) = tmp_path.rglob("*.part")
    have = part.stat().st_size
    assert have >= 2 * BLOCK
    s3.line.hold_at = None
    s3.line.freed.set()
    before = s3.line.down
    folder = get("s3://boards/set", tmp_path)
    assert (folder / "big.tar").read_bytes() == data
    assert s3.line.down - before < len(data) - have + BLOCK
    assert not list(tmp_path.rglob("*.part"))


def test_two_processes_fetch_once(s3: Any, tmp_path: Path) -> None:
    objects = {f"set/{number}": content(MIB, bytes([number])) for number in range(4)}
    s3.fill("boards", objects)
    s3.line.hold_at = MIB
    with child("s3://boards/set", tmp_path) as one:
        assert s3.line.held.wait(60)
        with child("s3://boards/set", tmp_path) as two:
            assert two.stdout and two.stdout.readline() == "waiting for another process\n"
            s3.line.hold_at = None
            s3.line.freed.set()
            ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in (two, one)]
    assert (one.returncode, two.returncode) == (0, 0)
    assert ends[0] == ends[1]
    assert len([one for one in s3.line.asked("GET") if "list-type" not in one]) == 4
    assert s3.line.down < sum(map(len, objects.values())) + MIB // 2


def test_a_dropped_connection_is_mended(s3: Any, tmp_path: Path) -> None:
    data = content(3 * BLOCK + 7)
    s3.fill("boards", {"set/big": data, "set/small": b"s" * 5000})
    s3.line.cuts = [3000, 1_000_000, 2_500_000]
    seen: list[Progress] = []
    folder = get("s3://boards/set", tmp_path, seen=seen)
    assert (folder / "big").read_bytes() == data
    assert s3.line.cuts == []
    assert any("next try in" in one.phase for one in seen)


def test_a_store_without_an_answer_is_told_after_some_tries(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    s3.line.closed = True
    error = refused(BackendError, "s3://boards/set", tmp_path)
    assert (error.code, error.retryable) == ("E_REMOTE_UNREACHABLE", True)
    assert "s3://boards/set" in error.message and s3.line.url.removeprefix("http://") in error.message


def test_offline_asks_nothing(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    assert refused(NotFoundError, "s3://boards/set", tmp_path, offline=True).code == "E_REMOTE_OFFLINE"
    assert s3.line.requests == []
    folder = get("s3://boards/set", tmp_path)
    s3.client.put_object(Bucket="boards", Key="set/new", Body=b"new")
    before = len(s3.line.requests)
    assert get("s3://boards/set", tmp_path, offline=True) == folder
    assert len(s3.line.requests) == before


def test_a_bucket_that_is_gone_takes_nothing_away_here(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"set/a": b"1"})
    folder = get("s3://boards/set", tmp_path)
    s3.client.delete_object(Bucket="boards", Key="set/a")
    s3.client.delete_bucket(Bucket="boards")
    error = refused(NotFoundError, "s3://boards/set", tmp_path)
    assert error.code == "E_REMOTE_NOT_FOUND" and "no such bucket" in error.message
    assert files(folder) == {"a": b"1"}


def test_nothing_there_and_an_empty_folder_are_told_apart(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"made/": b"", "x": b"1"})
    assert refused(NotFoundError, "s3://boards/none", tmp_path).code == "E_REMOTE_NOT_FOUND"
    assert refused(DataError, "s3://boards/made", tmp_path).code == "E_REMOTE_EMPTY"
    s3.fill("bare", {})
    assert refused(DataError, "s3://bare", tmp_path).code == "E_REMOTE_EMPTY"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("set/../x", "leads out"),
        ("set//etc/passwd", "is absolute"),
        ("set/a//b", "an empty part"),
        ("set/./a", "leads out"),
        ("set/a\\..\\b", "a backslash"),
        ("set/good/", "as a folder"),
        ("set/good/below", "as a folder"),
        ("set/" + "ü" * 128, "more than 255 bytes"),
        ("set/a\tb", "a control character"),
    ],
)
def test_a_name_that_can_be_no_file_is_refused_by_name(s3: Any, tmp_path: Path, key: str, why: str) -> None:
    s3.fill("boards", {"set/good": b"1", key: b""})
    error = refused(DataError, "s3://boards/set", tmp_path)
    assert error.code == "E_REMOTE_NAME" and why in error.message
    assert repr(key.removeprefix("set/")) in error.message
    assert [one for one in s3.line.asked("GET") if "list-type" not in one] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_wrong_key_is_told_without_the_key(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", BOARDS)
    s3.ask_for_credentials()
    error = refused(CredentialsError, "s3://boards/set", tmp_path)
    assert error.code == "E_REMOTE_CREDENTIALS" and "InvalidAccessKeyId" in error.message
    assert not any(os.environ[name] in str(error.to_json()) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    assert len(s3.line.requests) == 1, "no second try"


def test_a_user_without_the_right_to_read_is_told_so(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    s3.fill("boards", BOARDS)
    iam = boto3.session.Session().client("iam", endpoint_url=s3.direct)
    iam.create_user(UserName="guest")
    key = iam.create_access_key(UserName="guest")["AccessKey"]
    iam.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    s3.ask_for_credentials()
    assert refused(CredentialsError, "s3://boards/set", tmp_path).code == "E_REMOTE_FORBIDDEN"
    assert len(s3.line.requests) == 1, "no second try"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "a part"),
        ({"AWS_PROFILE": "line-7"}, "'line-7'"),
    ],
)
def test_missing_credentials_are_told_before_any_request(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], word: str
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    error = refused(CredentialsError, "s3://boards/set", tmp_path)
    assert error.code == "E_REMOTE_CREDENTIALS" and word in error.message
    assert s3.line.requests == []


def test_an_object_sent_in_parts_is_checked_by_the_md5_of_its_parts(s3: Any, tmp_path: Path) -> None:
    data = content(12 * MIB)
    s3.fill("boards", {})
    sent = s3.client.create_multipart_upload(Bucket="boards", Key="set/big")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(data), 5 * MIB), 1):
        answer = s3.client.upload_part(
            Bucket="boards", Key="set/big", UploadId=sent, PartNumber=number, Body=data[start : start + 5 * MIB]
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    done = s3.client.complete_multipart_upload(
        Bucket="boards", Key="set/big", UploadId=sent, MultipartUpload={"Parts": parts}
    )
    file = get("s3://boards/set", tmp_path) / "big"
    assert file.read_bytes() == data
    assert md5_of_parts(file, 5 * MIB) == done["ETag"].strip('"')
    asked = s3.line.asked("HEAD")
    assert len(asked) == 1 and "partNumber=1" in asked[0]


def test_a_damaged_part_of_an_earlier_process_is_dropped(s3: Any, tmp_path: Path) -> None:
    data = content(2 * BLOCK)
    s3.fill("boards", {"set/big": data})
    s3.line.hold_at = BLOCK + MIB
    with child("s3://boards/set", tmp_path) as process:
        assert s3.line.held.wait(60)
        process.kill()
    s3.line.hold_at = None
    s3.line.freed.set()
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(b"!" * part.stat().st_size)
    assert (get("s3://boards/set", tmp_path) / "big").read_bytes() == data


def test_bytes_that_are_not_the_object_are_an_error(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    s3.fill("boards", {"set/a": b"right"})
    monkeypatch.setattr(S3FileSystem, "cat_file", lambda self, key, start, end: b"wrong"[start:end], raising=False)
    error = refused(BackendError, "s3://boards/set", tmp_path)
    assert error.code == "E_REMOTE_HASH" and "'a'" in error.message
    assert not list(tmp_path.rglob("*.part"))


def test_an_object_that_changes_under_way_is_no_mixture(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"set/big": content(2 * BLOCK)})

    def show(progress: Progress) -> None:
        if progress.phase == "downloading" and progress.done == BLOCK:
            s3.client.put_object(Bucket="boards", Key="set/big", Body=content(2 * BLOCK, b"b"))

    with pytest.raises(BackendError) as caught:
        fetch("s3://boards/set", tmp_path, offline=False, show=show)
    assert (caught.value.code, caught.value.retryable) == ("E_REMOTE_CHANGED", True)
    assert (get("s3://boards/set", tmp_path) / "big").read_bytes() == content(2 * BLOCK, b"b")


def test_an_object_under_the_stores_own_key_is_checked_by_its_size(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    s3.fill("boards", {})
    s3.client.put_object(Bucket="boards", Key="set/a", Body=b"12345", ServerSideEncryption="aws:kms")
    monkeypatch.setattr(S3FileSystem, "cat_file", lambda self, key, start, end: b"right"[start:end], raising=False)
    assert files(get("s3://boards/set", tmp_path)) == {"a": b"right"}, "its etag is no hash"


def test_odd_signs_in_an_address_are_part_of_the_name(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {"line #7?\u3000x/a": b"1"})
    assert files(get("s3://boards/line #7?\u3000x", tmp_path)) == {"a": b"1"}
    assert "line #7?y" in refused(NotFoundError, "s3://boards/line #7?y", tmp_path).message


def test_dropped_connections_and_open_ones_leave_nothing_on_stderr(s3: Any, tmp_path: Path) -> None:
    s3.fill("boards", {**BOARDS, "set/big": content(BLOCK)})
    s3.line.drops, s3.line.cuts = 1, [3000]
    shorter = CHILD.replace("import sys", "import sys; from skillrun import staging; staging.WAITS_S = (0.01,) * 9", 1)
    script = (
        f"{shorter}\nfrom skillrun.remote import upload\nupload(Path(sys.argv[3]), 's3://boards/out', lambda p: None)"
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log").write_bytes(content(MIB))
    command = [sys.executable, "-W", "error", "-c", script, "s3://boards/set", str(tmp_path), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert s3.names("boards", "out") == ["out/run/log"]


def test_a_full_disk_is_told_before_the_first_byte(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.fill("boards", BOARDS)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 5, 5))
    assert refused(PreflightError, "s3://boards/set", tmp_path).code == "E_STAGE_DISK_FULL"
    assert [one for one in s3.line.asked("GET") if "list-type" not in one] == []


def test_a_cache_that_can_not_be_made_is_told(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    assert refused(PreflightError, "s3://boards/set", tmp_path).code == "E_REMOTE_CACHE"


def test_a_scheme_without_its_client_names_what_to_install(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    from fsspec.registry import _registry

    monkeypatch.delitem(_registry, "s3", raising=False)
    error = refused(PreflightError, "s3://boards/set", tmp_path)
    assert (error.code, error.fix) == ("E_REMOTE_CLIENT", "pip install 'skillrun[s3]'")
    assert "gcsfs" in refused(PreflightError, "gs://boards/set", tmp_path).fix


@pytest.mark.parametrize("url", ["s3://", "boards/set", "nosuch://a/b", "simplecache::s3://a/b", "s3://a/\nb"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    assert refused(UsageError, url, tmp_path).code == "E_REMOTE_URL"


@pytest.mark.parametrize(("bucket", "endpoint"), [("A B", None), ("boards", "nonsense")])
def test_an_impossible_bucket_or_endpoint_is_a_usage_error(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str, endpoint: str | None
) -> None:
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert refused(UsageError, f"s3://{bucket}/set", tmp_path).code == "E_REMOTE_URL"


def test_a_secret_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    error = refused(SkillrunError, "nosuch://user:topsecret@host/a?sig=topsecret", tmp_path)
    assert "topsecret" not in str(error.to_json())


def test_any_address_of_fsspec_is_read(tmp_path: Path, hostile_dir: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/boards/set/a": b"1", "/boards/set/b/c": b"", "/boards/set/big": content(2 * BLOCK)})
    try:
        folder = get("memory://boards/set", tmp_path)
        assert files(folder) == {"a": b"1", "b/c": b"", "big": content(2 * BLOCK)}
        assert get("memory://boards/set", tmp_path, offline=True) == folder
    finally:
        memory.rm("/boards", recursive=True)
    source = hostile_dir / "set"
    (source / "images").mkdir(parents=True)
    (source / "images" / "ü.png").write_bytes(b"x")
    assert files(get(f"file://{source}", tmp_path)) == {"images/ü.png": b"x"}
    assert get(f"file://{source}/images/ü.png", tmp_path).read_bytes() == b"x"
    assert refused(NotFoundError, f"file://{source}/none", tmp_path).code == "E_REMOTE_NOT_FOUND"
    (source / "empty").mkdir()
    assert refused(DataError, f"file://{source}/empty", tmp_path).code == "E_REMOTE_EMPTY"
