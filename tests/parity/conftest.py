"""The folder of recorded numbers."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def parity_folder(shared: Path) -> Path:
    """Recorded outputs of the networks and data sets; skipped where they are absent."""
    return shared / "parity"
