"""The page of ``data check --html`` in a real browser: it fits, loads nothing, filters, enlarges, overlays masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skillrun.data.check import check_dataset
from skillrun.data.synth import synth
from skillrun.report.dataset import dataset_page

LONG = "x" * 200
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a classify set with a leak, an error and long hostile names, and of a segment set."""
    root = tmp_path_factory.mktemp("data ü")
    classify, segment = root / "classify", root / "segment"
    synth(classify, pairs=16, size=32, seed=3)
    synth(segment, task="segment", pairs=24, size=32, seed=3)
    first, other = (sorted((classify / part / "images" / "test").rglob("*.png"))[0] for part in ("train", "eval"))
    other.write_bytes(first.read_bytes())
    for part in ("golden", "test"):
        Image.new("RGB", (32, 32), (9, 90, 30)).save(classify / "train" / "images" / part / f"{LONG}.png")
    with (classify / "train" / "dataset.csv").open("a", encoding="utf-8") as table:
        table.write(f"test,golden,{LONG},{LONG}\ntest,golden,<script>alert(1)</script>,gone\n")
    found = {}
    for name in ("classify", "segment"):
        found[name] = root / f"{name}.html"
        found[name].write_text(dataset_page(check_dataset(root / name)), encoding="utf-8")
    return found


@pytest.fixture(params=VIEWS, ids=[f"{width}-{scheme}" for width, scheme in VIEWS])
def opened(open_page: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Opens a page at one of the widths, in one of the schemes."""
    return lambda file: open_page(file, *request.param)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_the_page_fits_the_window_shows_its_pictures_and_follows_the_scheme(
    opened: Any, pages: dict[str, Path], task: str
) -> None:
    page = opened(pages[task])
    for details in page.query_selector_all("details > summary"):
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in paper[4:-1].split(",")) < 200) is dark


def test_a_class_filters_the_sheet_and_keys_enlarge_a_pair(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["classify"])
    assert "Not usable yet: 2 errors to mend" in page.inner_text("h1")
    assert page.is_visible("#leaks") and "skillrun explain W_DATA_LEAK" in page.inner_text("#findings")
    buttons = page.query_selector_all("button[data-filter]")
    buttons[1].click()
    label = buttons[1].inner_text().rsplit(" ", 1)[0]
    shown = [one.inner_text() for one in page.query_selector_all("#cases .case:not([hidden]) .facts")]
    assert shown and set(shown) == {label}
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer") and label in page.inner_text("#viewer")
    page.keyboard.press("Escape")
    assert not page.is_visible("#viewer")


def test_the_mask_is_laid_over_the_test_picture_on_demand(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["segment"])
    over = page.locator("#cases .over").first
    assert not over.is_visible()
    page.check("#overlay")
    assert over.is_visible()
