"""Weights that another client brings: a store, and NVIDIA's catalogue by a stand-in of its command line."""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from skillrun.errors import CredentialsError, NotFoundError, SkillrunError, UsageError
from skillrun.staging import Staged, stage

DATA = b"weights" * 1000
SOURCE = "ngc://nvidia/tao/model_x:trainable_v1.0"


def fetch(source: str, *, offline: bool = False) -> Staged:
    return stage(source, offline=offline, show=lambda progress: None)


@pytest.fixture
def client(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ``ngc`` that keeps the published calling convention: what it is asked for lands below ``--dest``.

    It copies ``files/`` and counts its calls in ``calls``; with a file ``says`` it fails with these words.
    """
    folder = workspace / "client"
    (folder / "files").mkdir(parents=True)
    program = folder / "ngc"
    program.write_text(
        f"""#!/bin/sh
cd {shlex.quote(str(folder))} || exit 9
echo "$*" >> calls
[ "$1 $2 $3" = "registry model download-version" ] && [ "$5" = "--dest" ] || exit 8
if [ -f says ]; then cat says; exit 1; fi
mkdir "$6/model_x_vtrainable_v1.0" && cp files/* "$6/model_x_vtrainable_v1.0/"
""",
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def calls(client: Path) -> list[str]:
    return (client / "calls").read_text(encoding="utf-8").splitlines()


def test_a_catalogue_version_is_fetched_once_by_its_client(client: Path) -> None:
    (client / "files" / "weights.pth").write_bytes(DATA)
    (client / "files" / "readme.txt").write_text("about", encoding="utf-8")
    staged = fetch(SOURCE)
    assert staged.path.read_bytes() == DATA
    assert (staged.revision, staged.sha256) == ("trainable_v1.0", hashlib.sha256(DATA).hexdigest())
    assert fetch(SOURCE) == fetch(SOURCE, offline=True) == staged
    assert [line.split(" --dest")[0] for line in calls(client)] == [
        "registry model download-version nvidia/tao/model_x:trainable_v1.0"
    ]
    assert not list(staged.path.parents[1].glob(".ngc-*")), "nothing is left aside"


def test_one_of_several_files_is_named(client: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (client / "files" / name).write_bytes(name.encode())
    with pytest.raises(UsageError, match=r"several files of weights: a\.pth, b\.pth") as caught:
        fetch(SOURCE)
    assert caught.value.fix == f"{SOURCE}/a.pth"
    assert fetch(f"{SOURCE}/b.pth").path.read_bytes() == b"b.pth"
    with pytest.raises(NotFoundError, match=r"not in what the client brought: a\.pth, b\.pth"):
        fetch(f"{SOURCE}/c.pth")


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ("Error: Missing API key and app key", CredentialsError),
        ("Error: 'nvidia/tao/model_x:trainable_v1.0' could not be found.", NotFoundError),
    ],
)
def test_what_the_client_refuses_is_told_with_what_mends_it(client: Path, says: str, kind: type[SkillrunError]) -> None:
    (client / "says").write_text(says, encoding="utf-8")
    with pytest.raises(kind) as caught:
        fetch(SOURCE)
    assert says in caught.value.message
    assert caught.value.fix.startswith("ngc ")


def test_without_the_client_its_login_is_explained(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workspace))
    with pytest.raises(CredentialsError, match="which is not here") as caught:
        fetch(SOURCE)
    assert "ngc config set" in caught.value.fix


@pytest.mark.parametrize("text", ["ngc://nvidia", "ngc://nvidia/tao/x", "ngc://nvidia/tao/x:v/../y", "ngc://a/b:-v"])
def test_what_names_no_catalogue_version_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UsageError, match="ngc://ORG/"):
        fetch(text)


def test_an_object_of_a_store_is_weights_too(s3: Any, workspace: Path) -> None:
    s3.fill("models", {"pcb/w.safetensors": DATA, "pcb/other.pth": b"x"})
    staged = fetch("s3://models/pcb/w.safetensors")
    assert staged.path.read_bytes() == DATA
    assert staged.sha256 == hashlib.sha256(DATA).hexdigest()
    assert fetch("s3://models/pcb/w.safetensors", offline=True).path == staged.path
    with pytest.raises(NotFoundError, match=r"is a folder with other\.pth, w\.safetensors"):
        fetch("s3://models/pcb")
