"""Results of a run, sent to a local S3-compatible store."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillrun import staging
from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError, UsageError
from skillrun.remote import Uploaded, check_target, upload
from skillrun.staging import Progress

MIB = 1 << 20
RUN = "261120-223612-train-4f1c"
CHILD = """
import sys
from pathlib import Path
from skillrun.remote import upload
upload(Path(sys.argv[1]), sys.argv[2], lambda progress: None)
"""


def content(size: int, seed: bytes = b"a") -> bytes:
    return hashlib.shake_256(seed).digest(size)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def send(folder: Path, url: str = "s3://results/line 7") -> Uploaded:
    return upload(folder, url, lambda progress: None)


def puts(s3: Any) -> list[str]:
    return [one.rpartition("/")[2] for one in s3.line.asked("PUT")]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "WAITS_S", (0.01, 0.01, 0.01))


@pytest.fixture
def run(hostile_dir: Path) -> Path:
    """A run's folder with an empty file, odd names and one larger file."""
    folder = hostile_dir / RUN
    (folder / "results" / "train").mkdir(parents=True)
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "result.json").write_text('{"metrics": {}}', encoding="utf-8")
    (folder / "stdout.log").touch()
    (folder / "results" / "train" / "ü b?.png").write_bytes(b"picture")
    (folder / "results" / "train" / "model.pth").write_bytes(content(MIB))
    return folder


def test_everything_is_sent_and_the_result_comes_last(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    seen: list[Progress] = []
    told = upload(run, "s3://results/line 7/", seen.append)
    here = files(run)
    assert told == Uploaded(5, sum(map(len, here.values())), f"s3://results/line 7/{RUN}", 5, ())
    assert set(s3.names("results")) == {f"line 7/{RUN}/{name}" for name in here}
    assert {name: s3.read("results", f"line 7/{RUN}/{name}") for name in here} == here
    assert puts(s3)[-1].startswith("result.json") and puts(s3).count("result.json") == 1
    assert [one for one in seen if one.phase == "uploading"][-1].done == len(here["result.json"])


def test_a_repeated_upload_sends_what_differs_and_the_result_again(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    send(run)
    assert send(run).sent == 0
    (run / "stdout.log").write_text("a line\n", encoding="utf-8")
    s3.line.requests.clear()
    assert send(run).sent == 2
    assert puts(s3) == ["stdout.log", "result.json"]
    assert s3.line.asked("DELETE"), "the old result stood for the old state"
    assert s3.read("results", f"line 7/{RUN}/stdout.log") == b"a line\n"


def test_a_store_that_drops_the_line_leaves_all_here_and_no_result_there(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    before = files(run)
    s3.line.up_cut = 300_000
    with pytest.raises(BackendError) as caught:
        send(run)
    error = caught.value
    assert (error.code, error.retryable) == ("E_RESULTS_UPLOAD", True)
    assert error.fix.endswith(f"skillrun runs upload {RUN} 's3://results/line 7'")
    assert repr(str(run)) in error.message
    assert files(run) == before
    assert not [name for name in s3.names("results") if name.endswith("result.json")]
    s3.line.up_cut = None
    there = len(s3.names("results"))
    assert send(run).sent == len(before) - there
    assert set(s3.names("results")) == {f"line 7/{RUN}/{name}" for name in before}


def test_a_killed_upload_is_completed_by_the_next(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    for number in range(12):
        (run / "results" / f"{number}.bin").write_bytes(content(MIB, bytes([number])))
    s3.line.hold_puts = 6
    with subprocess.Popen([sys.executable, "-c", CHILD, str(run), "s3://results/a"]) as process:
        assert s3.line.held.wait(60)
        process.send_signal(signal.SIGKILL)
    s3.line.hold_puts = None
    s3.line.freed.set()
    there = s3.names("results")
    assert len(there) >= 3 and not any(name.endswith("result.json") for name in there)
    told = send(run, "s3://results/a")
    assert told.sent == len(files(run)) - len(there)
    assert len(s3.names("results")) == len(files(run))


def test_a_connection_that_drops_once_is_mended(s3: Any, run: Path) -> None:
    s3.fill("results", {})

    def show(progress: Progress) -> None:
        phases.append(progress.phase)
        if phases.count("uploading") == 1:
            s3.line.drops = 4

    phases: list[str] = []
    assert upload(run, "s3://results/a", show).sent == 5
    assert len(s3.names("results")) == 5 and s3.line.drops <= 0


def test_a_large_file_sent_in_parts_is_known_again(s3: Any, tmp_path: Path) -> None:
    s3.fill("results", {})
    folder = tmp_path / RUN
    folder.mkdir()
    with (folder / "big.onnx").open("wb") as stream:
        stream.truncate(101 * MIB)
    assert send(folder).sent == 1
    assert s3.client.head_object(Bucket="results", Key=f"line 7/{RUN}/big.onnx")["ETag"].endswith('-3"')
    assert send(folder).sent == 0


def test_links_within_the_run_are_sent_and_others_are_named(s3: Any, run: Path, tmp_path: Path) -> None:
    s3.fill("results", {})
    (tmp_path / "private").write_text("mine", encoding="utf-8")
    (run / "results" / "best.pth").symlink_to("train/model.pth")
    (run / "results" / "away").symlink_to(tmp_path / "private")
    (run / "results" / "broken").symlink_to("nowhere")
    told = send(run)
    assert told.left_out == ("results/away", "results/broken")
    assert s3.read("results", f"line 7/{RUN}/results/best.pth") == content(MIB)


def test_a_run_without_a_result_is_sent_as_it_is(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    (run / "result.json").unlink()
    assert send(run).sent == 4


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_run_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError) as caught:
        send(tmp_path / name)
    assert caught.value.code == "E_RUN_NOT_FOUND"


def test_a_bucket_that_is_not_there_is_a_failed_upload(s3: Any, run: Path) -> None:
    with pytest.raises(BackendError) as caught:
        send(run)
    assert caught.value.code == "E_RESULTS_UPLOAD" and "no such bucket" in caught.value.message


def test_a_target_is_tried_before_the_run_and_left_clean(s3: Any) -> None:
    s3.fill("results", {"line/other": b"1"})
    check_target("s3://results/line/")
    assert s3.names("results") == ["line/other"]
    assert len(s3.line.asked("PUT")) == len(s3.line.asked("DELETE")) == 1


def test_a_target_that_can_not_be_written_is_told_before_the_run(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError) as missing:
        check_target("s3://results/line")
    assert missing.value.code == "E_REMOTE_NOT_FOUND" and "probe" not in missing.value.message
    s3.fill("results", {})
    s3.line.closed = True
    with pytest.raises(BackendError) as away:
        check_target("s3://results/line")
    assert away.value.code == "E_REMOTE_UNREACHABLE"
    s3.line.closed = False
    s3.ask_for_credentials()
    with pytest.raises(CredentialsError) as wrong:
        check_target("s3://results/line")
    assert wrong.value.code == "E_REMOTE_CREDENTIALS"
    with pytest.raises(UsageError):
        check_target("results/line")


def test_credentials_are_in_no_file_and_no_error(s3: Any, run: Path) -> None:
    s3.fill("results", {})
    s3.ask_for_credentials()
    with pytest.raises(SkillrunError) as caught:
        send(run)
    secrets = [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    assert not any(secret in str(caught.value.to_json()) for secret in secrets)
    assert not any(secret.encode() in data for secret in secrets for data in files(run).values())


def test_results_go_to_any_address_of_fsspec(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "share" / "deep"
    check_target(f"file://{target}")
    assert files(target) == {}
    assert send(run, f"file://{target}").sent == 5
    assert files(target / RUN) == files(run)
    assert send(run, f"file://{target}").sent == 5, "a store that tells no hash gets all of it"
