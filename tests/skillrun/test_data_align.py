"""Registering test pictures to their goldens: shifts and turns of known size come back."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skillrun.cli.data import app
from skillrun.data.align import align_dataset, summary_of
from skillrun.data.check import check_dataset
from skillrun.data.registration import Move, find_move, likeness, moved
from skillrun.data.synth import synth
from skillrun.errors import ConflictError, DataError

pytest.importorskip("cv2", reason="OpenCV is not installed")


def _board(side: int = 160, seed: int = 0) -> np.ndarray:
    """(side, side) float32 of soft rectangles, as on a board."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side), 60, np.float32)
    for _ in range(40):
        x, y = rng.integers(0, side - 12, 2)
        width, height = rng.integers(4, 30, 2)
        picture[y : y + height, x : x + width] = rng.integers(90, 250)
    kernel = np.ones(3) / 3
    for axis in (0, 1):
        picture = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, picture).astype(np.float32)
    return picture


def _away(picture: np.ndarray, dx: float, dy: float, angle: float = 0.0) -> np.ndarray:
    """The picture laid off by a shift and a turn, drawn by OpenCV, not by the code under test."""
    import cv2

    height, width = picture.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -angle, 1.0)
    matrix[:, 2] += (dx, dy)
    drawn = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32)


@pytest.mark.parametrize(("dx", "dy", "angle"), [(3, -2, 0), (7.4, 5.6, 0), (-2.5, 1.25, 1.2), (0, 0, -2.0), (0, 0, 0)])
def test_a_known_move_is_found_and_undone(dx: float, dy: float, angle: float) -> None:
    golden = _board()
    test = _away(golden, dx, dy, angle)
    move = find_move(golden, test)
    assert move is not None
    assert (move.dx, move.dy) == pytest.approx((dx, dy), abs=0.15)
    assert move.angle == pytest.approx(angle, abs=0.1)
    assert likeness(golden, moved(test, move)) > 0.99


def test_without_opencv_the_shift_is_found_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skillrun.data.registration.can_turn", lambda: False)
    golden = _board()
    move = find_move(golden, _away(golden, 4.3, -6.6))
    assert move is not None
    assert (move.dx, move.dy) == pytest.approx((4.3, -6.6), abs=0.25)
    assert move.angle == 0


def test_noise_and_flat_pictures_have_no_move() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.uniform(0, 255, (64, 64)).astype(np.float32) for _ in range(2))
    assert find_move(one, two) is None
    assert find_move(np.full_like(one, 9), np.full_like(one, 9)) is None


def test_whole_pixels_move_exactly_and_masks_keep_their_values() -> None:
    picture = np.random.default_rng(1).integers(0, 2**16, (40, 50), np.uint16)
    back = moved(picture, Move(3, -2))
    assert back.dtype == np.uint16
    assert np.array_equal(back[2:, :-3], picture[:-2, 3:])
    mask = np.zeros((40, 50, 3), np.uint8)
    mask[10:20, 10:20] = 7
    assert set(np.unique(moved(mask, Move(0.4, 1.3, 4.0), nearest=True))) == {0, 7}


def _digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _shift_file(path: Path, dx: int, dy: int) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    rows, columns = (np.clip(np.arange(n) - by, 0, n - 1) for n, by in ((height, dy), (width, dx)))
    Image.fromarray(pixels[rows][:, columns]).save(path)


@pytest.fixture
def classify(hostile_dir: Path) -> Path:
    root = hostile_dir / "source"
    synth(root, pairs=12, size=96)
    return root


def test_shifted_pictures_move_back_and_the_others_keep_their_bytes(classify: Path, hostile_dir: Path) -> None:
    tests = sorted((classify / "train" / "images" / "test").rglob("*.png"))
    before = [np.asarray(Image.open(path)).astype(int) for path in tests[:3]]
    for path in tests[:3]:
        _shift_file(path, 6, -4)
    flat = tests[4]
    Image.new("RGB", (96, 96), 80).save(flat)
    (classify / ".DS_Store").write_bytes(b"-")
    source = _digest(classify)
    found = {one.test: one for one in align_dataset(classify, hostile_dir / "out")}
    assert _digest(classify) == source
    out = _digest(hostile_dir / "out")
    assert len(found) == 12
    for path, was in zip(tests, before, strict=False):
        name = path.relative_to(classify).as_posix()
        one = found[name]
        assert (one.state, one.dx, one.dy) == ("moved", pytest.approx(6, abs=1), pytest.approx(-4, abs=1))
        assert one.after > one.before
        now = np.asarray(Image.open(hostile_dir / "out" / name)).astype(int)
        assert np.abs(now - was)[12:-12, 12:-12].mean() < 12
    left = found[flat.relative_to(classify).as_posix()]
    assert (left.state, left.why) == ("left", "no clear peak")
    same = [name for name in source if name in out and out[name] == source[name]]
    moved_names = {one.test for one in found.values() if one.state == "moved"}
    assert {name for name in source if name.endswith(".png")} - set(same) == moved_names
    assert ".DS_Store" not in out
    assert check_dataset(hostile_dir / "out").ok
    with (hostile_dir / "out" / "align.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 12
    summary = json.loads((hostile_dir / "out" / "dataset.json").read_text(encoding="utf-8"))["aligned"]
    assert summary == summary_of(list(found.values()))
    assert summary["shift_px"]["worst"] == pytest.approx(7.2, abs=1)


def test_a_mask_moves_with_its_test_picture(hostile_dir: Path) -> None:
    root = hostile_dir / "source"
    synth(root, task="segment", pairs=8, size=96)
    name = next(p.name for p in sorted((root / "label").iterdir()) if np.asarray(Image.open(p)).any())
    mask = np.asarray(Image.open(root / "label" / name))
    for part in ("B", "label"):
        _shift_file(root / part / name, 5, 3)
    found = {one.test: one for one in align_dataset(root, hostile_dir / "out")}
    assert found[f"B/{name}"].state == "moved"
    now = np.asarray(Image.open(hostile_dir / "out" / "label" / name))
    assert set(np.unique(now)) <= {0, 255}
    both = ((now > 0) & (mask > 0)).sum() / ((now > 0) | (mask > 0)).sum()
    shifted = np.asarray(Image.open(root / "label" / name))
    assert both > ((shifted > 0) & (mask > 0)).sum() / ((shifted > 0) | (mask > 0)).sum()
    assert check_dataset(hostile_dir / "out").ok


def test_the_lights_of_a_sample_move_together(hostile_dir: Path) -> None:
    root = hostile_dir / "lights"
    for folder, by in (("golden", (0, 0)), ("test", (8, 5))):
        (root / "images" / folder).mkdir(parents=True)
        for light, gain in (("Low", 1.0), ("High", 0.0)):  # nothing is seen under the second light
            picture = _away(_board(), *by) * gain + 3
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / "images" / folder / f"c1_{light}.jpg")
    (root / "dataset.csv").write_text("input_path,golden_path,label,object_name\ntest,golden,x,c1\n", encoding="utf-8")
    found = align_dataset(root, hostile_dir / "out")
    assert [one.state for one in found] == ["moved", "moved"]
    assert {round(one.dx) for one in found} == {8}
    with Image.open(hostile_dir / "out" / "images" / "test" / "c1_Low.jpg") as image:
        assert image.format == "JPEG"


def test_a_broken_source_leaves_nothing(classify: Path, hostile_dir: Path) -> None:
    with pytest.raises(ConflictError):
        align_dataset(classify, classify / "out")
    next((classify / "eval" / "images" / "test").rglob("*.png")).write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        align_dataset(classify, hostile_dir / "out")
    assert caught.value.code == "E_DATA_IMAGE_UNREADABLE"
    assert not list(hostile_dir.glob("*out*"))


def test_the_command_shows_shifts_and_names_what_was_left(classify: Path, hostile_dir: Path) -> None:
    flat = next((classify / "eval" / "images" / "test").rglob("*.png"))
    Image.new("RGB", (96, 96), 80).save(flat)
    result = CliRunner().invoke(app, ["align", str(classify), str(hostile_dir / "out")])
    assert result.exit_code == 0, result.output
    assert "median" in result.stdout
    assert flat.name in result.stderr
    shown = CliRunner().invoke(app, ["align", str(classify), str(hostile_dir / "out"), "--force", "--json"])
    body = json.loads(shown.stdout)
    assert body["summary"]["left"] == 1
    assert len(body["pictures"]) == 12
