"""Every finding of the data check, provoked one at a time on a good data set."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from skillrun.data.check import check_classify, check_dataset
from skillrun.data.probe import FULL_DECODE_FILES, probe_image, probe_images
from skillrun.data.report import DETAILS_PER_CODE, DatasetReport
from skillrun.errors import DataError, NotFoundError

HEADER = "input_path,golden_path,label,object_name\n"


def _image(
    path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", colour: int | tuple[int, int, int] = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.write_bytes(text.encode(encoding))


@pytest.fixture
def good(hostile_dir: Path) -> Path:
    """Two rows, PASS and spur, at a hostile path."""
    for level, name in enumerate(("ü 1", "2")):
        _image(hostile_dir / "images" / "test, b'1" / f"{name}.png", colour=(level, 9, 0))
        _image(hostile_dir / "images" / "golden" / f"{name}.png")
    rows = '"test, b\'1",golden,PASS,ü 1\n"test, b\'1",golden,spur,2\n'
    _write(hostile_dir / "dataset.csv", HEADER + rows)
    return hostile_dir


def _classify(folder: Path, **options: object) -> DatasetReport:
    options = {"image_ext": ".png"} | options
    return check_classify(folder / "dataset.csv", folder / "images", **options)  # type: ignore[arg-type]


def _append(folder: Path, text: str) -> None:
    with (folder / "dataset.csv").open("a", encoding="utf-8") as stream:
        stream.write(text)


def _rewrite(folder: Path, change: Callable[[str], str], encoding: str = "utf-8") -> None:
    path = folder / "dataset.csv"
    _write(path, change(path.read_text(encoding="utf-8")), encoding)


def test_a_good_set_has_no_finding_and_is_counted(good: Path) -> None:
    report = _classify(good)
    assert report.findings == []
    report.raise_first()
    assert (report.rows, report.images, report.unused) == (2, 4, 0)
    assert report.labels == {"PASS": 1, "spur": 1}
    assert report.sizes == {"8x8": 4}
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


CSV_CASES: list[tuple[str, int | None, Callable[[Path], object]]] = [
    ("E_DATA_CSV_MISSING", None, lambda d: (d / "dataset.csv").unlink()),
    ("E_DATA_CSV_BOM", 1, lambda d: _rewrite(d, lambda t: t, "utf-8-sig")),
    ("E_DATA_CSV_ENCODING", 2, lambda d: _rewrite(d, lambda t: t, "latin-1")),
    ("E_DATA_CSV_ENCODING", 1, lambda d: _rewrite(d, lambda t: t, "utf-16")),
    ("E_DATA_CSV_DELIMITER", 1, lambda d: _rewrite(d, lambda t: t.replace(",", ";"))),
    ("E_DATA_CSV_DELIMITER", 1, lambda d: _rewrite(d, lambda t: t.replace(",", "\t"))),
    ("E_DATA_CSV_COLUMNS", 1, lambda d: _rewrite(d, lambda t: t.replace("label", "Label"))),
    ("E_DATA_CSV_COLUMNS", 4, lambda d: _append(d, "only,three,cells\n")),
    ("E_DATA_CSV_VALUE", 5, lambda d: _append(d, "\ntest,golden,,x\n")),
    ("E_DATA_EMPTY", None, lambda d: _write(d / "dataset.csv", "")),
    ("E_DATA_EMPTY", None, lambda d: _write(d / "dataset.csv", HEADER)),
    ("E_DATA_LABEL_CONFLICT", 4, lambda d: _append(d, '"test, b\'1",golden,open,2\n')),
    ("E_DATA_IMAGE_MISSING", 4, lambda d: _append(d, "golden,golden,open,gone\n")),
    ("E_DATA_PATH_ESCAPES", 4, lambda d: _append(d, "../images/golden/../..,golden,open,2\n")),
    ("E_DATA_PATH_ESCAPES", 4, lambda d: _append(d, "golden,/etc,open,2\n")),
    ("E_DATA_IMAGES_DIR_MISSING", None, lambda d: shutil.rmtree(d / "images")),
]


@pytest.mark.parametrize(("code", "line", "breaks"), CSV_CASES)
def test_each_error_of_the_csv_names_code_line_and_fix(
    good: Path, code: str, line: int | None, breaks: Callable[[Path], object]
) -> None:
    breaks(good)
    report = _classify(good)
    finding = next(f for f in report.findings if f.code == code)
    assert (finding.severity, finding.line) == ("error", line)
    assert str(good) in finding.message
    assert finding.fix
    assert not report.ok
    with pytest.raises(DataError) as caught:
        report.raise_first()
    assert caught.value.exit_code == 7


WARNING_CASES: list[tuple[str, Callable[[Path], object]]] = [
    ("W_DATA_LABEL_CASE", lambda d: _append(d, "golden,golden,pass,2\n")),
    ("W_DATA_DUPLICATE", lambda d: _append(d, '"test, b\'1",golden,spur,2\n')),
    ("W_DATA_ONE_CLASS", lambda d: _rewrite(d, lambda t: t.replace("spur", "PASS"))),
    ("W_DATA_SIZE_MISMATCH", lambda d: _image(d / "images" / "golden" / "2.png", (9, 8))),
    ("W_DATA_HIDDEN", lambda d: _write(d / "images" / ".DS_Store", "x")),
]


@pytest.mark.parametrize(("code", "breaks"), WARNING_CASES)
def test_each_warning_leaves_the_set_usable(good: Path, code: str, breaks: Callable[[Path], object]) -> None:
    breaks(good)
    report = _classify(good)
    assert [f.code for f in report.findings] == [code]
    assert report.ok
    report.raise_first()


def test_the_wrong_extension_is_told_with_the_override_that_mends_it(good: Path) -> None:
    report = _classify(good, image_ext=".jpg")
    assert report.totals == {"E_DATA_IMAGE_EXT": 4}
    assert report.findings[0].fix == "dataset.classify.image_ext=.png"
    assert _classify(good, image_ext=None).ok


def test_rows_over_several_lines_are_counted_from_their_first_line(good: Path) -> None:
    _append(good, '"two\nlines",golden,open,2\ngolden,golden,open,gone\n')
    assert [f.line for f in _classify(good).findings] == [4, 6, 6]


def test_extra_columns_and_other_orders_are_fine(good: Path) -> None:
    header = "note,label,object_name,golden_path,input_path\n"
    rows = 'x,PASS,2,golden,golden\ny,open,2,golden,"test, b\'1"\n'
    _write(good / "dataset.csv", header + rows)
    assert _classify(good).findings == []


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_images_are_found(good: Path, content: bytes | None) -> None:
    path = good / "images" / "golden" / "2.png"
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    report = _classify(good)
    assert [(f.code, f.line, f.file) for f in report.findings] == [("E_DATA_IMAGE_UNREADABLE", 3, str(path))]
    assert report.unreadable == 1


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_cut_file_is_found_without_decoding_it(tmp_path: Path, kind: str) -> None:
    path = _image(tmp_path / f"x.{kind}", (64, 64))
    assert probe_image(path, full=False).problem == ""
    path.write_bytes(path.read_bytes()[:-20])
    assert "truncated" in probe_image(path, full=False).problem
    assert probe_image(path).problem


def test_large_sets_are_probed_by_header_and_end(tmp_path: Path) -> None:
    first = _image(tmp_path / "0.png")
    paths = [first, *(tmp_path / f"{i}.png" for i in range(1, FULL_DECODE_FILES + 1))]
    for path in paths[1:]:
        path.hardlink_to(first)
    seen: list[int] = []
    probes = probe_images([*paths, *paths], lambda at, of: seen.append(of - at))
    assert len(probes) == FULL_DECODE_FILES + 1
    assert seen[-1] == 0
    assert not any(probe.problem for probe in probes.values())


def test_details_stop_but_counts_do_not(good: Path) -> None:
    _append(good, "".join(f"golden,golden,{('PASS', 'open')[i % 2]},gone{i}\n" for i in range(40)))
    report = _classify(good)
    assert report.totals == {"E_DATA_IMAGE_MISSING": 80}
    assert len(report.findings) == DETAILS_PER_CODE
    with pytest.raises(DataError, match="79 more"):
        report.raise_first()


def test_each_light_is_an_image_of_its_own(good: Path) -> None:
    for path in list((good / "images").rglob("*.png")):
        shutil.copy(path, path.with_name(f"{path.stem}_Low.png"))
    lights = {"Low": 0, "White": 1}
    assert _classify(good, input_map={"Low": 0}).ok
    report = _classify(good, input_map=lights)
    assert report.totals == {"E_DATA_IMAGE_MISSING": 4}
    assert "_White.png" in report.findings[0].message


def test_with_several_goldens_the_golden_path_is_a_folder(good: Path) -> None:
    assert _classify(good, num_golden=3).ok
    shutil.rmtree(good / "images" / "golden")
    report = _classify(good, num_golden=3)
    assert report.totals == {"E_DATA_IMAGE_MISSING": 2}


def test_a_folder_of_splits_is_checked_as_a_whole(good: Path, tmp_path: Path) -> None:
    for split in ("train", "eval"):
        shutil.copytree(good, tmp_path / "all" / split)
    (tmp_path / "all" / "eval" / "images" / "golden" / "2.png").unlink()
    report = check_dataset(tmp_path / "all")
    assert (report.kind, report.rows, report.missing) == ("folder", 4, 1)
    assert not report.ok
    assert report.parts["train"].ok
    assert report.to_json()["parts"]["eval"]["totals"] == {"E_DATA_IMAGE_MISSING": 1}


def test_several_paths_and_a_bare_csv_are_accepted(good: Path) -> None:
    report = check_dataset([good, good / "dataset.csv"])
    assert report.rows == 4
    assert report.ok


@pytest.mark.parametrize("cached", [True, False])
def test_images_may_be_packed(good: Path, tmp_path: Path, cached: bool) -> None:
    with tarfile.open(good / "images.tar.gz", "w:gz") as archive:
        archive.add(good / "images", "images")
    shutil.rmtree(good / "images")
    report = check_dataset(good, cache_root=tmp_path / "cache" if cached else None)
    assert report.findings == []
    assert report.images == 4
    assert (tmp_path / "cache").exists() == cached


def test_a_path_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as layout:
        check_dataset(tmp_path)
    assert layout.value.code == "E_DATA_LAYOUT"
    with pytest.raises(NotFoundError) as gone:
        check_dataset(tmp_path / "gone")
    assert gone.value.code == "E_DATA_NOT_FOUND"
