"""Data sets of a request: which paths the spec gets, and what is said where a part is missing."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from skillrun import bank
from skillrun.datasets import DataSources, cache_root, only_extension, resolve_sources
from skillrun.errors import DataError

MODEL = "visual_changenet"
TRAIN = "dataset.classify.train_dataset"
VALIDATION = "dataset.classify.validation_dataset"


def rules(action: str = "train") -> tuple[bank.DataSource, ...]:
    return bank.contract(MODEL, action).data_sources


def data_set(folder: Path, *, images: str = "folder") -> Path:
    """``dataset.csv`` and its images as a ``folder``, an archive of that ending, or not at all (``none``)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.csv").write_text("input_path,golden_path,label,object_name\n", encoding="utf-8")
    source = folder / "images"
    (source / "unit").mkdir(parents=True)
    (source / "unit" / "Ü 1.png").write_bytes(b"pixels")
    if images == "zip":
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            archive.write(source / "unit" / "Ü 1.png", "images/unit/Ü 1.png")
    elif images.startswith("tar"):
        mode = {"tar.gz": "w:gz", "tar.xz": "w:xz", "tar": "w"}[images]
        with tarfile.open(folder / f"images.{images}", mode) as archive:  # type: ignore[call-overload]
            archive.add(source, "images")
    if images != "folder":
        (source / "unit" / "Ü 1.png").unlink()
        (source / "unit").rmdir()
        source.rmdir()
    return folder


def test_a_folder_with_images_gives_the_table_and_the_folder(hostile_dir: Path) -> None:
    folder = data_set(hostile_dir / "train, 1")
    assert resolve_sources(rules(), DataSources(train_datasets=folder)) == {
        f"{TRAIN}.csv_path": str(folder / "dataset.csv"),
        f"{TRAIN}.images_dir": str(folder / "images"),
    }


def test_each_source_fills_its_own_keys(workspace: Path) -> None:
    train, held_out = data_set(workspace / "train"), data_set(workspace / "eval")
    found = resolve_sources(rules(), DataSources(train_datasets=train, eval_dataset=held_out))
    assert found[f"{TRAIN}.csv_path"] == str(train / "dataset.csv")
    assert found[f"{VALIDATION}.images_dir"] == str(held_out / "images")


def test_nothing_named_gives_nothing() -> None:
    assert resolve_sources(rules(), DataSources()) == {}


def test_a_segment_root_is_taken_whole(tmp_path: Path) -> None:
    found = resolve_sources(rules("segment_train"), DataSources(train_datasets=tmp_path))
    assert found == {"dataset.segment.root_dir": str(tmp_path)}


def test_a_relative_path_and_a_home_path_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path / "boards")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("boards", "~/boards"):
        found = resolve_sources(rules(), DataSources(train_datasets=Path(given)))
        assert found[f"{TRAIN}.images_dir"] == str(tmp_path / "boards" / "images")


@pytest.mark.parametrize("ending", ["tar.gz", "tar.xz", "tar", "zip"])
def test_an_archive_of_images_is_unpacked_into_the_cache_once(workspace: Path, ending: str) -> None:
    folder = data_set(workspace / "train", images=ending)
    before = {path.name for path in folder.iterdir()}
    first = Path(resolve_sources(rules(), DataSources(train_datasets=folder))[f"{TRAIN}.images_dir"])
    assert first.is_relative_to(workspace / "cache")
    assert (first / "unit" / "Ü 1.png").read_bytes() == b"pixels"
    assert {path.name for path in folder.iterdir()} == before

    (first / "unit" / "Ü 1.png").write_bytes(b"a mark that a second unpacking would undo")
    again = Path(resolve_sources(rules(), DataSources(train_datasets=folder))[f"{TRAIN}.images_dir"])
    assert again == first
    assert (again / "unit" / "Ü 1.png").read_bytes().startswith(b"a mark")


def test_the_same_archive_in_two_data_sets_is_unpacked_once(workspace: Path) -> None:
    train, held_out = data_set(workspace / "train", images="tar.gz"), data_set(workspace / "eval")
    (held_out / "images" / "unit" / "Ü 1.png").unlink()
    (held_out / "images" / "unit").rmdir()
    (held_out / "images").rmdir()
    (held_out / "images.tar.gz").write_bytes((train / "images.tar.gz").read_bytes())
    found = resolve_sources(rules(), DataSources(train_datasets=train, eval_dataset=held_out))
    assert found[f"{TRAIN}.images_dir"] == found[f"{VALIDATION}.images_dir"]


def test_a_folder_beside_an_archive_wins(workspace: Path) -> None:
    folder = data_set(workspace / "train")
    (folder / "images.tar.gz").write_bytes(b"no archive at all")
    found = resolve_sources(rules(), DataSources(train_datasets=folder))
    assert found[f"{TRAIN}.images_dir"] == str(folder / "images")


def test_a_damaged_archive_is_refused_by_name(workspace: Path) -> None:
    folder = data_set(workspace / "train", images="none")
    (folder / "images.tar.gz").write_bytes(b"no archive at all")
    with pytest.raises(DataError, match=r"images\.tar\.gz"):
        resolve_sources(rules(), DataSources(train_datasets=folder))


def test_no_images_at_all_names_both_ways_to_give_them(workspace: Path) -> None:
    folder = data_set(workspace / "train", images="none")
    with pytest.raises(DataError, match=r"neither images/ nor images\.tar\.gz") as caught:
        resolve_sources(rules(), DataSources(train_datasets=folder))
    assert "--train-data" in caught.value.message
    assert caught.value.fix


def test_an_absent_folder_is_refused_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--eval-data .*nowhere.* is no folder"):
        resolve_sources(rules(), DataSources(eval_dataset=tmp_path / "nowhere"))


def test_a_folder_above_the_data_sets_names_those_inside(workspace: Path) -> None:
    data_set(workspace / "boards" / "train")
    data_set(workspace / "boards" / "eval")
    with pytest.raises(DataError, match=r"holds no dataset\.csv; its folders eval, train do"):
        resolve_sources(rules(), DataSources(train_datasets=workspace / "boards"))


def test_a_source_that_the_action_does_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reads no --infer-data") as caught:
        resolve_sources(rules(), DataSources(inference_dataset=tmp_path))
    assert caught.value.fix == "give --eval-data and --train-data"


def test_an_action_without_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        resolve_sources([], DataSources(eval_dataset=tmp_path))
    assert caught.value.fix == "give no data set"


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLRUN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().is_relative_to(tmp_path / "own")
    monkeypatch.delenv("SKILLRUN_CACHE")
    assert cache_root() == tmp_path / "xdg" / "skillrun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "skillrun"


EXTENSIONS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "one": (("a.png", "deep/er/b.png"), ".png"),
    "as it is written": (("a.JPG", "b.JPG"), ".JPG"),
    "other files do not count": (("a.jpg", "notes.txt", "Thumbs.db"), ".jpg"),
    "hidden files do not count": (("a.jpg", "._a.png"), ".jpg"),
    "two": (("a.png", "b.jpg"), None),
    "two spellings": (("a.png", "b.PNG"), None),
    "no image": (("notes.txt",), None),
    "empty": ((), None),
}


@pytest.mark.parametrize(("names", "wanted"), EXTENSIONS.values(), ids=EXTENSIONS.keys())
def test_the_only_image_extension_is_found(hostile_dir: Path, names: tuple[str, ...], wanted: str | None) -> None:
    for name in names:
        (hostile_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (hostile_dir / name).touch()
    assert only_extension(hostile_dir) == wanted
