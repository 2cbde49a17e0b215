"""Conversion of VisA, on small imitations of its lists."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skillrun.data.check import check_dataset
from skillrun.data.pictures import read_grey
from skillrun.data.visa import convert_visa
from skillrun.errors import DataError, NotFoundError


@pytest.fixture
def source(hostile_dir: Path) -> Path:
    """Six normal candles, four bad ones whose masks hold the values 1 and 2; no list yet."""
    root = hostile_dir / "VisA"
    normal, bad, masks = (
        root / "candle" / "Data" / part for part in ("Images/Normal", "Images/Anomaly", "Masks/Anomaly")
    )
    for folder in (normal, bad, masks):
        folder.mkdir(parents=True)
    for number in range(6):
        picture = np.full((40, 40 + number % 2, 3), 90 + number, np.uint8)
        picture[10:30, 10 + number : 20 + number] = 200
        Image.fromarray(picture).save(normal / f"{number:04d}.JPG", quality=95)
        if number < 4:
            Image.fromarray(255 - picture).save(bad / f"{number:03d}.JPG", quality=95)
            mask = np.zeros(picture.shape[:2], np.uint8)
            mask[10:20, 12:20], mask[20:25, 12:20] = 1, 2
            Image.fromarray(mask).save(masks / f"{number:03d}.png")
    return root


def _lines(train_bad: int, train_normal: int) -> list[dict[str, str]]:
    lines = []
    for number in range(6):
        image = f"candle/Data/Images/Normal/{number:04d}.JPG"
        split = "train" if number < train_normal else "test"
        lines.append({"object": "candle", "split": split, "label": "normal", "image": image, "mask": ""})
    for number in range(4):
        image, mask = f"candle/Data/Images/Anomaly/{number:03d}.JPG", f"candle/Data/Masks/Anomaly/{number:03d}.png"
        split = "train" if number < train_bad else "test"
        lines.append({"object": "candle", "split": split, "label": "anomaly", "image": image, "mask": mask})
    return lines


def _list(path: Path, lines: list[dict[str, str]], drop: tuple[str, ...] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        columns = [name for name in lines[0] if name not in drop]
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_a_list_with_defects_on_both_sides_keeps_its_sides(source: Path, hostile_dir: Path) -> None:
    _list(source / "split_csv" / "1cls.csv", _lines(0, 4))
    _list(source / "split_csv" / "2cls_highshot.csv", _lines(3, 4))
    summary = convert_visa(source, hostile_dir / "out")
    assert summary.counts == {"train": {"PASS": 4, "anomaly": 3}, "eval": {"PASS": 2, "anomaly": 1}}
    assert summary.source["lists"] == ["split_csv/2cls_highshot.csv"]
    assert summary.source["resized_goldens"] > 0
    report = check_dataset(hostile_dir / "out")
    assert report.ok
    # A normal picture is never its own golden.
    for split in ("train", "eval"):
        images = hostile_dir / "out" / split / "images"
        for test in (images / "test").rglob("*.png"):
            golden = images / "golden" / test.relative_to(images / "test")
            assert test.read_bytes() != golden.read_bytes()


def test_a_list_with_normal_training_pictures_only_divides_the_others(source: Path, hostile_dir: Path) -> None:
    _list(source / "split_csv" / "1cls.csv", _lines(0, 3))
    summary = convert_visa(source / "split_csv" / "1cls.csv", hostile_dir / "out")
    assert summary.counts == {"train": {"PASS": 2, "anomaly": 3}, "eval": {"PASS": 1, "anomaly": 1}}


def test_masks_of_several_values_become_one_change(source: Path, hostile_dir: Path) -> None:
    _list(source / "image_anno.csv", _lines(0, 3))
    convert_visa(source, hostile_dir / "out", task="segment")
    for path in (hostile_dir / "out" / "label").iterdir():
        mask = read_grey(path)
        assert set(np.unique(mask)) == ({0, 255} if "Anomaly" in path.name else {0})
        assert "Anomaly" not in path.name or (mask[10:25, 12:20] == 255).all()
    assert check_dataset(hostile_dir / "out").ok


def test_lists_of_objects_without_a_split_give_every_other_normal_as_golden(source: Path, hostile_dir: Path) -> None:
    lines = _lines(0, 0)
    lines[6]["label"] = "melt,crack"
    _list(source / "candle" / "image_anno.csv", lines, drop=("object", "split"))
    summary = convert_visa(source, hostile_dir / "out")
    assert sum(split.get("PASS", 0) for split in summary.counts.values()) == 3
    assert any("melt,crack" in split for split in summary.counts.values())
    assert summary.source["golden"]["good_pictures"] == {"candle": 3}
    assert check_dataset(hostile_dir / "out").ok


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"image": ""}, "E_VISA_LIST"),
        ({"label": ""}, "E_VISA_LIST"),
        ({"image": "../../x.jpg"}, "E_VISA_LIST"),
        ({"mask": ""}, "E_VISA_LIST"),
        ({"image": "candle/none.JPG"}, "E_DATA_IMAGE_MISSING"),
    ],
)
def test_a_wrong_line_is_refused_and_leaves_nothing(
    source: Path, hostile_dir: Path, change: dict[str, str], code: str
) -> None:
    lines = _lines(3, 4)
    lines[7] |= change
    _list(source / "image_anno.csv", lines)
    with pytest.raises(DataError) as caught:
        convert_visa(source, hostile_dir / "out", task="segment")
    assert caught.value.code == code
    assert not list(hostile_dir.glob("*out*"))


def test_a_folder_of_another_kind_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="image_anno") as caught:
        convert_visa(tmp_path, tmp_path.with_name("out"))
    assert caught.value.code == "E_VISA_NOT_FOUND"
