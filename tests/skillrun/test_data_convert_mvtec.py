"""Conversion of MVTec AD, on a small imitation at a hostile path."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skillrun.data.check import check_dataset
from skillrun.data.mvtec import convert_mvtec
from skillrun.data.pictures import read_grey
from skillrun.errors import ConflictError, DataError, NotFoundError

SIDE = 48


def _part(angle: int, *, defect: bool = False) -> np.ndarray:
    """A colour picture of a bar that lies at one of several places."""
    picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
    picture[:, 6 * angle : 6 * angle + 8] = (30, 60, 90)
    if defect:
        picture[20:26, 2:40] = (250, 0, 0)
    return picture


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def source(hostile_dir: Path) -> Path:
    """Two objects: four good pictures to learn from, four good ones and two kinds of defects to test."""
    root = hostile_dir / "mvtec, all"
    for kind in ("bottle", "metal nut"):
        for number in range(4):
            _save(root / kind / "train" / "good" / f"{number:03d}.png", _part(number))
            _save(root / kind / "test" / "good" / f"{number:03d}.png", _part(number))
            for defect in ("bent", "colour <b>"):
                _save(root / kind / "test" / defect / f"{number:03d}.png", _part(number, defect=True))
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[20:26, 2:40] = 255
                _save(root / kind / "ground_truth" / defect / f"{number:03d}_mask.png", mask)
    (root / "license.txt").write_text("-", encoding="utf-8")
    (root / "bottle" / "test" / "good" / ".DS_Store").write_bytes(b"-")
    return root


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_classify_gives_each_test_picture_the_good_one_that_is_most_like_it(source: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "out"
    summary = convert_mvtec(source, out)
    assert summary.counts["train"] == {"PASS": 6, "bent": 6, "colour <b>": 6}
    assert summary.counts["eval"] == {"PASS": 2, "bent": 2, "colour <b>": 2}
    for split in ("train", "eval"):
        for row in _rows(out / split):
            golden, test = (
                read_grey(out / split / "images" / row[column] / f"{row['object_name']}.png")
                for column in ("golden_path", "input_path")
            )
            # The bar lies at the same place; only a defect differs.
            assert np.array_equal(golden[:20], test[:20])
            assert (golden != test).any() == (row["label"] != "PASS")
    report = check_dataset(out)
    assert report.ok
    assert not report.missing
    manifest = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["source"]["objects"] == ["bottle", "metal nut"]
    assert "correlation" in manifest["source"]["golden"]["rule"]


def test_segment_takes_the_masks_and_empty_ones_for_good_pictures(source: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "out"
    summary = convert_mvtec(source / "metal nut", out, task="segment")
    assert {split: n["pairs"] for split, n in summary.counts.items()} == {
        "train": 9, "val": 2, "test": 1, "predict": 1,
    }  # fmt: skip
    for mask in (out / "label").iterdir():
        assert read_grey(mask).any() == ("good" not in mask.name)
        assert np.asarray(Image.open(out / "A" / mask.name)).shape == (SIDE, SIDE, 3)
    assert check_dataset(out).ok


def test_the_same_seed_gives_the_same_bytes_and_another_a_different_split(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        convert_mvtec(source, tmp_path / name, seed=seed)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert _rows(tmp_path / "a" / "eval") != _rows(tmp_path / "c" / "eval")


def test_a_folder_of_another_kind_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="train/good") as caught:
        convert_mvtec(tmp_path, tmp_path.with_name("out"))
    assert caught.value.code == "E_MVTEC_NOT_FOUND"


def test_a_broken_source_leaves_no_destination(source: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "out"
    mask = source / "bottle" / "ground_truth" / "bent" / "001_mask.png"
    mask.unlink()
    with pytest.raises(DataError) as caught:
        convert_mvtec(source, out, task="segment")
    assert caught.value.code == "E_MVTEC_MASK"
    convert_mvtec(source, hostile_dir / "no masks needed", task="classify")
    _save(mask, np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError) as caught:
        convert_mvtec(source, out, task="segment")
    assert caught.value.code == "E_DATA_SIZE"
    (source / "bottle" / "test" / "bent" / "002.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        convert_mvtec(source, out)
    assert caught.value.code == "E_DATA_IMAGE_UNREADABLE"
    assert not list(hostile_dir.glob("*out*"))


def test_a_destination_inside_the_source_is_refused(source: Path) -> None:
    with pytest.raises(ConflictError):
        convert_mvtec(source, source / "out")
