"""Reports of real runs, made by typing the commands: a DeepPCB evaluation and a segment one, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
MODEL = ("backbone=fan_tiny_8_p4_hybrid", "model.decode_head.decoder_params.embed_dim=16", "num_epochs=1")
FAST = ("--no-automl", "--json")
FITS = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture
def typed(skillrun: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Types a command that must succeed; its JSON."""

    def run(*arguments: str | Path) -> dict[str, Any]:
        done = skillrun(*arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout) if "--json" in arguments else {}
        return answer

    return run


def report_of(typed: Callable[..., dict[str, Any]], workspace: Path) -> Path:
    typed("report", "last", "--json")
    page = max((workspace / "runs").glob("*/report.html"))
    assert page.stat().st_size < 5_000_000
    return page


def test_the_report_of_a_deeppcb_run(
    typed: Callable[..., Any], shared: Path, workspace: Path, open_page: Callable[..., Any]
) -> None:
    typed(
        "data", "convert", "deeppcb", shared / "data" / "deeppcb", "pcb", "--crop", "64", "--eval-groups", "group92000"
    )
    for part in ("train", "eval"):
        table = workspace / "pcb" / part / "dataset.csv"
        lines = table.read_text(encoding="utf-8").splitlines()
        step = max(1, len(lines) // 60)
        table.write_text("\n".join([lines[0], *lines[1::step]]) + "\n", encoding="utf-8")
    size = ("dataset.classify.image_width=64", "dataset.classify.image_height=64", "batch_size=8")
    typed("visual_changenet", "train", "--train-data", "pcb/train", "--eval-data", "pcb/eval", *MODEL, *size, *FAST)
    typed("visual_changenet", "evaluate", "--parent", "last", "--eval-data", "pcb/eval", "--json")
    file = report_of(typed, workspace)
    for width, scheme in VIEWS:
        page = open_page(file, width, scheme)
        assert page.evaluate(FITS)
    before = page.inner_text("table.confusion")
    page.focus("#slider")
    page.keyboard.press("Home")
    lowest = page.inner_text("table.confusion")
    page.keyboard.press("End")
    assert len({before, lowest, page.inner_text("table.confusion")}) >= 2
    assert page.inner_text("#escape-percent") == "100 %"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def test_the_report_of_a_segment_run(typed: Callable[..., Any], workspace: Path, open_page: Callable[..., Any]) -> None:
    typed("data", "synth", "--out", "boards", "--task", "segment", "--pairs", "24", "--size", "64")
    size = ("segment_img_size=64", "segment_batch_size=4")
    typed("visual_changenet", "segment_train", "--train-data", "boards", *MODEL, *size, *FAST)
    typed("visual_changenet", "evaluate", "--parent", "last", "--eval-data", "boards", "--json")
    file = report_of(typed, workspace)
    for width, scheme in VIEWS:
        page = open_page(file, width, scheme)
        assert page.evaluate(FITS)
    assert page.locator(".case").count() > 0
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.is_visible("#viewer")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
