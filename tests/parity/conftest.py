"""The folder of recorded numbers."""

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def parity_folder(shared: Path) -> Path:
    """Recorded outputs of the networks and data sets; skipped where they are absent."""
    return shared / "parity"


@pytest.fixture(scope="session")
def noise() -> Callable[[str, tuple[int, ...]], Tensor]:
    """Uniform noise of unit variance, drawn from its name: the recipe of the recorded inputs."""

    def draw(key: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{key}|0".encode()))
        return (torch.rand(shape, generator=generator) * 2 - 1) * 1.7320508

    return draw
