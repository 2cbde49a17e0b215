"""Conversion of LEVIR-CD and of plain folders: imitations, and the real tiles where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skillrun.cli.data import app
from skillrun.data.check import check_dataset
from skillrun.data.levir import convert_levir
from skillrun.data.pairs import read_mask
from skillrun.data.pictures import read_grey
from skillrun.data.plain import convert_folders
from skillrun.errors import DataError, NotFoundError, UsageError


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _pair(root: Path, name: str, parts: tuple[str, str, str], *, changed: bool, side: int = 128) -> None:
    golden = np.random.default_rng(len(name)).integers(0, 255, (side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 4, : side // 4] = 255 * changed
    test = np.where(mask[..., None] > 0, 255 - golden, golden).astype(np.uint8)
    for part, picture in zip(parts, (golden, test, mask), strict=True):
        _save(root / part / name, picture)


LEVIR = ("A", "B", "label")
PLAIN = ("golden", "test", "masks")


@pytest.fixture
def levir(hostile_dir: Path) -> Path:
    for split in ("train", "val", "test"):
        for number in range(2):
            _pair(hostile_dir / "levir" / split, f"{split}_{number}.png", LEVIR, changed=number == 0)
    return hostile_dir / "levir"


def test_levir_tiles_stay_in_the_list_of_their_picture(levir: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "out"
    summary = convert_levir(levir, out, tile=32)
    assert {split: n["pairs"] for split, n in summary.counts.items()} == {
        "train": 32, "val": 32, "test": 32, "predict": 32,
    }  # fmt: skip
    assert summary.source["tiles_with_change"] == 3
    listed = (out / "list" / "val.txt").read_text(encoding="utf-8").split()
    assert listed[0] == "val_0_0000_0000.png"
    assert all(name.startswith("val_") for name in listed)
    whole, tile = (Image.open(p) for p in (levir / "val" / "B" / "val_1.png", out / "B" / "val_1_0064_0032.png"))
    assert np.array_equal(np.asarray(whole)[64:96, 32:64], np.asarray(tile))
    assert check_dataset(out).ok


def test_levir_tiles_cover_a_picture_that_is_no_multiple_of_them(hostile_dir: Path) -> None:
    _pair(hostile_dir / "levir" / "train", "1.png", LEVIR, changed=True, side=80)
    summary = convert_levir(hostile_dir / "levir", hostile_dir / "out", tile=64)
    assert summary.counts == {"train": {"pairs": 4}, "predict": {"pairs": 4}}
    names = sorted(p.name for p in (hostile_dir / "out" / "A").iterdir())
    assert names == [f"train_1_{top:04d}_{left:04d}.png" for top in (0, 16) for left in (0, 16)]


@pytest.mark.parametrize(
    ("breaks", "code"),
    [
        (lambda root: (root / "val" / "label" / "val_1.png").unlink(), "E_DATA_IMAGE_MISSING"),
        (lambda root: _save(root / "val" / "B" / "val_1.png", np.zeros((64, 128, 3), np.uint8)), "E_DATA_SIZE"),
        (lambda root: (root / "val" / "A" / "val_1.png").write_bytes(b"x"), "E_DATA_IMAGE_UNREADABLE"),
    ],
)
def test_a_broken_levir_source_leaves_nothing(levir: Path, hostile_dir: Path, breaks, code: str) -> None:
    breaks(levir)
    with pytest.raises(DataError) as caught:
        convert_levir(levir, hostile_dir / "out", tile=64)
    assert caught.value.code == code
    assert not list(hostile_dir.glob("*out*"))


def test_wrong_tiles_and_other_folders_are_refused(levir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        convert_levir(levir, tmp_path / "out", tile=8)
    with pytest.raises(NotFoundError, match="label"):
        convert_levir(levir / "train" / "A", tmp_path / "out")


def test_plain_folders_pair_by_name_and_name_what_has_no_partner(hostile_dir: Path) -> None:
    root = hostile_dir / "plain"
    for number in range(8):
        _pair(root, f"ü board,{number} #.png", PLAIN, changed=number % 2 == 0, side=40)
    (root / "masks" / "ü board,1 #.png").rename(root / "masks" / "ü board,1 #_mask.png")
    Image.open(root / "test" / "ü board,2 #.png").save(root / "test" / "ü board,2 #.BMP")
    (root / "test" / "ü board,2 #.png").unlink()
    for part, name in (("golden", "g"), ("test", "t"), ("masks", "m")):
        _save(root / part / f"{name}.png", np.zeros((40, 40), np.uint8))
    _save(root / "golden" / ".hidden.png", np.zeros((4, 4), np.uint8))
    for task in ("classify", "segment"):
        out = hostile_dir / task
        summary = convert_folders(root, out, task=task)
        left = summary.source["left_out"]
        assert {why: entry["names"] for why, entry in left.items()} == {
            "no golden": ["t"], "no test picture": ["g"], "no mask": ["t"], "mask of nothing": ["m"],
        }  # fmt: skip
        assert check_dataset(out).ok
    assert {k: dict(v) for k, v in convert_folders(root, hostile_dir / "again").counts.items()} == {
        "train": {"PASS": 3, "defect": 3}, "eval": {"PASS": 1, "defect": 1},
    }  # fmt: skip


def test_plain_folders_take_labels_from_folders_and_share_a_golden_by_name(hostile_dir: Path) -> None:
    root = hostile_dir / "plain"
    for number in range(4):
        picture = np.full((40, 40), 50 * number, np.uint8)
        _save(root / "golden" / f"{number}.png", picture)
        for label in ("OK", "scratch"):
            _save(root / "test" / label / f"{number}.png", picture)
    summary = convert_folders(root, hostile_dir / "out")
    assert summary.counts == {"train": {"PASS": 3, "scratch": 3}, "eval": {"PASS": 1, "scratch": 1}}
    assert check_dataset(hostile_dir / "out").ok


def test_plain_folders_without_masks_are_for_prediction_only(hostile_dir: Path) -> None:
    root = hostile_dir / "plain"
    for part in ("golden", "test"):
        _save(root / part / "1.png", np.zeros((40, 40), np.uint8))
    summary = convert_folders(root, hostile_dir / "out", task="segment")
    assert summary.counts == {"predict": {"pairs": 1}}
    assert check_dataset(hostile_dir / "out").ok
    with pytest.raises(DataError) as caught:
        convert_folders(root, hostile_dir / "labelled")
    assert caught.value.code == "E_FOLDERS_LABELS"
    assert not list(hostile_dir.glob("*labelled*"))


def test_plain_folders_are_refused_where_nothing_pairs_or_sizes_differ(hostile_dir: Path) -> None:
    root = hostile_dir / "plain"
    with pytest.raises(NotFoundError):
        convert_folders(root, hostile_dir / "out")
    _save(root / "golden" / "one.png", np.zeros((40, 40), np.uint8))
    _save(root / "test" / "two.png", np.zeros((40, 40), np.uint8))
    with pytest.raises(DataError, match="golden: one; test: two") as caught:
        convert_folders(root, hostile_dir / "out", task="segment")
    assert caught.value.code == "E_FOLDERS_PAIRS"
    _save(root / "test" / "one.png", np.zeros((40, 41), np.uint8))
    with pytest.raises(DataError, match="41 x 40") as caught:
        convert_folders(root, hostile_dir / "out", task="segment")
    assert caught.value.code == "E_DATA_SIZE"
    assert not list(hostile_dir.glob("*out*"))


def test_masks_of_every_kind_become_two_valued(tmp_path: Path) -> None:
    marked = np.zeros((32, 32), bool)
    marked[8:24, 8:24] = True
    palette = Image.fromarray(marked.astype(np.uint8) * 3).convert("P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 9, 9, 9, 0, 0, 1])
    transparent = np.zeros((32, 32, 4), np.uint8)
    transparent[..., 3], transparent[marked, 2] = 255, 1
    for name, picture in {
        "index.png": palette,
        "one.png": Image.fromarray(marked.astype(np.uint8)),
        "bit.png": Image.fromarray(marked),
        "deep.png": Image.fromarray(marked.astype(np.uint16) * 700),
        "colour.png": Image.fromarray(transparent),
        "lossy.jpg": Image.fromarray(marked.astype(np.uint8) * 255),
    }.items():
        picture.save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name) == 255, marked), name


def test_real_tiles_convert_by_both_converters(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "levir_samples"
    if not source.is_dir():
        pytest.skip("no LEVIR tiles beside this checkout")
    summary = convert_folders(source, tmp_path / "plain", task="segment")
    assert summary.source["left_out"] == {"no mask": {"count": 1, "names": ["test_113_0256"]}}
    assert summary.source["pairs"] == 11
    assert check_dataset(tmp_path / "plain").ok
    large = tmp_path / "large"
    large.mkdir()
    for part in LEVIR:
        (large / part).symlink_to(source / part)
    (large / "list").mkdir()
    listed = (source / "list" / "demo.txt").read_text(encoding="utf-8")
    (large / "list" / "test.txt").write_text(listed, encoding="utf-8")
    made = convert_levir(large, tmp_path / "tiles", tile=128)
    assert made.counts["test"] == {"pairs": 28}
    marked = sum(int((read_grey(p) > 0).sum()) for p in (tmp_path / "tiles" / "label").iterdir())
    assert marked == sum(int((read_grey(source / "label" / name) > 0).sum()) for name in listed.split())
    assert check_dataset(tmp_path / "tiles").ok


def test_the_command_takes_only_options_of_its_kind_and_names_what_it_left_out(hostile_dir: Path) -> None:
    for number in range(4):
        _pair(hostile_dir / "plain", f"{number}.png", PLAIN, changed=number % 2 == 0, side=40)
    _save(hostile_dir / "plain" / "test" / "<b>alone.png", np.zeros((40, 40), np.uint8))
    runner, arguments = CliRunner(), [str(hostile_dir / "plain"), str(hostile_dir / "out")]
    for kind, option, code in (
        ("folders", ["--tile", "64"], "E_CONVERT_OPTION"),
        ("mvtec", ["--centred"], "E_CONVERT_OPTION"),
        ("levir", ["--task", "classify"], "E_CONVERT_OPTION"),
        ("mvtek", [], "E_CONVERT_KIND"),
    ):
        refused = runner.invoke(app, ["convert", kind, *arguments, *option])
        assert isinstance(refused.exception, UsageError)
        assert refused.exception.code == code
    made = runner.invoke(app, ["convert", "folders", *arguments, "--task", "segment"])
    assert made.exit_code == 0, made.output
    assert "left out, no golden: 1: <b>alone" in made.stderr
    assert "next: skillrun visual_changenet segment_train" in made.stderr
    assert not list(hostile_dir.glob(".out*"))


def test_an_interrupted_conversion_leaves_nothing(levir: Path, hostile_dir: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_levir(levir, hostile_dir / "out", tile=64, progress=interrupt)
    assert [path.name for path in hostile_dir.iterdir()] == ["levir"]
