"""A real engine and real images. Where there is no engine these tests are skipped; CI demands one."""

from __future__ import annotations

import os

import pytest
from docker import DockerClient

from skillrun.engine import connect
from skillrun.errors import BackendError

BASE_IMAGE = "skillrun-base:ci"


@pytest.fixture(scope="session")
def engine() -> DockerClient:
    """A client of the engine that DOCKER_HOST names."""
    try:
        client = connect()
    except BackendError as error:
        if os.environ.get("SKILLRUN_REQUIRE_ENGINE"):
            pytest.fail(f"an engine is required here: {error.message}")
        pytest.skip(f"no engine answers: {error.message}")
    return client


@pytest.fixture(scope="session")
def base_image(engine: DockerClient) -> str:
    """A small image with python3; tools/base_image.sh makes it."""
    return BASE_IMAGE
