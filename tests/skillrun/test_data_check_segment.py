"""`data check` on segment data sets: lists, files and the values of masks, provoked one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from skillrun.data.check import MaskRule, check_dataset, check_segment, mask_rule


def _image(
    path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", colour: int | tuple[int, int, int] = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.write_bytes(text.encode(encoding))


@pytest.fixture
def pairs(hostile_dir: Path) -> Path:
    """A segment root with three pairs at a hostile path."""
    for level, name in enumerate(("1", "2", "ü3"), start=1):
        _image(hostile_dir / "A" / f"{name}.png")
        _image(hostile_dir / "B" / f"{name}.png", colour=(level, 0, 0))
        mask = Image.new("L", (8, 8), 0)
        mask.putpixel((2, 2), 255)
        (hostile_dir / "label").mkdir(exist_ok=True)
        mask.save(hostile_dir / "label" / f"{name}.png")
    (hostile_dir / "list").mkdir()
    for split, name in (("train", "1"), ("val", "2"), ("test", "ü3")):
        _write(hostile_dir / "list" / f"{split}.txt", f"{name}.png\n")
    return hostile_dir


def test_a_good_segment_set_has_no_finding_and_is_counted(pairs: Path) -> None:
    report = check_dataset(pairs)
    assert report.findings == []
    assert report.splits == {"test": 1, "train": 1, "val": 1}
    assert (report.rows, report.images) == (3, 9)
    assert report.labels == {"0": 3, "255": 3}


SEGMENT_CASES: list[tuple[str, Callable[[Path], object]]] = [
    ("E_DATA_FOLDER_MISSING", lambda d: shutil.rmtree(d / "list")),
    ("E_DATA_LIST_MISSING", lambda d: (d / "list" / "val.txt").unlink()),
    ("E_DATA_EMPTY", lambda d: _write(d / "list" / "val.txt", "\n")),
    ("E_DATA_CSV_ENCODING", lambda d: _write(d / "list" / "test.txt", "ü3.png", "latin-1")),
    ("E_DATA_IMAGE_MISSING", lambda d: (d / "label" / "1.png").unlink()),
    ("E_DATA_IMAGE_EXT", lambda d: _write(d / "list" / "train.txt", "1.bmp\n")),
    ("E_DATA_IMAGE_UNREADABLE", lambda d: _write(d / "B" / "1.png", "x")),
    ("E_DATA_PATH_ESCAPES", lambda d: _write(d / "list" / "train.txt", "../A/1.png\n")),
    ("E_DATA_SIZE_MISMATCH", lambda d: _image(d / "label" / "1.png", (9, 9), "L")),
    ("E_DATA_MASK_CHANNELS", lambda d: _image(d / "label" / "1.png", mode="RGB", colour=(9, 200, 0))),
    ("E_DATA_MASK_VALUES", lambda d: _image(d / "label" / "1.png", mode="L", colour=2)),
    ("E_DATA_MASK_VALUES", lambda d: _image(d / "label" / "1.png", mode="L", colour=254)),
    ("W_DATA_DUPLICATE", lambda d: _write(d / "list" / "train.txt", "1.png\n1.png\n")),
    ("W_DATA_SPLIT_OVERLAP", lambda d: _write(d / "list" / "val.txt", "1.png\n")),
    ("W_DATA_ONE_CLASS", lambda d: [_image(p, mode="L") for p in list((d / "label").iterdir())]),
]


@pytest.mark.parametrize(("code", "breaks"), SEGMENT_CASES)
def test_each_finding_of_a_segment_set_is_provoked(pairs: Path, code: str, breaks: Callable[[Path], object]) -> None:
    breaks(pairs)
    report = check_segment(pairs, splits=["train", "val", "test"])
    found = {f.code: f for f in report.findings}
    assert code in found
    assert found[code].fix
    assert report.ok == code.startswith("W_")


def test_masks_are_judged_by_transform_and_classes(pairs: Path) -> None:
    report = check_segment(pairs, masks=MaskRule(norm=False))
    assert report.findings[0].fix == "dataset.segment.label_transform=norm"
    for path in (pairs / "label").iterdir():
        _image(path, mode="L", colour=3)
    assert check_segment(pairs, masks=MaskRule(norm=False, num_classes=4)).ok
    report = check_segment(pairs, masks=MaskRule(norm=False))
    assert report.findings[0].fix == "dataset.segment.num_classes=4"
    report = check_segment(pairs)
    assert report.findings[0].fix == "dataset.segment.label_transform=None dataset.segment.num_classes=4"


def _stored(mode: str, folder: Path, level: int) -> None:
    """All masks hold class 0 and, at one pixel, ``level``, stored in another way."""
    for path in folder.iterdir():
        mask = Image.new("L", (8, 8), 0)
        mask.putpixel((2, 2), level)
        if mode == "P":
            mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
            mask.info["transparency"] = 0
        elif mode == "1":
            mask = mask.point(lambda value: 255 if value else 0).convert("1")
        elif mode == "I;16":
            mask = mask.convert("I;16")
        else:
            mask = mask.convert(mode)
        mask.save(path)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGB", "RGBA", "I;16"])
def test_masks_of_zeros_and_ones_are_good_however_they_are_stored(pairs: Path, mode: str) -> None:
    _stored(mode, pairs / "label", 1)
    assert check_segment(pairs).findings == []
    assert check_segment(pairs, masks=MaskRule(norm=False)).findings == []


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "I;16"])
def test_masks_of_class_indices_are_good_with_as_many_classes(pairs: Path, mode: str) -> None:
    _stored(mode, pairs / "label", 2)
    assert check_segment(pairs, masks=MaskRule(norm=False, num_classes=3)).findings == []
    assert check_segment(pairs).findings[0].code == "E_DATA_MASK_VALUES"


def test_grey_levels_between_are_read_as_no_change_and_said(pairs: Path) -> None:
    mask = Image.new("L", (8, 8), 100)
    mask.putpixel((2, 2), 255)
    mask.save(pairs / "label" / "1.png")
    report = check_segment(pairs)
    assert report.ok
    assert report.findings[0].code == "W_DATA_MASK_GREY"


def test_masks_in_colour_need_a_table_that_holds_each_colour(pairs: Path) -> None:
    for path in (pairs / "label").iterdir():
        mask = Image.new("RGB", (8, 8), (255, 255, 255))
        mask.putpixel((2, 2), (255, 165, 0))
        mask.save(path)
    assert check_dataset(pairs, masks=mask_rule(10, "norm", "LandSCD")).findings == []
    assert check_segment(pairs).findings[0].code == "E_DATA_MASK_CHANNELS"
    own = {"0": [255, 255, 255], "1": [255, 165, 0], "2": [0, 0, 0]}
    assert check_segment(pairs, masks=mask_rule(3, "norm", "custom", own)).findings == []
    own["1"] = [1, 2, 3]
    report = check_segment(pairs, masks=mask_rule(3, "norm", "custom", own))
    assert report.findings[0].code == "E_DATA_MASK_VALUES"
    assert "[255, 165, 0]" in report.findings[0].message


def test_lists_may_have_a_header_columns_comments_and_names_with_blanks(pairs: Path) -> None:
    for part in ("A", "B", "label"):
        shutil.copy(pairs / part / "1.png", pairs / part / "board 1 top.png")
    _image(pairs / "B" / "board 1 top.png", colour=(77, 0, 0))
    _write(pairs / "list" / "train.txt", "# made by hand\nboard 1 top.png\n1.png A/1.png\n")
    (pairs / "list" / "val.txt").unlink()
    _write(pairs / "list" / "val.csv", 'id,image\n7,2.png\n8,"ü3.png"\n')
    (pairs / "list" / "test.txt").rename(pairs / "list" / "test_2024.txt")
    report = check_segment(pairs, splits=["train", "val", "test"])
    assert report.findings == []
    assert report.splits == {"train": 2, "val": 2, "test": 1}


def test_masks_are_found_by_stem_where_the_images_have_another_ending(pairs: Path) -> None:
    for part in ("A", "B"):
        (pairs / part / "1.png").rename(pairs / part / "1.JPG")
    _write(pairs / "list" / "train.txt", "1.JPG\n")
    assert check_segment(pairs, splits=["train"]).findings == []


def test_predict_needs_no_masks_and_lists_may_be_csv(pairs: Path) -> None:
    shutil.rmtree(pairs / "label")
    _write(pairs / "list" / "predict.csv", "1.png,board 1\n2.png,board 2\n")
    report = check_segment(pairs, splits=["predict"])
    assert report.findings == []
    assert (report.rows, report.images) == (2, 4)


def test_the_real_satellite_samples_are_good(shared: Path) -> None:
    root = shared / "data" / "levir_samples"
    if not root.is_dir():
        pytest.skip("no LEVIR samples beside this checkout")
    report = check_dataset(root)
    assert report.findings == []
    assert report.rows == 7
