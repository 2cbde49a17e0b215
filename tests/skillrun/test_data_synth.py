"""Drawn boards: the same bytes for the same seed, the documented layouts, honest labels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skillrun.data.board import Step, draw_layout
from skillrun.data.check import check_dataset
from skillrun.data.defects import KINDS, Board, find_defect
from skillrun.data.extras import require
from skillrun.data.painting import paint_layers
from skillrun.data.pictures import read_grey
from skillrun.data.synth import board_pairs, synth
from skillrun.errors import BackendError, ConflictError, UsageError


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _boards_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images" / "test").iterdir()}


def test_the_same_seed_gives_the_same_bytes_also_in_another_process(hostile_dir: Path) -> None:
    synth(hostile_dir / "a", pairs=12, seed=5)
    call = "import sys; from skillrun.data.synth import synth; synth(sys.argv[1], pairs=12, seed=5)"
    subprocess.run([sys.executable, "-c", call, str(hostile_dir / "b")], check=True)
    synth(hostile_dir / "c", pairs=12, seed=6)
    assert _digest(hostile_dir / "a") == _digest(hostile_dir / "b") != _digest(hostile_dir / "c")


def test_classify_has_half_defects_of_all_kinds_and_boards_on_one_side_only(hostile_dir: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = synth(hostile_dir / "out", pairs=64, progress=lambda at, of: seen.append((at, of)))
    assert summary.total == 64
    labels: dict[str, int] = {}
    for split in summary.counts.values():
        for label, count in split.items():
            labels[label] = labels.get(label, 0) + count
    assert labels["PASS"] == 32
    assert set(labels) == {"PASS", *KINDS}
    assert sum(summary.counts["eval"].values()) == 16
    assert seen[-1] == (64, 64)
    assert not _boards_of(hostile_dir / "out" / "train") & _boards_of(hostile_dir / "out" / "eval")
    report = check_dataset(hostile_dir / "out")
    assert report.findings == []
    assert report.sizes == {"64x64": 128}
    assert report.extensions == {".png": 128}


def test_segment_lists_every_pair_and_masks_are_black_and_white(tmp_path: Path) -> None:
    summary = synth(tmp_path / "out", task="segment", pairs=16, size=96)
    assert summary.counts["train"]["pairs"] == 12
    assert summary.counts["val"]["pairs"] == summary.counts["test"]["pairs"] == 2
    report = check_dataset(tmp_path / "out")
    assert report.kind == "segment"
    assert report.findings == []
    assert set(report.labels) == {"0", "255"}
    assert report.sizes == {"96x96": 48}


@pytest.mark.parametrize("size", [32, 64, 200])
def test_only_defect_pairs_have_a_mask_and_it_is_big_enough_to_see(size: int) -> None:
    for pair in (pair for seed in range(12 if size < 100 else 2) for pair in board_pairs(seed, 2, 8, size=size)):
        assert pair.golden.shape == pair.test.shape == (size, size, 3)
        marked = int((pair.mask > 0).sum())
        assert (marked == 0) == (pair.label == "PASS")
        assert marked == 0 or marked >= 6 * size / 64
        assert not np.array_equal(pair.golden, pair.test)


def test_boards_of_a_seed_do_not_depend_on_how_many_are_drawn() -> None:
    first, again = (next(iter(board_pairs(7, 3, count))) for count in (2, 4))
    assert np.array_equal(first.golden, again.golden)
    other = next(iter(board_pairs(7, 4, 2)))
    assert not np.array_equal(first.golden, other.golden)


def test_nets_never_touch_and_traces_never_cross() -> None:
    layout = draw_layout(np.random.default_rng(0), nodes=24, unit=1.0)
    assert len(layout.steps) > 50
    for step in layout.steps:
        assert layout.nets[step.start] == layout.nets[step.end] == step.net

    def middle(step: Step) -> tuple[int, int]:
        return step.start[0] + step.end[0], step.start[1] + step.end[1]

    assert len({middle(step) for step in layout.steps}) == len(layout.steps)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_copper_the_way_its_name_says(kind: str) -> None:
    rng = np.random.default_rng(11)
    layout = draw_layout(rng, nodes=24, unit=1.0)
    layers = paint_layers(layout, 4)
    found = find_defect(kind, Board(layout, layers), rng)
    assert found is not None
    assert found.adds == (kind in ("short", "spur", "copper"))
    after = found.changed(layers.copper, (0.0, 0.0), 4)
    more, fewer = (after > layers.copper).sum(), (after < layers.copper).sum()
    assert (more > 0, fewer > 0) == (found.adds, not found.adds)


@pytest.mark.parametrize(
    "change",
    [{"pairs": 3}, {"seed": -1}, {"size": 31}, {"size": 2000}, {"eval_fraction": 0.0}, {"task": "x"}],
)
def test_values_outside_their_range_are_usage_errors(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        synth(tmp_path / "out", **change)  # type: ignore[arg-type]
    assert caught.value.fix
    assert not list(tmp_path.iterdir())


def test_the_smallest_set_has_both_sides(tmp_path: Path) -> None:
    assert synth(tmp_path / "out", pairs=4).counts.keys() == {"eval", "train"}


def test_somebody_elses_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConflictError):
        synth(tmp_path, pairs=4, force=True)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(BackendError) as caught:
        require("Drawing", "sys", "no_such_package")
    assert caught.value.code == "E_EXTRA_MISSING"
    assert "no_such_package" in caught.value.message
    assert caught.value.fix == 'pip install "skillrun[local]"'


def test_every_list_of_a_segment_set_has_pairs_with_and_without_a_change(tmp_path: Path) -> None:
    synth(tmp_path / "out", task="segment", pairs=60)
    for split in ("train", "val", "test"):
        names = (tmp_path / "out" / "list" / f"{split}.txt").read_text(encoding="utf-8").split()
        changed = sum(bool(read_grey(tmp_path / "out" / "label" / name).any()) for name in names)
        assert 0 < changed < len(names)
