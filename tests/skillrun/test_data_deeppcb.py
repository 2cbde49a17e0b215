"""Conversion of DeepPCB: on an imitation of two groups, and on the real boards where they are at hand."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from skillrun.data.check import check_dataset
from skillrun.data.crops import MARGIN, REACH, Box, clean_origins, defect_origin, tile_origins
from skillrun.data.deeppcb import convert_deeppcb, find_boards, read_boxes
from skillrun.data.differences import difference_mask
from skillrun.data.pictures import read_grey
from skillrun.errors import ConflictError, DataError, NotFoundError, UsageError

BOXES = {"group10": [(40, 50, 60, 70, 1), (300, 300, 380, 320, 2)], "group20": [(150, 200, 172, 214, 6)]}


def _draw(path: Path, boxes: list[tuple[int, int, int, int, int]]) -> None:
    picture = np.full((400, 480), 255, np.uint8)
    picture[:, ::40] = 0
    for start in range(10, 400, 60):
        picture[start : start + 20] = 0
    for x1, y1, x2, y2, _ in boxes:
        inside = picture[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
        inside[:] = 255 - inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())


@pytest.fixture
def imitation(hostile_dir: Path) -> Path:
    """Two groups of one board each, in DeepPCB's layout, at a hostile path."""
    root = hostile_dir / "PCBData"
    for group, boxes in BOXES.items():
        number = group.removeprefix("group")
        _draw(root / group / number / f"{number}001_temp.jpg", [])
        _draw(root / group / number / f"{number}001_test.jpg", boxes)
        notes = root / group / f"{number}_not" / f"{number}001.txt"
        notes.parent.mkdir()
        notes.write_text("".join(" ".join(map(str, box)) + "\n" for box in boxes), encoding="utf-8")
    return root


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_classify_writes_each_small_defect_and_as_many_clean_crops(imitation: Path, hostile_dir: Path) -> None:
    done: list[tuple[int, int]] = []
    summary = convert_deeppcb(
        imitation, hostile_dir / "out", eval_groups=["20"], progress=lambda at, of: done.append((at, of))
    )
    assert summary.counts == {"eval": {"PASS": 1, "pinhole": 1}, "train": {"PASS": 1, "open": 1}}
    assert summary.source["skipped_large"] == 1
    assert done == [(1, 2), (2, 2)]
    for split, size in (("train", 64), ("eval", 64)):
        folder = hostile_dir / "out" / split
        for row in _rows(folder):
            assert list(row) == ["input_path", "golden_path", "label", "object_name"]
            pair = [
                read_grey(folder / "images" / row[column] / f"{row['object_name']}.png")
                for column in ("input_path", "golden_path")
            ]
            assert [p.shape for p in pair] == [(size, size)] * 2
            changed = np.abs(pair[0].astype(int) - pair[1]).max() > 128
            assert changed == (row["label"] != "PASS")
    manifest = json.loads((hostile_dir / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert manifest["counts"] == summary.counts
    assert manifest["source"]["eval_groups"] == ["group20"]
    assert check_dataset(hostile_dir / "out").findings == []


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(imitation: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        convert_deeppcb(imitation.parent, tmp_path / name, eval_groups=["group20"], seed=seed)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")


def test_segment_marks_the_difference_inside_the_boxes_only(imitation: Path, tmp_path: Path) -> None:
    summary = convert_deeppcb(imitation, tmp_path / "out", task="segment", eval_groups=["20"])
    assert {split: n["pairs"] for split, n in summary.counts.items()} == {
        "train": 1, "val": 1, "test": 1, "predict": 1,
    }  # fmt: skip
    mask = read_grey(tmp_path / "out" / "label" / "10001.png")
    assert mask.shape == (400, 480)
    assert set(np.unique(mask)) == {0, 255}
    inside = np.zeros_like(mask)
    for x1, y1, x2, y2, _ in BOXES["group10"]:
        assert mask[y1:y2, x1:x2].any()
        inside[y1:y2, x1:x2] = 255
    assert not mask[inside == 0].any()
    assert (tmp_path / "out" / "list" / "train.txt").read_text(encoding="utf-8") == "10001.png\n"
    assert check_dataset(tmp_path / "out").findings == []


def _lists(root: Path) -> dict[str, list[str]]:
    return {p.stem: p.read_text(encoding="utf-8").split() for p in sorted((root / "list").glob("*.txt"))}


def test_segment_tiles_show_each_defect_and_as_many_places_without_one(imitation: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = convert_deeppcb(imitation, out, task="segment", crop=96, eval_groups=["20"])
    assert summary.counts["train"] == {"pairs": 4}
    assert summary.source["crop_px"] == 96
    lists = _lists(out)
    assert [name[:5] for name in lists["train"]] == ["10001"] * 4
    assert [name[:5] for name in lists["test"]] == ["20001"] * 2
    masks = [read_grey(out / "label" / name) for name in lists["train"]]
    assert [mask.shape for mask in masks] == [(96, 96)] * 4
    assert [bool(mask.any()) for mask in masks] == [True, True, False, False]
    for name, mask in zip(lists["train"], masks, strict=True):
        golden, test = (read_grey(out / part / name).astype(int) for part in ("A", "B"))
        assert not np.abs(golden - test)[mask == 0].mean() > 30
        assert not mask.any() or np.abs(golden - test)[mask > 0].mean() > 100
    assert check_dataset(out).findings == []


def test_tiles_have_the_same_bytes_for_the_same_seed_only(imitation: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        convert_deeppcb(imitation, tmp_path / name, task="segment", crop=96, eval_groups=["20"], seed=seed)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")


@pytest.mark.parametrize("seed", range(20))
def test_every_box_lies_whole_in_a_tile_or_is_covered_by_several(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 240, (6, 2))
    boxes = [Box(int(x), int(y), int(x) + int(rng.integers(1, 60)), int(y) + 20) for x, y in corners]
    boxes += [Box(10, 100, 160, 120), Box(5, 5, 150, 220)]
    tiles = tile_origins(boxes, (300, 300), 64, rng, 20)
    shown = np.zeros((300, 300), bool)
    for x, y in tiles:
        assert 0 <= x <= 300 - 64
        assert 0 <= y <= 300 - 64
        shown[y : y + 64, x : x + 64] = True
    for box in boxes:
        assert shown[box.y1 : box.y2, box.x1 : box.x2].all()
        assert box.longest > 64 or any(
            x <= box.x1 and y <= box.y1 and box.x2 <= x + 64 and box.y2 <= y + 64 for x, y in tiles
        )


def test_a_defect_that_a_tile_already_shows_gets_no_tile_of_its_own() -> None:
    boxes = [Box(100, 100, 110, 110), Box(104, 108, 112, 112)]
    assert len(tile_origins(boxes, (300, 300), 64, np.random.default_rng(0), 0)) == 1


def test_a_box_without_a_difference_gets_its_core_marked() -> None:
    flat = np.full((40, 40), 200, np.uint8)
    mask = difference_mask(flat, flat, [Box(8, 8, 24, 24)])
    assert mask.sum() // 255 == 64
    assert mask[16, 16] == 255


def test_a_shift_of_a_pixel_is_no_difference_but_the_defect_is() -> None:
    golden = np.full((60, 60), 255, np.uint8)
    golden[:, 20:30] = 0
    test = np.roll(golden, 1, axis=1)
    test[25:35, 31:38] = 0
    mask = difference_mask(golden, test, [Box(10, 15, 50, 45)])
    assert mask[28:32, 33:36].all()
    assert not mask[16:22].any()


@pytest.mark.parametrize("seed", range(30))
def test_a_crop_holds_its_box_stays_inside_and_lies_at_most_the_reach_off(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = (int(v) for v in rng.integers(0, 200 - 60, 2))
    box = Box(x, y, x + int(rng.integers(1, 60)), y + int(rng.integers(1, 60)))
    left, top = defect_origin(box, (200, 200), 64, rng)
    assert 0 <= left <= min(box.x1, 200 - 64)
    assert 0 <= top <= min(box.y1, 200 - 64)
    assert box.x2 <= left + 64
    assert box.y2 <= top + 64
    inner = 32 + REACH <= (box.x1 + box.x2) / 2 <= 200 - 32 - REACH
    assert not inner or abs(left + 32 - (box.x1 + box.x2) / 2) <= REACH + 1


def test_centred_crops_have_the_box_in_the_middle() -> None:
    assert defect_origin(Box(90, 100, 110, 120), (200, 200), 64, np.random.default_rng(0), 0) == (68, 78)


def test_clean_crops_keep_the_margin_and_show_an_outline() -> None:
    golden = np.full((300, 300), 255, np.uint8)
    golden[100:200, 100:200] = 0
    boxes = [Box(95, 120, 110, 140)]
    places = clean_origins(golden, boxes, 48, 4, np.random.default_rng(1))
    assert len(places) == 4
    for x, y in places:
        assert not boxes[0].touches((x, y), 48, MARGIN)
        assert len(np.unique(golden[y : y + 48, x : x + 48])) == 2


def test_a_blank_board_has_no_clean_crop() -> None:
    assert clean_origins(np.zeros((99, 99), np.uint8), [], 32, 3, np.random.default_rng(0)) == []


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 4 9", "9 9 3 3 1", "a b c d 1", "1 2 3 4 1 1", "-1 2 3 4 1"])
def test_a_wrong_annotation_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "n.txt"
    path.write_text(f"1 2 9 9 1\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3") as caught:
        read_boxes(path)
    assert caught.value.code == "E_DEEPPCB_ANNOTATION"


def test_annotations_may_have_commas(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("1,2,9,9,3\n", encoding="utf-8")
    assert read_boxes(tmp_path / "n.txt") == [Box(1, 2, 9, 9, "mousebite")]


def test_broken_sources_are_refused_and_leave_nothing(imitation: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    board = find_boards(imitation)[0]
    original = board.annotation.read_text(encoding="utf-8")
    cases: dict[str, Callable[[], object]] = {
        "E_DEEPPCB_ANNOTATION": lambda: board.annotation.write_text("1 2 9999 9 1\n", encoding="utf-8"),
        "E_DATA_SIZE": lambda: board.test.write_bytes(cv2.imencode(".jpg", np.zeros((99, 99), np.uint8))[1].tobytes()),
        "E_DATA_IMAGE_UNREADABLE": lambda: board.test.write_bytes(b"no picture"),
        "E_DATA_IMAGE_MISSING": board.test.unlink,
    }
    for code, breaks in cases.items():
        breaks()
        with pytest.raises(DataError) as caught:
            convert_deeppcb(imitation, out, eval_groups=["20"])
        assert caught.value.code == code
        board.annotation.write_text(original, encoding="utf-8")
        assert not list(tmp_path.glob("*out*"))
    with pytest.raises(NotFoundError):
        convert_deeppcb(tmp_path, out)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"task": "detect"}, "E_DATA_TASK"),
        ({"crop": 8}, "E_DATA_CROP"),
        ({"crop": 0}, "E_DATA_CROP"),
        ({"crop": 8, "task": "segment"}, "E_DATA_CROP"),
        ({"eval_groups": ["99"]}, "E_DATA_GROUPS"),
        ({"eval_groups": []}, "E_DATA_GROUPS"),
        ({"eval_groups": ["10", "20"]}, "E_DATA_GROUPS"),
    ],
)
def test_wrong_options_are_usage_errors(imitation: Path, tmp_path: Path, change: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert_deeppcb(imitation, tmp_path / "out", **({"eval_groups": ["20"]} | change))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_an_occupied_destination_is_kept_unless_forced(imitation: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    convert_deeppcb(imitation, out, eval_groups=["20"])
    before = _digest(out)
    with pytest.raises(ConflictError):
        convert_deeppcb(imitation, out, eval_groups=["20"], seed=1)
    assert _digest(out) == before
    convert_deeppcb(imitation, out, eval_groups=["20"], seed=1, force=True)
    assert _digest(out) != before
    (out / "dataset.json").unlink()
    for place in (out, out / "train" / "dataset.csv"):
        with pytest.raises(ConflictError) as caught:
            convert_deeppcb(imitation, place, eval_groups=["20"], force=True)
        assert caught.value.code == "E_DATA_DESTINATION"
    assert [p.name for p in tmp_path.glob(".out*")] == []


def test_the_real_boards_convert_completely(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "deeppcb"
    if not source.is_dir():
        pytest.skip("no DeepPCB beside this checkout")
    summary = convert_deeppcb(source, tmp_path / "out")
    assert summary.source["boards"] == 311
    assert summary.source["skipped_large"] == 409
    defects = sum(n for split in summary.counts.values() for label, n in split.items() if label != "PASS")
    assert defects == 1386
    assert sum(split["PASS"] for split in summary.counts.values()) == 1386
    report = check_dataset(tmp_path / "out")
    assert report.ok
    assert set(report.totals) <= {"W_DATA_LEAK", "W_DATA_SHIFT", "W_DATA_TWIN"}
    groups = {
        split: {row["input_path"].removeprefix("test/")[:5] for row in _rows(tmp_path / "out" / split)}
        for split in ("train", "eval")
    }
    assert groups == {"train": {"44000", "50600", "92000"}, "eval": {"77000"}}


def test_tiles_of_the_real_boards_share_no_board_between_the_lists(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "deeppcb"
    if not source.is_dir():
        pytest.skip("no DeepPCB beside this checkout")
    summary = convert_deeppcb(source, tmp_path / "out", task="segment", crop=128)
    assert {split: n["pairs"] for split, n in summary.counts.items()} == {
        "train": 2462, "val": 494, "test": 518, "predict": 518,
    }  # fmt: skip
    boards = {split: {name.split("_")[0] for name in names} for split, names in _lists(tmp_path / "out").items()}
    assert {board[:5] for board in boards["train"]} == {"44000", "50600", "92000"}
    assert {board[:5] for board in boards["val"] | boards["test"]} == {"77000"}
    assert not boards["val"] & boards["test"]
    with_change = sum(bool(read_grey(path).any()) for path in (tmp_path / "out" / "label").glob("*.png"))
    assert with_change == 1737
