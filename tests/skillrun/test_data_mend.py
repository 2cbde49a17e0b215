"""Mending a copy of a data set: each change is named, the source stays, the check then passes."""

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
from skillrun.data.check import check_dataset
from skillrun.data.mend import fix_dataset
from skillrun.data.mend_table import mend_csv, mended_name
from skillrun.data.synth import synth
from skillrun.errors import ConflictError, DataError

GOOD = "input_path,golden_path,label,object_name\ntest,golden,PASS,ü 1\ntest,golden,short,2\n"


@pytest.fixture
def source(hostile_dir: Path) -> Path:
    root = hostile_dir / "source"
    rng = np.random.default_rng(0)
    for name in ("ü 1.JPG", "2.jpeg"):
        for folder in ("test", "golden"):
            (root / "images" / folder).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
            picture.save(root / "images" / folder / name, format="JPEG")
    return root


def _digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (GOOD.encode("utf-8-sig"), "byte order mark"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (GOOD.encode("utf-16-le"), "UTF-16 without"),
        (GOOD.encode("cp1252"), "read as cp1252"),
        (GOOD.replace(",", ";").encode(), "semicolons"),
        (GOOD.replace(",", "\t").encode(), "tabs"),
        (GOOD.replace("input_path", "Input Path ").encode(), "'Input Path ' is 'input_path'"),
        (GOOD.replace("object_name", "objectname").encode(), "'object_name'"),
        (GOOD.replace("PASS", " pass").encode(), "label ' pass' became 'PASS'"),
        (GOOD.replace("short,2", "short,2.jpeg").encode(), "object_name '2.jpeg' became '2'"),
        ((GOOD + "test,golden,short,2\n").encode(), "line 4: removed: the same as line 3"),
        ((GOOD + "\n\n").replace("short,2", "short,2,,").encode(), "empty cells"),
        (GOOD.replace("\ntest", "\n.\\test").encode(), r"input_path '.\\test' became './test'"),
    ],
)
def test_each_defect_of_a_csv_is_mended_and_named(source: Path, hostile_dir: Path, raw: bytes, said: str) -> None:
    (source / "dataset.csv").write_bytes(raw)
    before = _digest(source)
    mended = fix_dataset(source, hostile_dir / "out")
    assert _digest(source) == before
    told = [f"{change.file}, line {change.line}: {change.what}" for change in mended.changes]
    assert any(said in line for line in told), told
    assert mended.report.ok, mended.report.findings
    with (hostile_dir / "out" / "dataset.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["label"], row["object_name"]) for row in rows] == [("PASS", "ü 1"), ("short", "2")]


def test_extensions_become_the_usual_ones_and_hidden_files_stay_behind(source: Path, hostile_dir: Path) -> None:
    (source / "dataset.csv").write_text(GOOD, encoding="utf-8")
    (source / "images" / "test" / ".DS_Store").write_bytes(b"-")
    mended = fix_dataset(source, hostile_dir / "out")
    names = {path.name for path in (hostile_dir / "out" / "images").rglob("*") if path.is_file()}
    assert names == {"ü 1.jpg", "2.jpg"}
    told = {change.file: change.what for change in mended.changes}
    assert told["images/test/ü 1.JPG"] == "is named ü 1.jpg"
    assert told["."] == "1 hidden file(s) left out"
    assert [mended_name(name) for name in ("a.TIFF", "b.PNG", "c.d.JPEG", "no", "x.CSV")] == [
        "a.tif", "b.png", "c.d.jpg", "no", "x.CSV",
    ]  # fmt: skip


def test_a_name_that_is_taken_is_not_given_twice(source: Path, hostile_dir: Path) -> None:
    (source / "dataset.csv").write_text(GOOD, encoding="utf-8")
    (source / "images" / "test" / "2.jpg").write_bytes((source / "images" / "test" / "2.jpeg").read_bytes())
    mended = fix_dataset(source, hostile_dir / "out")
    told = {change.file: change.what for change in mended.changes}
    assert told["images/test/2.jpeg"] == "keeps its name: 2.jpg is there too"
    assert len(list((hostile_dir / "out" / "images" / "test").iterdir())) == 3


def test_columns_are_reordered_and_others_kept() -> None:
    raw = b"serial,Label,golden_path,label_by,object_name,input_path\ns1,Pass,g,anna,n,t\n"
    content, changes = mend_csv(raw, "d.csv")
    assert content.decode() == ("input_path,golden_path,label,object_name,serial,label_by\nt,g,PASS,n,s1,anna\n")
    assert any("documented order" in change.what for change in changes)


def test_a_good_csv_keeps_its_bytes() -> None:
    assert mend_csv(GOOD.encode(), "d.csv") == (GOOD.encode(), [])


def test_what_can_not_be_mended_stays_and_is_named_by_the_check(source: Path, hostile_dir: Path) -> None:
    (source / "other name.csv").write_text(GOOD + "test;golden;short;3\ntest,golden,PASS,2\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["fix", str(source), str(hostile_dir / "out"), "--json"])
    assert result.exit_code == 7, result.output
    body = json.loads(result.stdout)
    assert {"E_DATA_CSV_COLUMNS", "E_DATA_LABEL_CONFLICT"} <= body["check"]["totals"].keys()
    assert any(change["what"] == "is named dataset.csv" for change in body["changes"])


def test_a_hopeless_source_leaves_nothing(source: Path, hostile_dir: Path) -> None:
    for raw, code in (
        (b"a,b\n1,2\n", "E_FIX_HEADER"),
        (b"", "E_DATA_EMPTY"),
        (GOOD.encode() + b"\x81\x8d\xff", "E_FIX_ENCODING"),
    ):
        (source / "dataset.csv").write_bytes(raw)
        with pytest.raises(DataError) as caught:
            fix_dataset(source, hostile_dir / "out")
        assert caught.value.code == code
    with pytest.raises(ConflictError):
        fix_dataset(source, source)
    assert not list(hostile_dir.glob("*out*"))


def test_lists_of_a_segment_set_are_mended(hostile_dir: Path) -> None:
    root = hostile_dir / "drawn"
    synth(root, task="segment", pairs=8, size=32)
    path = root / "list" / "train.txt"
    names = path.read_text(encoding="utf-8").split()
    for part in ("A", "B", "label"):
        (root / part / names[0]).rename(root / part / names[0].replace(".png", ".PNG"))
    listed = [names[0].replace(".png", ".PNG"), *names[1:], names[1]]
    path.write_text("\r\n".join(listed), encoding="utf-16")
    mended = fix_dataset(root, hostile_dir / "out")
    assert (hostile_dir / "out" / "list" / "train.txt").read_text(encoding="utf-8").split() == names
    assert any("the same as line 2" in change.what for change in mended.changes)
    assert check_dataset(hostile_dir / "out").ok


def test_the_command_lists_changes_and_repeats_on_force(source: Path, hostile_dir: Path) -> None:
    (source / "dataset.csv").write_text(GOOD.replace(",", ";"), encoding="utf-8")
    arguments = ["fix", str(source), str(hostile_dir / "out")]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "semicolons between columns became commas" in first.stdout
    assert first.stdout.splitlines()[-1] == "ok"
    again = CliRunner().invoke(app, [*arguments, "--force"])
    assert again.stdout == first.stdout


def test_the_command_shows_what_is_left_as_every_check_does(source: Path, hostile_dir: Path) -> None:
    (source / "dataset.csv").write_text(GOOD + "test,golden,short,gone\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["fix", str(source), str(hostile_dir / "out")])
    assert result.exit_code == 7
    lines = result.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("error[E_DATA_IMAGE_MISSING] "))
    assert lines[place + 1].startswith("  fix: ") and lines[-1].startswith("not usable yet: ")
