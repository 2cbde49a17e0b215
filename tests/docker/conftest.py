"""The engine and the images that container tests use. Nothing stands in for either.

``SKILLRUN_REQUIRE_ENGINE=1`` turns a missing engine, base image or wheelhouse from a skip into a failure.
``SKILLRUN_TEST_WHEELHOUSE`` names the wheels from which the CPU images are built where the engine has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from skillrun import images
from skillrun.errors import BackendError

if TYPE_CHECKING:
    from docker import DockerClient

BASE_IMAGE = "skillrun-base:ci"
TEST_LABEL = "skillrun.test"


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("SKILLRUN_REQUIRE_ENGINE"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """A client of the engine; containers and networks of this session's tests are removed at the end."""
    from skillrun.engine import connect

    try:
        client = connect()
    except BackendError as error:
        _unavailable(f"{error.message}. {error.fix}")
    yield client
    ours = {"label": TEST_LABEL}
    for container in client.containers.list(all=True, filters=ours):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=ours):
        network.remove()
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: DockerClient) -> str:
    """A small image with Python, which the CPU images start from."""
    if images.find(engine, BASE_IMAGE) is None:
        _unavailable(f"the engine has no {BASE_IMAGE}; make it: tools/base_image.sh {BASE_IMAGE}")
    return BASE_IMAGE


@pytest.fixture(scope="session")
def wheelhouse() -> Path:
    """Wheels of everything in both CPU images."""
    named = os.environ.get("SKILLRUN_TEST_WHEELHOUSE")
    if not named or not Path(named).is_dir():
        _unavailable("SKILLRUN_TEST_WHEELHOUSE names no folder of wheels")
    return Path(named)


@pytest.fixture(scope="session")
def cpu_image(engine: DockerClient, request: pytest.FixtureRequest) -> str:
    """Our CPU training image, built where the engine has none."""
    return _own_image(engine, "train", request)


@pytest.fixture(scope="session")
def cpu_deploy_image(engine: DockerClient, request: pytest.FixtureRequest) -> str:
    """Our CPU deploy image, built where the engine has none."""
    return _own_image(engine, "deploy", request)


def _own_image(engine: DockerClient, role: str, request: pytest.FixtureRequest) -> str:
    reference = images.resolve(f"skillrun.visual_changenet_{role}", cpu=True).reference
    if images.find(engine, reference) is None:
        from skillrun.image_build import build

        base, wheels = request.getfixturevalue("base_image"), request.getfixturevalue("wheelhouse")
        build(engine, role, cpu=True, wheelhouse=wheels, base=base, show=lambda event: None)
    return reference
