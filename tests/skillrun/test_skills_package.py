"""A package holds real files, is accepted by every validator, and has the same bytes wherever it is made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.cli.parsing import problem_of
from skillrun.errors import SkillrunError
from skillrun.skills import copies
from skillrun.skills.package import LIST, package_contents, write_package
from skillrun.skills.read import skill_folders
from skillrun.skills.validate import validate

NAMES = [folder.name for folder in skill_folders()]


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """SHA-256, rights and time of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        assert not path.is_symlink()
        data = path.read_bytes() if path.is_file() else b""
        told = path.stat()
        found[path.relative_to(folder).as_posix()] = (
            hashlib.sha256(data).hexdigest(),
            told.st_mode,
            int(told.st_mtime),
        )
    return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("a b'c\"ü,é$x") / "deep" / "package").folder


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_skill_is_self_contained_and_valid(package: Path, name: str) -> None:
    folder = package / "plugins/skillrun/skills" / name
    assert [finding.message for finding in validate(folder, problem_of)] == []
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert (folder / "LICENSE").read_bytes() == (bank.bank_root() / "LICENSE").read_bytes()
    source = bank.bank_root() / "skills" / name
    assert (folder / "schemas").is_dir() == (source / "schemas").is_dir()
    validator: Any = pytest.importorskip("skills_ref", reason="pip install skills-ref")
    assert validator.validate(folder) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_zip_holds_the_folder_of_its_skill(package: Path, name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(package / "zips" / f"{name}.zip") as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        archive.extractall(tmp_path)
    assert [item.filename for item in entries] == sorted(item.filename for item in entries)
    assert {(item.date_time, item.external_attr >> 16) for item in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}
    assert copies.contents_of(tmp_path / name) == copies.contents_of(package / "plugins/skillrun/skills" / name)


def test_the_marketplace_leads_to_the_plugin_and_the_list_names_every_file(package: Path) -> None:
    market = json.loads((package / ".claude-plugin/marketplace.json").read_text(encoding="utf-8"))
    (entry,) = market["plugins"]
    assert (package / entry["source"] / ".claude-plugin/plugin.json").is_file()
    listed = json.loads((package / LIST).read_text(encoding="utf-8"))["files"]
    there = {name: told[0] for name, told in state(package).items() if (package / name).is_file() and name != LIST}
    assert listed == there


def test_the_same_bank_gives_the_same_bytes_rights_and_times_anywhere(package: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from skillrun.skills.package import write_package\n"
        "os.umask(int(sys.argv[1], 8)); write_package(Path('out'))"
    )
    for seed, umask, zone in (("0", "077", "UTC"), ("4711", "000", "Asia/Tokyo")):
        place = tmp_path / seed
        place.mkdir()
        env = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"}
        subprocess.run([sys.executable, "-c", code, umask], cwd=place, env=env, check=True)
        assert state(place / "out") == state(package)


def test_a_package_is_made_anew_in_its_own_place(package: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "p"
    out.mkdir()
    first = state(write_package(out).folder)
    (out / "plugins/skillrun/skills/run-automl/skill.oms.sig").write_text("x", encoding="utf-8")
    assert state(write_package(out).folder) == first
    assert [path.name for path in hostile_dir.iterdir()] == ["p"], "nothing is left beside it"


def drop(name: str, data: bytes = b"mine") -> Callable[[Path], object]:
    return lambda out: (out / name).write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        drop("notes.txt"),
        drop("plugins/skillrun/skills/run-automl/SKILL.md"),
        lambda out: (out / "zips/run-automl.zip").unlink(),
        drop(LIST, b"[]"),
        drop(LIST, b'{"files": {}}'),
        lambda out: (out / LIST).unlink(),
        lambda out: (out / "link").symlink_to("zips"),
    ],
)
def test_a_folder_with_anything_else_in_it_is_left_alone(hostile_dir: Path, change: Callable[[Path], object]) -> None:
    out = write_package(hostile_dir / "p").folder
    change(out)
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in out.rglob("*"))
    with pytest.raises(SkillrunError) as caught:
        write_package(out)
    assert (caught.value.code, caught.value.exit_code) == ("E_SKILL_FOREIGN", 6)
    assert before == sorted((str(path), path.lstat().st_mtime_ns) for path in out.rglob("*"))


def test_a_file_and_a_link_in_the_way_are_left_alone(hostile_dir: Path) -> None:
    (hostile_dir / "file").write_text("x", encoding="utf-8")
    (hostile_dir / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(SkillrunError, match="is no folder"):
            write_package(hostile_dir / name)


def test_what_can_not_be_written_says_where_and_leaves_nothing(hostile_dir: Path) -> None:
    (hostile_dir / "file").write_text("x", encoding="utf-8")
    with pytest.raises(SkillrunError) as caught:
        write_package(hostile_dir / "file" / "p")
    assert caught.value.code == "E_SKILL_WRITE" and str(hostile_dir) in caught.value.message
    assert [path.name for path in hostile_dir.iterdir()] == ["file"]


def test_an_installed_bank_of_real_files_gives_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "_bank"
    for part in ("skills", "schemas", "references"):
        shutil.copytree(bank.bank_root() / part, root / part)
    for part in ("LICENSE", "pyproject.toml"):
        shutil.copy(bank.bank_root() / part, root)
    fresh = package_contents()
    for module in ("copies", "package", "read"):
        monkeypatch.setattr(f"skillrun.skills.{module}.bank_root", lambda: root)
    assert package_contents() == fresh


def test_a_skill_with_a_file_that_does_not_belong_is_not_packaged(tmp_path: Path) -> None:
    folder = tmp_path / "skill"
    folder.mkdir()
    (folder / "SKILL.md").write_text("x", encoding="utf-8")
    (folder / ".secret").write_text("x", encoding="utf-8")
    with pytest.raises(SkillrunError) as caught:
        copies.skill_contents(folder)
    assert caught.value.code == "E_SKILL_FILE"
