"""The Docker backend against a real engine: the same promises as every backend, and what only containers have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from skillrun.backends import Quiet, get_backend
from skillrun.backends.conformance import SLOW, BackendConformance, finish, wait_until
from skillrun.backends.docker_request import RUN_LABEL
from skillrun.errors import BackendError, NotFoundError, SkillrunError
from skillrun.launch import launch, stop
from skillrun.plan import Mount
from skillrun.runfolder import RunFolder
from skillrun.watch import status


def containers(engine: DockerClient) -> list[Container]:
    """All containers of runs, in any state."""
    return engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def no_container_is_left(engine: DockerClient) -> Iterator[None]:
    yield
    wait_until(lambda: containers(engine) == [], 5)


@pytest.mark.usefixtures("base_image")
class TestDockerBackend(BackendConformance):
    name = "docker"

    def plan_values(self, run: RunFolder, program: str) -> dict[str, Any]:
        return {
            "argv": ("python3", "-c", program),
            "env": {"SKILLRUN_RUN_DIR": "/skillrun/run"},
            "image": "skillrun-base:ci",
            "mounts": (Mount(source=str(run.path), target="/skillrun/run", read_only=False, kind="dir"),),
            "gpus": "none",
            "shm_size": "64m",
            "user": f"{os.getuid()}:{os.getgid()}",
        }


suite = TestDockerBackend()
