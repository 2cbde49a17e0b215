"""Rules that compare pictures: balance, twins, leaks, shifts; each provoked on small drawn data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skillrun.data.check import SegmentFolders, check_dataset, check_segment
from skillrun.data.synth import synth

HEADER = "input_path,golden_path,label,object_name\n"


def _texture(seed: int, side: int = 64) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (side // 4, side // 4), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _make(folder: Path, labels: list[str], first: int = 0, move: int = 0) -> Path:
    """Pairs of textures; the test picture has noise and lies ``move`` pixels to the right of its golden."""
    for part in ("golden", "test"):
        (folder / "images" / part).mkdir(parents=True)
    for number in range(len(labels)):
        golden = _texture(first + number)
        noise = np.random.default_rng(first + number + 10_000).integers(0, 4, golden.shape, np.uint8)
        Image.fromarray(golden).save(folder / "images" / "golden" / f"{number}.png")
        Image.fromarray(np.roll(golden // 2 + noise, move, axis=1)).save(folder / "images" / "test" / f"{number}.png")
    rows = "".join(f"test,golden,{label},{number}\n" for number, label in enumerate(labels))
    (folder / "dataset.csv").write_text(HEADER + rows, encoding="utf-8")
    return folder


def _mixed(count: int) -> list[str]:
    return ["PASS", "open"] * (count // 2)


@pytest.mark.parametrize(("rare", "fix"), [("open", "fpratio_sampling=1.0"), ("PASS", "cls_weight=[10.0,1.0]")])
def test_a_rare_class_is_told_with_the_override_that_helps(hostile_dir: Path, rare: str, fix: str) -> None:
    common = "PASS" if rare == "open" else "open"
    report = check_dataset(_make(hostile_dir / "train", [common] * 18 + [rare] * 3))
    assert report.totals == {"W_DATA_BALANCE": 1}
    assert report.findings[0].fix.endswith(fix)
    assert report.ok


def test_few_but_balanced_samples_call_for_more_and_not_for_weights(hostile_dir: Path) -> None:
    report = check_dataset(_make(hostile_dir / "train", ["PASS"] * 9 + ["open"] * 13))
    assert report.totals == {"W_DATA_BALANCE": 1}
    assert report.findings[0].fix.startswith("Add rows of PASS")


def test_test_pictures_of_the_same_bytes_are_twins_but_goldens_may_repeat(hostile_dir: Path) -> None:
    folder = _make(hostile_dir / "set", _mixed(4))
    for part in ("golden", "test"):
        picture = folder / "images" / part
        (picture / "3.png").write_bytes((picture / "0.png").read_bytes())
    report = check_dataset(folder)
    assert report.totals == {"W_DATA_TWIN": 1}
    assert "'PASS' and 'open'" in report.findings[0].message


def test_a_defect_whose_golden_is_the_same_file_content_is_told(hostile_dir: Path) -> None:
    folder = _make(hostile_dir / "set", _mixed(4))
    for name in ("0.png", "1.png"):
        (folder / "images" / "test" / name).write_bytes((folder / "images" / "golden" / name).read_bytes())
    report = check_dataset(folder)
    assert report.totals == {"W_DATA_GOLDEN_IS_TEST": 1}
    assert report.findings[0].line == 3


@pytest.mark.parametrize("stored", ["same", "jpeg"])
def test_a_held_out_picture_that_is_trained_on_is_a_leak_with_both_names(hostile_dir: Path, stored: str) -> None:
    _make(hostile_dir / "train", _mixed(6))
    _make(hostile_dir / "eval", _mixed(6), first=100)
    source = hostile_dir / "train" / "images" / "test" / "2.png"
    target = hostile_dir / "eval" / "images" / "test" / "4.png"
    if stored == "same":
        target.write_bytes(source.read_bytes())
    else:
        Image.open(source).save(target, format="JPEG", quality=85)
    for report in (
        check_dataset(hostile_dir),
        check_dataset([hostile_dir / "train", hostile_dir / "eval"]),
    ):
        leaks = [finding for finding in report.findings if finding.code == "W_DATA_LEAK"]
        assert len(leaks) == 1
        assert str(source) in leaks[0].message
        assert str(target) in leaks[0].message


def test_pairs_that_lie_apart_are_counted_and_the_worst_is_named(hostile_dir: Path) -> None:
    assert check_dataset(_make(hostile_dir / "good", _mixed(6), move=1)).findings == []
    report = check_dataset(_make(hostile_dir / "moved", _mixed(6), move=5))
    assert report.totals == {"W_DATA_SHIFT": 1}
    assert "in 6 of 6 pairs" in report.findings[0].message
    assert [round(shift.dx) for shift in report.shifts] == [5] * 6
    assert report.sampled["shifts"].startswith("all 6 pairs")


def test_pictures_without_texture_have_no_shift(hostile_dir: Path) -> None:
    folder = _make(hostile_dir / "set", ["PASS", "open"])
    for number, path in enumerate(sorted((folder / "images").rglob("*.png"))):
        Image.new("L", (64, 64), number).save(path)
    report = check_dataset(folder)
    assert report.findings == []
    assert report.shifts == []


def test_segment_files_without_partner_and_hidden_files_are_counted(hostile_dir: Path) -> None:
    root = hostile_dir / "boards"
    synth(root, task="segment", pairs=8, size=64)
    (root / "A" / "alone.png").write_bytes(b"x")
    (root / "label" / "orphan.png").write_bytes(b"x")
    (root / "B" / ".DS_Store").write_bytes(b"x")
    report = check_dataset(root)
    assert report.totals == {"W_DATA_UNPAIRED": 2, "W_DATA_HIDDEN": 1}
    assert report.unpaired["A without B"].names == ("alone",)
    assert report.hidden == 1


def test_a_jpeg_mask_is_told_by_its_blurred_edges_and_a_grey_png_by_its_levels(hostile_dir: Path) -> None:
    root = hostile_dir / "boards"
    synth(root, task="segment", pairs=8, size=64)
    jpegs = SegmentFolders(label_suffix=".jpg")
    crisp = np.kron(np.eye(8), np.ones((8, 8))).astype(np.uint8) * 255
    for path in sorted((root / "label").iterdir()):
        Image.fromarray(crisp).save(path.with_suffix(".jpg"), quality=100)
        path.unlink()
    # Edges on the block grid of a JPEG stay sharp: such masks lose nothing.
    assert check_segment(root, folders=jpegs).totals == {}
    blurred = sorted((root / "label").iterdir())[0]
    Image.fromarray(np.roll(crisp, 3, axis=1)).save(blurred, quality=60)
    with Image.open(blurred) as image:
        levels = len(image.getcolors())
    report = check_segment(root, folders=jpegs)
    assert report.ok and report.totals == {"W_DATA_MASK_JPEG": 1}
    (found,) = report.findings
    assert f"JPEG with {levels} levels" in found.message and found.file == str(blurred)
    for path in sorted((root / "label").iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".png"))
    assert check_segment(root).totals == {"W_DATA_MASK_GREY": 1}
