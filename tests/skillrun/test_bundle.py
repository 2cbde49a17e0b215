"""Bundles: real files and a real cache; every damage is an error, and nothing of a damaged bundle is taken."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from skillrun import bundle, staging
from skillrun.bundle import archive, disk, gather, manifest
from skillrun.bundle.archive import Piece
from skillrun.bundle.manifest import Image, Manifest, Weights, Wheel, in_order
from skillrun.cli.bundle import app
from skillrun.errors import BackendError, ConflictError, DataError, NotFoundError, PreflightError, UsageError
from skillrun.progress import Progress
from skillrun.staging import store
from skillrun.staging.store import Kept

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BACKBONE = "hf://nvidia/C-RADIOv2-B/model.safetensors"
IMAGE = "team/inspection:1"
NO_ENGINE = "unix:///nowhere/docker.sock"
BLOCK = tarfile.BLOCKSIZE


def silent(event: Progress) -> None:
    """Nobody looks."""


def content(size: int, seed: bytes = b"a") -> bytes:
    """Bytes that differ everywhere, the same at every call."""
    return hashlib.shake_256(seed).digest(size)


@dataclass(frozen=True)
class Host:
    """A host of its own: a cache, a folder for wheels, and no engine."""

    folder: Path

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    def tree(self) -> dict[str, bytes]:
        """Every file that is kept; locks are none."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture
def go(hostile_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Host]:
    """Go to a host: what is called from now on happens there, without a network and without an engine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)

    def arrive(name: str) -> Host:
        host = Host(hostile_dir / name)
        host.folder.mkdir(exist_ok=True)
        monkeypatch.setenv("SKILLRUN_CACHE", str(host.folder / "cache"))
        return host

    return arrive


def keep(source: str, data: bytes, name: str = "model.safetensors", revision: str = COMMIT) -> Kept:
    """Put a file into this host's cache, as a download leaves it."""
    root = store.folder()
    root.mkdir(parents=True, exist_ok=True)
    part = root / "incoming"
    part.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    kept = Kept(source, revision, sha256, sha256, name, len(data))
    store.take_in(root, part, kept)
    store.remember(root, source, kept)
    return kept


def wheel(folder: Path, name: str = "skillrun", seed: bytes = b"w") -> Path:
    """A wheel that pip installs."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-0.1.0-py3-none-any.whl", f"{name}-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(f"{name}_mark.py", f"MARK = {seed!r}\n")
        zipped.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        zipped.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        zipped.writestr(f"{info}/RECORD", f"{name}_mark.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def make(out: Path, *, weights: tuple[str, ...] = (), wheels: Path | None = None) -> bundle.Created:
    """A bundle without images."""
    wanted = bundle.Content(weights, with_images=False, wheels=wheels, with_wheels=wheels is not None)
    return bundle.create(out, wanted, silent)


def with_image(folder: Path) -> Path:
    """A small bundle with one member of each kind; the image's bytes are no engine's."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"weights": content(1500), "image": content(700, b"i"), "wheel": content(300, b"w")}
    for name, value in data.items():
        (folder / name).write_bytes(value)
    sums: dict[str, Any] = {
        name: {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()} for name, value in data.items()
    }
    digest = f"sha256:{'a' * 64}"
    members = in_order(
        [
            Weights(name="model.safetensors", source=BACKBONE, revision=COMMIT, etag="e", **sums["weights"]),
            Image(name=IMAGE, image_id=digest, layers=(digest,), **sums["image"]),
            Wheel(name="skillrun-0.1.0-py3-none-any.whl", **sums["wheel"]),
        ]
    )
    out = folder / "b.skillrun-bundle"
    pieces = [Piece(member, folder / member.kind) for member in members]
    archive.write(out, Manifest(created="2026-01-01T00:00:00+00:00", members=members), pieces, silent)
    return out


def test_weights_of_the_hub_are_found_without_a_network_on_the_other_host(go: Callable[[str], Host]) -> None:
    office = go("office")
    kept = keep(BACKBONE, content(3 << 20))
    made = make(office.folder / "line.skillrun-bundle")
    line = go("line")
    with pytest.raises(NotFoundError, match="has not been staged"):
        staging.stage(BACKBONE, offline=True, show=silent)
    (taken,) = bundle.load(made.path, line.wheels, silent)
    assert taken.state == "loaded"
    for source in (gather.default_sources()[0], BACKBONE, f"{BACKBONE}@{COMMIT}"):
        staged = staging.stage(source, offline=True, show=silent)
        assert (staged.sha256, staged.revision, str(staged.path)) == (kept.sha256, COMMIT, taken.place)
    assert store.recall(store.folder(), BACKBONE) == kept


def test_the_default_weights_are_the_backbone_of_the_contract() -> None:
    assert gather.default_sources() == ("https://huggingface.co/nvidia/C-RADIOv2-B/resolve/main/model.safetensors",)


def test_loading_twice_changes_nothing_and_says_so(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5000))
    wheel(office.wheels)
    made = make(office.folder / "b", wheels=office.wheels)
    line = go("line")
    assert {one.state for one in bundle.load(made.path, line.wheels, silent)} == {"loaded"}
    before = {path: path.stat().st_mtime_ns for path in line.folder.rglob("*") if path.suffix != ".lock"}
    assert {one.state for one in bundle.load(made.path, line.wheels, silent)} == {"already here"}
    assert {path: path.stat().st_mtime_ns for path in line.folder.rglob("*") if path.suffix != ".lock"} == before
    said = CliRunner().invoke(app, ["load", str(made.path), "--into", str(line.wheels)], catch_exceptions=False)
    assert "nothing is new" in said.stderr


def test_a_damaged_file_in_the_cache_is_replaced_by_the_bundles(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5000))
    made = make(office.folder / "b")
    line = go("line")
    (taken,) = bundle.load(made.path, line.wheels, silent)
    place = Path(taken.place)
    place.chmod(0o644)
    place.write_bytes(b"other")
    assert [one.state for one in bundle.load(made.path, line.wheels, silent)] == ["loaded"]
    assert place.read_bytes() == content(5000)


def test_weights_given_by_path_arrive_under_a_harmless_name(go: Callable[[str], Host]) -> None:
    office = go("office")
    own = office.folder / "the best, é'$x.pth"
    own.write_bytes(content(900))
    made = make(office.folder / "b", weights=(str(own),))
    (member,) = made.manifest.members
    assert isinstance(member, Weights)
    assert (member.source, member.name) == ("", "the_best__ __x.pth".replace(" ", "_"))
    line = go("line")
    (taken,) = bundle.load(made.path, line.wheels, silent)
    assert Path(taken.place).read_bytes() == content(900)
    assert str(office.folder).encode() not in made.path.read_bytes()


def test_the_query_of_an_address_is_not_written_into_a_bundle(go: Callable[[str], Host]) -> None:
    office = go("office")
    data = content(400)
    secret = "https://host.example/w.pth?sig=SECRET"
    kept = keep("https://host.example/w.pth", data, "w.pth", "v1")
    store.remember(store.folder(), secret, kept)
    made = make(office.folder / "b", weights=(secret,))
    assert b"SECRET" not in made.path.read_bytes()
    go("line")
    bundle.load(made.path, office.folder / "w", silent)
    assert staging.stage("https://host.example/w.pth", offline=True, show=silent).size == len(data)


def test_wheels_arrive_and_the_printed_command_installs_them(go: Callable[[str], Host], tmp_path: Path) -> None:
    office = go("office")
    keep(BACKBONE, b"weights")
    wheel(office.wheels)
    made = make(office.folder / "b", wheels=office.wheels)
    line = go("line")
    command = bundle.install_command(bundle.load(made.path, line.wheels, silent))
    program, *arguments = shlex.split(command)
    assert program == "pip"
    target = tmp_path / "installed"
    install = [sys.executable, "-m", *shlex.split(command), "--target", str(target), "--no-cache-dir", "-q"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (target / "skillrun_mark.py").is_file()
    assert arguments[-1] == "skillrun"


def test_another_wheel_of_the_same_name_is_kept_and_nothing_is_taken(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5000))
    wheel(office.wheels)
    made = make(office.folder / "b", wheels=office.wheels)
    line = go("line")
    mine = wheel(line.wheels, seed=b"mine").read_bytes()
    before = line.tree()
    with pytest.raises(ConflictError, match="another file") as caught:
        bundle.load(made.path, line.wheels, silent)
    assert "--into" in caught.value.fix
    assert line.tree() == before
    assert (line.wheels / "skillrun-0.1.0-py3-none-any.whl").read_bytes() == mine


def test_a_bundle_is_a_plain_tar_with_its_list_first(go: Callable[[str], Host]) -> None:
    office = go("office")
    kept = keep(BACKBONE, content(5000))
    wheel(office.wheels, "b")
    wheel(office.wheels, "a" * 120)
    made = make(office.folder / "b", wheels=office.wheels)
    with tarfile.open(made.path, "r:") as tar:
        names = tar.getnames()
        first = tar.extractfile(names[0])
        assert first is not None
        listed = json.load(first)
        assert all(tar.getmember(name).isreg() for name in names)
    assert names[0] == "bundle.json"
    assert names[1:] == [member.path for member in made.manifest.members]
    assert [member["kind"] for member in listed["members"]] == ["weights", "wheel", "wheel"]
    assert listed["members"][0]["sha256"] == kept.sha256
    assert listed["members"][0]["source"] == BACKBONE
    assert hashlib.sha256(made.path.read_bytes()).hexdigest() == made.sha256


def test_the_headers_bytes_stay_what_earlier_bundles_have(tmp_path: Path) -> None:
    data = with_image(tmp_path / "made").read_bytes()
    header = b"bundle.json".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    assert data.startswith(header)
    assert data[136:148] == b"00000000000\0"  # the time of change
    assert data[156:157] == tarfile.REGTYPE
    assert data[257:265] == b"ustar  \0"
    assert not any(data[265:BLOCK])


def test_equal_contents_make_equal_bundles(tmp_path: Path) -> None:
    assert with_image(tmp_path / "a").read_bytes() == with_image(tmp_path / "b").read_bytes()


def test_a_file_that_changes_while_the_bundle_is_made_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "skillrun-0.1.0-py3-none-any.whl"
    source.write_bytes(b"first")
    (piece,) = gather.wheels(tmp_path)
    source.write_bytes(b"other")
    with pytest.raises(ConflictError, match="changed while") as caught:
        archive.write(tmp_path / "out", Manifest(created="now", members=(piece.member,)), [piece], silent)
    assert caught.value.code == "E_BUNDLE_CHANGED"
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_an_existing_file_is_not_overwritten(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, b"weights")
    out = office.folder / "b"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(ConflictError, match="exists already"):
        make(out)
    assert out.read_text(encoding="utf-8") == "mine"


def test_a_bundle_that_can_not_be_made_leaves_nothing_behind(go: Callable[[str], Host]) -> None:
    office = go("office")
    with pytest.raises(NotFoundError, match="has not been staged"):
        make(office.folder / "deep" / "b")
    assert list((office.folder / "deep").iterdir()) == []


def test_without_room_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="MB are needed") as caught:
        disk.require_room(tmp_path, 1 << 60)
    assert caught.value.code == "E_BUNDLE_DISK_FULL"


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no wheels"):
        gather.wheels(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        gather.wheels(tmp_path / "absent")


def test_skillruns_wheels_without_an_index_are_an_error_that_names_the_other_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BackendError, match="pip did not make the wheels") as caught:
        gather.fetch_wheels(tmp_path)
    assert "--no-wheels" in caught.value.fix


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a bundle with one member of each kind."""
    return with_image(tmp_path_factory.mktemp("small")).read_bytes()


def refused(data: bytes, folder: Path) -> DataError:
    """The error of loading these bytes; the host is as it was before."""
    path, host = folder / "sent", Host(folder / "line")
    path.write_bytes(data)
    host.folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError) as caught:
        patch.setenv("SKILLRUN_CACHE", str(host.folder / "cache"))
        patch.setenv("DOCKER_HOST", NO_ENGINE)
        bundle.load(path, host.wheels, silent)
    assert list(host.folder.rglob("*")) == []
    assert caught.value.code.startswith("E_BUNDLE_")
    assert str(path) in caught.value.message
    return caught.value


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_one_flipped_bit_anywhere_is_an_error_and_nothing_is_taken(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    flipped = bytearray(small)
    flipped[int(place * len(small))] ^= 1 << bit
    refused(bytes(flipped), tmp_path_factory.mktemp("flip"))


@given(place=st.floats(0, 1, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_a_bundle_that_is_cut_anywhere_is_an_error_and_nothing_is_taken(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, place: float
) -> None:
    refused(small[: int(place * len(small))], tmp_path_factory.mktemp("cut"))


def test_bytes_behind_the_end_are_an_error(small: bytes, tmp_path: Path) -> None:
    assert refused(small + b"x", tmp_path).code == "E_BUNDLE_FOREIGN"
    assert refused(small + bytes(BLOCK), tmp_path).code == "E_BUNDLE_FOREIGN"


@pytest.mark.parametrize("data", [b"", b"{}", b"PK\3\4", content(5000), bytes(5000)])
def test_a_file_that_is_no_bundle_is_told_so(data: bytes, tmp_path: Path) -> None:
    assert refused(data, tmp_path).code == "E_BUNDLE_UNKNOWN"


def test_any_other_tar_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "bundle.txt")
    assert refused(path.read_bytes(), tmp_path).code == "E_BUNDLE_UNKNOWN"


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_path_without_a_file_is_told_so(kind: str, tmp_path: Path) -> None:
    place = tmp_path if kind == "folder" else tmp_path / "absent"
    with pytest.raises(NotFoundError, match=r"does not exist|is no file"):
        bundle.load(place, tmp_path / "w", silent)


def rebuilt(small: bytes, entries: Callable[[list[tarfile.TarInfo]], None]) -> bytes:
    """The same tar with other headers, as another program could write it."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(small)) as old,
        tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        members = old.getmembers()
        contents = [old.extractfile(member) for member in members]
        entries(members)
        for member, stream in zip(members, contents, strict=True):
            new.addfile(member, stream)
    return made.getvalue()[: len(small)]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "weights/extra"])
def test_a_member_of_another_name_is_refused(small: bytes, tmp_path: Path, name: str) -> None:
    def rename(members: list[tarfile.TarInfo]) -> None:
        members[-1].name = name

    error = refused(rebuilt(small, rename), tmp_path)
    assert error.code == "E_BUNDLE_FOREIGN"
    assert name in error.message


def test_a_link_in_place_of_a_member_is_refused(small: bytes, tmp_path: Path) -> None:
    def link(members: list[tarfile.TarInfo]) -> None:
        members[-1].type, members[-1].linkname = tarfile.SYMTYPE, "/etc/passwd"

    error = refused(rebuilt(small, link), tmp_path)
    assert error.code == "E_BUNDLE_FOREIGN"
    assert "a link" in error.message


def test_a_member_that_comes_twice_is_refused(small: bytes, tmp_path: Path) -> None:
    def repeat(members: list[tarfile.TarInfo]) -> None:
        members[2].name = members[1].name

    assert refused(rebuilt(small, repeat), tmp_path).code == "E_BUNDLE_FOREIGN"


def sealed_again(small: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A bundle whose list says something else, with the right hash of its own."""
    with tarfile.open(fileobj=io.BytesIO(small)) as tar:
        first = tar.extractfile("bundle.json")
        assert first is not None
        listed = json.load(first)
    del listed["sha256"]
    change(listed)
    seal = hashlib.sha256((json.dumps(listed, indent=1) + "\n").encode()).hexdigest()
    text = (json.dumps({**listed, "sha256": seal}, indent=1) + "\n").encode()
    old = tarfile.TarInfo.frombuf(small[:BLOCK], "utf-8", "strict").size
    head = tarfile.TarInfo("bundle.json")
    head.size = len(text)
    rest = small[BLOCK + old + -old % BLOCK :]
    return head.tobuf(tarfile.GNU_FORMAT) + text + bytes(-len(text) % BLOCK) + rest


def test_a_newer_bundle_names_the_version_that_made_it(small: bytes, tmp_path: Path) -> None:
    def newer(listed: dict[str, Any]) -> None:
        listed.update(schema_version=2, skillrun_version="9.9", more=[])

    error = refused(sealed_again(small, newer), tmp_path)
    assert error.code == "E_BUNDLE_NEWER"
    assert "9.9" in error.fix


@pytest.mark.parametrize(
    ("position", "change"),
    [
        (0, {"name": "../x"}),
        (0, {"name": ".hidden"}),
        (0, {"name": "a/b"}),
        (0, {"sha256": "../" * 21 + "x"}),
        (0, {"source": "/etc/passwd"}),
        (0, {"source": "file:///etc/passwd"}),
        (0, {"revision": "\x1b[31m"}),
        (0, {"size": -1}),
        (0, {"size": 1.5}),
        (0, {"size": 1 << 80}),
        (0, {"kind": "script"}),
        (0, {"more": 1}),
        (1, {"name": "Not An Image"}),
        (1, {"name": "team/inspection"}),
        (1, {"name": f"team/inspection:1@sha256:{'a' * 64}"}),
        (1, {"layers": []}),
        (1, {"image_id": "x"}),
        (2, {"name": "/tmp/a-1.whl"}),
        (2, {"name": "../a-1.whl"}),
        (2, {"name": "a-1.whl\n"}),
        (2, {"name": "notes.txt"}),
    ],
)
def test_an_entry_that_skillrun_never_writes_is_refused(
    small: bytes, tmp_path: Path, position: int, change: dict[str, Any]
) -> None:
    data = sealed_again(small, lambda listed: listed["members"][position].update(change))
    assert refused(data, tmp_path).code == "E_BUNDLE_MEMBER"


def test_an_entry_that_is_listed_twice_is_refused(small: bytes, tmp_path: Path) -> None:
    data = sealed_again(small, lambda listed: listed["members"].append(listed["members"][0]))
    error = refused(data, tmp_path)
    assert (error.code, "twice" in error.message) == ("E_BUNDLE_MEMBER", True)


@pytest.mark.parametrize("text", [b"[]", b"{", b'"a"', b"[" * 100_000, b'{"sha256": 1}', b'{"a": "\\ud800"}'])
def test_a_list_that_can_not_be_read_is_damage(text: bytes) -> None:
    with pytest.raises(DataError, match="not what was written"):
        manifest.read(text, "b")


def test_without_an_engine_the_rest_is_loaded_and_the_error_says_how_to_go_on(
    tmp_path: Path, go: Callable[[str], Host]
) -> None:
    path = with_image(tmp_path / "made")
    line = go("line")
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            bundle.load(path, line.wheels, silent)
        error = caught.value
        assert (error.exit_code, error.code, error.retryable) == (8, "E_DOCKER_NO_ENGINE", True)
        assert f"not loaded: {IMAGE}" in error.message
        assert f"; loaded: model.safetensors, wheels (1) in {line.wheels}" in error.message
        assert "--backend" not in error.fix
        assert shlex.quote(str(path)) in error.fix
    assert staging.stage(BACKBONE, offline=True, show=silent).size == 1500
    assert (line.wheels / "skillrun-0.1.0-py3-none-any.whl").is_file()


DIES = """
import os, signal, sys
from pathlib import Path
from skillrun import bundle
def show(event):
    if event.phase == "loading weights" and event.done > 2_000_000:
        os.kill(os.getpid(), signal.SIGKILL)
bundle.load(Path(sys.argv[1]), Path(sys.argv[2]), show)
"""


def test_a_load_that_was_killed_leaves_nothing_half_and_is_repeated(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5_000_000))
    made = make(office.folder / "b")
    line = go("line")
    command = [sys.executable, "-c", DIES, str(made.path), str(line.wheels)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with pytest.raises(NotFoundError, match="has not been staged"):
        staging.stage(BACKBONE, offline=True, show=silent)
    bundle.load(made.path, line.wheels, silent)
    assert staging.stage(BACKBONE, offline=True, show=silent).path.read_bytes() == content(5_000_000)
    assert not list(line.folder.rglob("*.part"))


def test_processes_that_load_at_the_same_time_take_everything_once(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5_000_000))
    wheel(office.wheels)
    made = make(office.folder / "b", wheels=office.wheels)
    line = go("line")
    program = "from skillrun.cli.bundle import app\napp()"
    command = [sys.executable, "-c", program, "load", str(made.path), "--into", str(line.wheels), "--json"]
    loads = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [json.loads(process.communicate()[0]) for process in loads]
    states = [one["state"] for answer in answers for one in answer["members"] if one["kind"] == "weights"]
    assert sorted(states) == ["already here", "already here", "loaded"]
    assert (line.wheels / "skillrun-0.1.0-py3-none-any.whl").is_file()
    assert not list(line.folder.rglob("*.part"))


class BrokenEngine(BaseHTTPRequestHandler):
    """An engine that has every image, breaks off while it saves one, and has no room to load one."""

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        digest = f"sha256:{'b' * 64}"
        about = {"Id": digest, "Size": 100, "RepoTags": [IMAGE], "RootFS": {"Layers": [digest]}}
        if self.path.endswith("/get"):
            self._answer(b"a part", length=100)
        else:
            self._answer(json.dumps({"ApiVersion": "1.41"} if self.path.endswith("/version") else about).encode())

    def do_POST(self) -> None:
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + 2)
        self._answer(b'{"errorDetail": {"message": "no space left on device"}}\n')

    def _answer(self, data: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def broken_engine(go: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with such an engine."""
    host = go("line")
    with ThreadingHTTPServer(("127.0.0.1", 0), BrokenEngine) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        yield host
        server.shutdown()


def test_an_engine_that_breaks_off_while_it_saves_leaves_no_bundle(broken_engine: Host) -> None:
    keep(BACKBONE, b"weights")
    out = broken_engine.folder / "b"
    with pytest.raises(BackendError) as caught:
        bundle.create(out, bundle.Content(images=(IMAGE,), with_wheels=False), silent)
    assert caught.value.code == "E_DOCKER_ANSWER"
    assert [path.name for path in broken_engine.folder.iterdir()] == ["cache"]


def test_an_engine_without_room_is_told_with_what_helps(tmp_path: Path, broken_engine: Host) -> None:
    path = with_image(tmp_path / "made")
    with pytest.raises(BackendError, match="no space left on device") as caught:
        bundle.load(path, broken_engine.wheels, silent)
    assert "docker system prune" in caught.value.fix
    assert staging.stage(BACKBONE, offline=True, show=silent).size == 1500


def test_making_a_bundle_without_an_engine_says_how_to_leave_images_out(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, b"weights")
    with pytest.raises(BackendError) as caught:
        bundle.create(office.folder / "b", bundle.Content(with_wheels=False), silent)
    assert "--no-image" in caught.value.fix


def test_show_lists_members_and_loads_nothing(tmp_path: Path, go: Callable[[str], Host]) -> None:
    path = with_image(tmp_path / "made")
    line = go("line")
    said = CliRunner().invoke(app, ["show", str(path)], catch_exceptions=False)
    assert "model.safetensors" in said.stdout
    assert IMAGE in said.stdout
    listed = json.loads(CliRunner().invoke(app, ["show", str(path), "--json"], catch_exceptions=False).stdout)
    assert [member["kind"] for member in listed["bundle"]["members"]] == ["weights", "image", "wheel"]
    assert line.tree() == {}


def test_commands_answer_in_json(go: Callable[[str], Host]) -> None:
    office = go("office")
    keep(BACKBONE, content(5000))
    wheel(office.wheels)
    out = office.folder / "b"
    create = ["create", "--out", str(out), "--no-image", "--wheels", str(office.wheels), "--json"]
    made = json.loads(CliRunner().invoke(app, create, catch_exceptions=False).stdout)
    assert (made["path"], made["size"]) == (str(out), out.stat().st_size)
    line = go("line")
    load = ["load", str(out), "--into", str(line.wheels), "--json"]
    taken = json.loads(CliRunner().invoke(app, load, catch_exceptions=False).stdout)
    assert taken["new"] == 2
    assert [one["state"] for one in taken["members"]] == ["loaded", "loaded"]
    assert taken["install"].startswith("pip install --no-index --find-links ")


@pytest.mark.parametrize("options", [["--wheels", "w", "--no-wheels"], ["--image", "a:b", "--no-image"]])
def test_options_that_contradict_each_other_are_refused(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradict"):
        CliRunner().invoke(app, ["create", "--out", str(tmp_path / "b"), *options], catch_exceptions=False)


def test_a_file_that_changes_after_the_check_is_not_taken(tmp_path: Path, go: Callable[[str], Host]) -> None:
    path = with_image(tmp_path / "made")
    line = go("line")

    def spoil(event: Progress) -> None:
        if event.phase == "checking" and event.done == event.total:
            with path.open("r+b") as stream:
                stream.seek(-BLOCK * 10, os.SEEK_END)
                place = path.read_bytes().find(content(1500)[:64])
                stream.seek(place)
                stream.write(b"spoilt")

    with pytest.raises(DataError, match="has not the recorded content"):
        bundle.load(path, line.wheels, spoil)
    assert not list((line.folder / "cache").rglob("model.safetensors"))
    assert not list((line.folder / "cache").rglob("*.part"))
