"""Dividing data sets: no group on two sides, labels spread, pictures copied."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from skillrun.cli.data import app
from skillrun.data.check import check_dataset
from skillrun.data.sides import assign_sides, parse_fractions
from skillrun.data.split import split_dataset
from skillrun.data.synth import synth
from skillrun.errors import ConflictError, DataError, UsageError

COLUMNS = ("input_path", "golden_path", "label", "object_name", "serial")


def _save(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), grey % 256, np.uint8)).save(path)


@pytest.fixture
def source(hostile_dir: Path) -> Path:
    """Ten boards of six samples with two lights, goldens in one folder; every third sample is a defect."""
    root = hostile_dir / "source"
    rows = []
    for board in range(10):
        for number in range(6):
            name = "R1" if number == 0 else f"R1_{number}"
            row = (
                f"board {board}",
                "golden",
                "short" if number % 3 == 2 else "PASS",
                f"{name} b{board}",
                f"s{board % 5}",
            )
            rows.append(row)
            for light in ("Low", "High"):
                for folder in row[:2]:
                    _save(root / "images" / folder / f"{row[3]}_{light}.png", board * 20 + number)
    with (root / "dataset.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return root


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_no_board_lies_on_two_sides_and_labels_are_spread(source: Path, hostile_dir: Path) -> None:
    out = hostile_dir / "out"
    summary = split_dataset(source, out)
    assert summary.counts == {"train": {"PASS": 32, "short": 16}, "eval": {"PASS": 8, "short": 4}}
    boards = [{row["input_path"] for row in _rows(out / side)} for side in ("train", "eval")]
    assert not boards[0] & boards[1]
    assert len(boards[0] | boards[1]) == 10
    assert list(_rows(out / "eval")[0]) == list(COLUMNS)
    for side in ("train", "eval"):
        rows = _rows(out / side)
        for row in rows:
            for light in ("Low", "High"):
                name = f"{row['object_name']}_{light}.png"
                for column in ("input_path", "golden_path"):
                    copy = out / side / "images" / row[column] / name
                    assert copy.read_bytes() == (source / "images" / row[column] / name).read_bytes()
        assert len(list((out / side / "images").rglob("*.png"))) == 4 * len(rows)


def test_a_column_groups_too_and_an_unknown_one_is_refused(source: Path, hostile_dir: Path) -> None:
    split_dataset(source, hostile_dir / "out", group="serial", shares={"a": 0.4, "b": 0.4, "c": 0.2})
    serials = [{row["serial"] for row in _rows(hostile_dir / "out" / side)} for side in "abc"]
    assert sorted(map(len, serials)) == [1, 2, 2]
    assert len(set.union(*serials)) == 5
    with pytest.raises(UsageError, match="serial") as caught:
        split_dataset(source, hostile_dir / "no", group="lot")
    assert caught.value.code == "E_SPLIT_GROUP"
    assert not list(hostile_dir.glob("*no*"))


def test_one_group_that_holds_everything_is_refused_with_the_alternative(source: Path, hostile_dir: Path) -> None:
    with pytest.raises(DataError, match="one group") as caught:
        split_dataset(source, hostile_dir / "out", group="golden_path")
    assert caught.value.code == "E_SPLIT_GROUPS"
    assert caught.value.fix == "--group object"
    assert split_dataset(source, hostile_dir / "out", group="object").total == 60


def test_pictures_are_copies_unless_links_are_asked_for(source: Path, hostile_dir: Path) -> None:
    split_dataset(source, hostile_dir / "copied")
    split_dataset(source, hostile_dir / "linked", link=True)
    counts = {
        name: {path.stat().st_nlink for path in (hostile_dir / name).rglob("*.png")} for name in ("copied", "linked")
    }
    assert counts["copied"] == {1}
    assert min(counts["linked"]) >= 2


def test_sides_that_are_there_are_joined_and_boards_known_by_their_origin(hostile_dir: Path) -> None:
    synth(hostile_dir / "drawn", pairs=32, size=32)
    before = check_dataset(hostile_dir / "drawn")
    summary = split_dataset(hostile_dir / "drawn", hostile_dir / "out", seed=3)
    assert summary.total == 32
    assert summary.source["name"] == "synth"
    after = check_dataset(hostile_dir / "out")
    assert after.ok
    assert after.labels == before.labels


def test_segment_lists_keep_a_board_on_one_side_and_spread_changed_pairs(hostile_dir: Path) -> None:
    synth(hostile_dir / "drawn", task="segment", pairs=48, size=32)
    out = hostile_dir / "out"
    summary = split_dataset(hostile_dir / "drawn", out, shares={"train": 0.5, "val": 0.25, "test": 0.25})
    lists = {path.stem: path.read_text(encoding="utf-8").split() for path in (out / "list").iterdir()}
    boards = [{name.rpartition("_")[0] for name in lists[side]} for side in ("train", "val", "test")]
    assert sum(map(len, boards)) == len(set.union(*boards))
    assert sum(len(lists[side]) for side in ("train", "val", "test")) == 48
    assert lists["predict"] == lists["test"]
    assert set(summary.source["split"]["labels"]["val"]) == {"changed", "unchanged"}
    report = check_dataset(out)
    assert report.ok
    assert not report.totals["W_DATA_SPLIT_OVERLAP"]


def test_a_broken_source_leaves_nothing(source: Path, hostile_dir: Path) -> None:
    for image in (source / "images" / "board 3").glob("R1 b3_*"):
        image.unlink()
    with pytest.raises(DataError) as caught:
        split_dataset(source, hostile_dir / "out")
    assert caught.value.code == "E_DATA_IMAGE_MISSING"
    (source / "dataset.csv").write_text("a;b\n", encoding="utf-8")
    with pytest.raises(DataError):
        split_dataset(source, hostile_dir / "out")
    with pytest.raises(ConflictError):
        split_dataset(source, source / "out")
    assert not list(hostile_dir.glob("*out*"))


def test_parts_whose_files_of_one_name_differ_are_refused(source: Path, hostile_dir: Path) -> None:
    split_dataset(source, hostile_dir / "both", group="object", shares={"a": 0.5, "b": 0.5})
    twin = next((hostile_dir / "both" / "a" / "images" / "golden").iterdir())
    _save(hostile_dir / "both" / "b" / "images" / "golden" / twin.name, 251)
    split_dataset(hostile_dir / "both", hostile_dir / "kept apart", group="object")
    row = next(row for row in _rows(hostile_dir / "both" / "a") if twin.name.startswith(row["object_name"]))
    with (hostile_dir / "both" / "b" / "dataset.csv").open("a", encoding="utf-8", newline="") as stream:
        csv.DictWriter(stream, COLUMNS).writerow(row | {"label": "short"})
    for light in ("Low", "High"):
        for folder in (row["input_path"], "golden"):
            _save(hostile_dir / "both" / "b" / "images" / folder / f"{row['object_name']}_{light}.png", 252)
    with pytest.raises(DataError) as caught:
        split_dataset(hostile_dir / "both", hostile_dir / "out", group="object")
    assert caught.value.code == "E_SPLIT_NAMES"


@pytest.mark.parametrize("text", ["", "train", "train=1", "a=0.5,a=0.5", "a=0.5,b=0.6", "a=x,b=0.5", "a/b=0.5,c=0.5"])
def test_wrong_fractions_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fractions(text)
    assert caught.value.code == "E_SPLIT_FRACTION"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1), min_size=3, max_size=30),
    st.integers(0, 5),
)
def test_every_group_gets_a_side_and_no_side_stays_empty(groups: list[dict[str, int]], seed: int) -> None:
    counted = {f"g{number}": Counter(labels) for number, labels in enumerate(groups)}
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    sides = assign_sides(counted, shares, seed)
    assert sides.keys() == counted.keys()
    assert set(sides.values()) == set(shares)
    assert assign_sides(dict(reversed(counted.items())), shares, seed) == sides


def test_the_command_says_samples_and_groups_of_each_side(source: Path, hostile_dir: Path) -> None:
    out = str(hostile_dir / "out")
    result = CliRunner().invoke(app, ["split", str(source), out, "--fraction", "train=0.7,eval=0.3", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["dataset"]["source"]["split"]
    assert told["groups_of_side"] == {"eval": 3, "train": 7}
    again = CliRunner().invoke(app, ["split", str(source), out, "--force"])
    assert "48 samples, 8 groups: PASS 32, short 16" in again.stdout
    assert "next: skillrun visual_changenet train" in again.stderr
    assert "image_width=32 " in again.stderr, "as large as its pictures"
