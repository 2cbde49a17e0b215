"""Fixtures that every part of the suite may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

# The import mode of the suite puts no folder of tests on the path; servers that several folders use are plugins.
sys.path.insert(0, str(Path(__file__).parent))
pytest_plugins = ["hub_server"]

# Tests that leave the backend open mean this host, also where an engine runs; those of other backends name theirs.
os.environ.setdefault("SKILLRUN_BACKEND", "local")
# The networks of the tests are so small that a second thread only gets in the way, and two tests run at a time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HOSTILE_NAME = "a b'c\"ü,é$x"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where two processes share the work: each module stays in one, and so do all tests of the one engine."""
    from xdist.scheduler import LoadFileScheduling

    class ByModule(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engine" if nodeid.startswith("tests/docker/") else nodeid.partition("::")[0]

    return ByModule(config, log)


@pytest.fixture
def hostile_dir(tmp_path: Path) -> Path:
    """A folder whose name has spaces, quotes, a comma, a dollar sign and non-ASCII letters."""
    folder = tmp_path / HOSTILE_NAME
    folder.mkdir()
    return folder


@pytest.fixture
def workspace(hostile_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace at a hostile path; caches go there too."""
    monkeypatch.setenv("SKILLRUN_WORKSPACE", str(hostile_dir))
    monkeypatch.setenv("SKILLRUN_CACHE", str(hostile_dir / "cache"))
    return hostile_dir


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared real data beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder with real data beside this checkout")
    return folder
