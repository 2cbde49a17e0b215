"""The real command, as a user types it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Opened = Callable[[Path, int, str], Any]
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def _absent(what: str) -> NoReturn:
    """Skip, or fail where ``SKILLRUN_REQUIRE_BROWSER`` says that a browser must be here."""
    if os.environ.get("SKILLRUN_REQUIRE_BROWSER"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; skips where it or its driver is absent."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent("playwright")
    if CHROMIUM is None:
        _absent("chromium")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Opened]:
    """Opens a file at (path, width in pixels, light or dark); fails at the end where a page complained or asked."""
    troubles: list[str] = []
    asked: list[str] = []
    opened: list[Any] = []

    def open_at(file: Path, width: int, scheme: str) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda one: asked.append(one.url))
        page.goto(file.as_uri())
        return page

    yield open_at
    for context in opened:
        context.close()
    loaded = [url for url in asked if not url.startswith("data:")]
    assert not troubles
    assert len(loaded) == len(opened)


@pytest.fixture
def skillrun(workspace: Path) -> Command:
    """Runs ``skillrun …`` in a hostile workspace; stdin is empty, as for an agent."""

    def run(*arguments: str | Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("skillrun")), *map(str, arguments)],
            cwd=workspace,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
