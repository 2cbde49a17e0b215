"""The report in a real browser: the slider moves the numbers, keys walk the gallery, nothing is loaded, all fits."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skillrun.report import write
from skillrun.runfolder import RunFolder

ROWS = [("a", "short", 0.9), ("b", "short", 0.2), ("c", "PASS", 0.6), ("d", "PASS", 0.1), ("x" * 300, "open", 0.7)]


# Scores so near to each other that one step of the slider spans several, and none at its round ends.
NEAR = [("a", "short", 0.4370003), ("b", "short", 0.4370002), ("c", "PASS", 0.4370001), ("d", "PASS", 0.1234567)]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of five pairs, one of them with a very long name."""
    return report_on(tmp_path_factory.mktemp("report ü"), ROWS, 0.5)


def report_on(root: Path, rows: list[tuple[str, str, float]], margin: float) -> Path:
    """The report of pairs (name, label, score), decided by a margin."""
    run = root / "runs" / "r-evaluate-1"
    table = run / "results" / "evaluate" / "evaluate.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_path", "golden_path", "label", "object_name", "siamese_score", "predicted"])
        writer.writerows(["t", "g", label, name, score, ""] for name, label, score in rows)
    for folder in ("t", "g"):
        (root / folder).mkdir()
        for name in "abcd":
            Image.new("RGB", (32, 32), (90, 160, 90)).save(root / folder / f"{name}.png")
    place = {"images_dir": str(root), "csv_path": "none.csv"}
    spec = {"dataset": {"classify": {"test_dataset": place, "image_ext": ".png"}}}
    artifacts = [{"path": "results/evaluate/evaluate.csv", "kind": "table"}]
    result = {"status": "succeeded", "task": "classify", "metrics": {"margin": margin}, "artifacts": artifacts}
    record = {"model": "visual_changenet", "action": "evaluate", "task": "classify", "backend": "local"}
    for name, value in (("run.json", record), ("result.json", result), ("spec.yaml", spec)):
        (run / name).write_text(json.dumps(value), encoding="utf-8")
    return write(RunFolder(run)).page


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide-light", "phone-dark"])
def page(open_page: Callable[..., Any], page_file: Path, request: pytest.FixtureRequest) -> Any:
    """The report, open."""
    return open_page(page_file, *request.param)


def cells(page: Any) -> list[str]:
    return [page.inner_text(f"#{name}") for name in ("defect_called", "defect_passed", "good_called", "good_passed")]


def shown(page: Any) -> list[str]:
    return [one.get_attribute("data-outcome") for one in page.query_selector_all(".case:not([hidden])")]


def test_the_slider_moves_matrix_rates_operating_point_and_gallery(page: Any) -> None:
    assert cells(page) == ["2", "1", "1", "1"]
    before = page.get_attribute("#dot-roc", "cx")
    page.locator("#slider").fill("100")  # of 2000 steps
    assert cells(page) == ["3", "0", "2", "0"] and page.inner_text("#escape-percent") == "0 %"
    assert page.inner_text("#overkill-percent") == "100 %" and page.get_attribute("#dot-roc", "cx") != before
    assert shown(page)[:2] == ["false-call", "false-call"]
    page.click("#up")
    assert cells(page) == ["3", "0", "1", "1"]
    page.focus("#slider")
    page.keyboard.press("End")
    assert cells(page) == ["0", "3", "0", "2"]
    page.click("button.to")
    assert cells(page) == ["2", "1", "1", "1"]


def test_scores_nearer_than_a_step_of_the_slider_are_reached_one_by_one_and_so_is_its_end(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(report_on(tmp_path, NEAR, 0.2), 1280, "light")
    assert cells(page) == ["2", "0", "1", "1"]
    for expected in (["2", "0", "0", "2"], ["1", "1", "0", "2"], ["0", "2", "0", "2"]):
        page.click("#up")
        assert cells(page) == expected
    page.click("#down")
    assert cells(page) == ["1", "1", "0", "2"]
    page.focus("#slider")
    page.keyboard.press("Home")
    assert cells(page) == ["2", "0", "2", "0"]
    page.keyboard.press("End")
    assert cells(page) == ["0", "2", "0", "2"]
    page.keyboard.press("ArrowLeft")
    assert cells(page) == ["2", "0", "1", "1"]


def test_a_cell_of_the_matrix_filters_the_gallery(page: Any) -> None:
    page.click("table.confusion button[data-filter=escape]")
    assert shown(page) == ["escape"]
    page.click("table.confusion button[data-filter=escape]")
    assert len(shown(page)) == len(ROWS)


def test_keys_walk_the_gallery_enlarge_and_close(page: Any) -> None:
    focused = "document.activeElement.getAttribute('aria-label')"
    page.keyboard.press("j")
    first = page.evaluate(focused)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) != first
    page.keyboard.press("k")
    assert page.evaluate(focused) == first
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer") and "escape" in page.inner_text("#viewer")
    page.keyboard.press("ArrowDown")
    assert "false-call" in page.inner_text("#viewer")
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")


def test_nothing_is_wider_than_the_window_and_the_scheme_is_followed(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in paper[4:-1].split(",")) < 200) is dark
