"""Archives that try to leave their folder, fill the disk, or lie."""

from __future__ import annotations

import io
import multiprocessing
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skillrun.archives import extract
from skillrun.errors import DataError, NotFoundError

HOSTILE = "a b'c\"ü,$x"


def _file(name: str, content: bytes = b"pixels") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def _special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _refused(archive: Path, cache: Path, **limits: int) -> str:
    """The code of the refusal; nothing stays in the cache and nothing lands beside it."""
    before = _files(cache.parent)
    with pytest.raises(DataError) as caught:
        extract(archive, cache, **limits)
    assert not list(cache.iterdir())
    assert _files(cache.parent) == before
    assert str(archive) in caught.value.message
    assert caught.value.fix
    return caught.value.code


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_unpacked_whatever_its_compression_and_name(tmp_path: Path, mode: str) -> None:
    archive = _tar(tmp_path / f"{HOSTILE}.data", _file(f"images/{HOSTILE}/x.png", b"one"), mode=mode)
    folder = extract(archive, tmp_path / "cache")
    assert folder.name == "images"
    assert _files(folder) == {f"{HOSTILE}/x.png": b"one"}


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        archive.writestr(f"{HOSTILE}/x.png", b"one")
        archive.writestr("y.png", b"two")
    folder = extract(tmp_path / "i.zip", tmp_path / "cache")
    assert _files(folder) == {f"{HOSTILE}/x.png": b"one", "y.png": b"two"}


def test_equal_bytes_are_unpacked_once_and_other_bytes_again(tmp_path: Path) -> None:
    first = _tar(tmp_path / "a.tar", _file("images/x.png"), mode="w")
    (tmp_path / "b.tar").write_bytes(first.read_bytes())
    folder = extract(first, tmp_path / "cache")
    stamp = (folder / "x.png").stat().st_mtime_ns
    assert extract(tmp_path / "b.tar", tmp_path / "cache") == folder
    assert (folder / "x.png").stat().st_mtime_ns == stamp
    other = _tar(tmp_path / "c.tar", _file("images/x.png", b"new"), mode="w")
    assert extract(other, tmp_path / "cache") != folder


def test_system_leftovers_do_not_hide_the_images_folder(tmp_path: Path) -> None:
    members = [
        _file("images/x.png"),
        _file("__MACOSX/images/._x.png"),
        _file("._images"),
        _file("images/.DS_Store"),
    ]
    folder = extract(_tar(tmp_path / "a.tgz", *members), tmp_path / "cache")
    assert folder.name == "images"
    assert list(_files(folder)) == ["x.png"]


def test_another_single_folder_is_not_skipped(tmp_path: Path) -> None:
    folder = extract(_tar(tmp_path / "a.tgz", _file("pictures/x.png")), tmp_path / "cache")
    assert list(_files(folder)) == ["pictures/x.png"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "images/../../evil.png",
        "images/../x.png",
        "/tmp/evil.png",
        "..\\evil.png",
        "C:\\evil.png",
    ],
)
def test_a_name_that_points_outside_is_refused_in_tar_and_zip(tmp_path: Path, name: str) -> None:
    assert _refused(_tar(tmp_path / "a.tgz", _file(name)), tmp_path / "c1") == "E_ARCHIVE_PATH"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    assert _refused(tmp_path / "a.zip", tmp_path / "c2") == "E_ARCHIVE_PATH"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/hostname", "../../secret.txt", "images/gone.png", "images"])
def test_a_link_to_anything_but_a_file_of_the_archive_is_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    archive = _tar(tmp_path / "a.tgz", _file("images/x.png"), _special("images/link", kind, target))
    assert _refused(archive, tmp_path / "cache") == "E_ARCHIVE_LINK"


def test_writing_through_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    archive = _tar(
        tmp_path / "a.tgz",
        _special("images", tarfile.SYMTYPE, str(tmp_path / "victim")),
        _file("images/evil.png"),
    )
    assert _refused(archive, tmp_path / "cache") == "E_ARCHIVE_LINK"
    assert not list((tmp_path / "victim").iterdir())


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tgz", _special("a", tarfile.SYMTYPE, "b"), _special("b", tarfile.SYMTYPE, "a"))
    assert _refused(archive, tmp_path / "cache") == "E_ARCHIVE_LINK"


def test_a_zip_link_out_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("images/link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "../../secret.txt")
    assert _refused(tmp_path / "a.zip", tmp_path / "cache") == "E_ARCHIVE_LINK"


def test_links_inside_become_the_file_they_name_in_any_order(tmp_path: Path) -> None:
    archive = _tar(
        tmp_path / "a.tgz",
        _special("images/z/second.png", tarfile.SYMTYPE, "../first.png"),
        _special("images/first.png", tarfile.SYMTYPE, "x.png"),
        _special("images/hard.png", tarfile.LNKTYPE, "images/x.png"),
        _file("images/x.png", b"one"),
    )
    folder = extract(archive, tmp_path / "cache")
    assert set(_files(folder).values()) == {b"one"}
    assert sorted(_files(folder)) == ["first.png", "hard.png", "x.png", "z/second.png"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_or_pipe_is_refused(tmp_path: Path, kind: bytes) -> None:
    assert _refused(_tar(tmp_path / "a.tgz", _special("images/d", kind)), tmp_path / "c") == "E_ARCHIVE_MEMBER"


def test_a_bomb_is_stopped_at_the_limit_and_leaves_nothing(tmp_path: Path) -> None:
    bomb = _tar(tmp_path / "a.tgz", _file("images/zeros", bytes(30 << 20)))
    assert bomb.stat().st_size < 1 << 20
    assert _refused(bomb, tmp_path / "c1", max_bytes=1 << 20) == "E_ARCHIVE_TOO_LARGE"
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(30 << 20))
    assert _refused(tmp_path / "a.zip", tmp_path / "c2", max_bytes=1 << 20) == "E_ARCHIVE_TOO_LARGE"


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info, _ = _special("long", tarfile.GNUTYPE_LONGNAME)
    info.size = 32 << 20
    archive = _tar(tmp_path / "a.tgz", (info, bytes(32 << 20)), _file("x.png"))
    assert _refused(archive, tmp_path / "cache") == "E_ARCHIVE_TOO_LARGE"


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tgz", *(_file(f"{i}.png", b"") for i in range(30)))
    assert _refused(archive, tmp_path / "cache", max_members=29) == "E_ARCHIVE_TOO_MANY"


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    one = _tar(tmp_path / "a.tgz", _file("x"), _file("x/y"))
    two = _tar(tmp_path / "b.tgz", _file("x/y"), _file("x"))
    assert _refused(one, tmp_path / "c1") == _refused(two, tmp_path / "c2") == "E_ARCHIVE_PATH"


def test_a_later_entry_of_the_same_name_wins(tmp_path: Path) -> None:
    folder = extract(_tar(tmp_path / "a.tgz", _file("x", b"1"), _file("x", b"2")), tmp_path / "cache")
    assert _files(folder) == {"x": b"2"}


def _cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _flip(raw: bytes) -> bytes:
    return raw[:-6] + bytes([raw[-6] ^ 0xFF]) + raw[-5:]


@pytest.mark.parametrize("damage", [_cut, _flip])
def test_damaged_archives_are_named_as_such(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    noise = bytes(i * i % 251 for i in range(20000))
    path = _tar(tmp_path / "a.tgz", _file("images/x.png", noise), _file("images/y.png", noise))
    path.write_bytes(damage(path.read_bytes()))
    assert _refused(path, tmp_path / "cache") == "E_ARCHIVE_CORRUPT"


def test_a_damaged_header_in_the_middle_does_not_pass_as_the_end(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", _file("x.png"), _file("y.png"), mode="w")
    raw = bytearray(path.read_bytes())
    raw[1024 + 10] ^= 0xFF
    path.write_bytes(bytes(raw))
    assert _refused(path, tmp_path / "cache") == "E_ARCHIVE_CORRUPT"


@pytest.mark.parametrize("content", [b"", b"not an archive at all", b"\x28\xb5\x2f\xfdxxxxxxxx", b"\x1f\x8bxxxxxxx"])
def test_anything_else_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    assert _refused(tmp_path / "a.tgz", tmp_path / "cache") == "E_ARCHIVE_FORMAT"


def test_a_locked_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    assert _refused(path, tmp_path / "cache") == "E_ARCHIVE_MEMBER"


def test_a_missing_archive_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        extract(tmp_path / "gone.tgz", tmp_path / "cache")
    assert caught.value.code == "E_ARCHIVE_MISSING"


def test_a_cache_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        extract(_tar(tmp_path / "a.tgz", _file("x")), tmp_path / "cache")
    assert caught.value.code == "E_ARCHIVE_WRITE"


def test_callers_at_the_same_time_get_the_same_complete_folder(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tgz", *(_file(f"images/{i}.png", bytes([i % 251]) * 999) for i in range(200)))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        folders = pool.starmap(extract, [(archive, tmp_path / "cache")] * 6)
    assert len(set(folders)) == 1
    assert len(_files(folders[0])) == 200
    assert len(list((tmp_path / "cache").iterdir())) == 1
