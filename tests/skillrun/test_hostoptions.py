"""What a user may ask of the host."""

from __future__ import annotations

import os

import pytest

from skillrun.errors import UsageError
from skillrun.hostoptions import HostOptions, caller, parse_duration, parse_env, parse_size, resources, shm_size


@pytest.mark.parametrize(
    ("text", "size"), [("8g", 8 * 2**30), ("1.5GiB", 3 * 2**29), ("512m", 2**29), ("1048576", 2**20), ("64 MB", 2**26)]
)
def test_sizes_are_read_in_the_usual_spellings(text: str, size: int) -> None:
    assert parse_size(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "8q", "-1", "0", "g", "1e9"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="no size"):
        parse_size(text, "--shm-size")


def test_times_are_read_with_their_units() -> None:
    assert [parse_duration(text, "--wait-gpu") for text in ("90", "30m", "2h", "1d")] == [90, 1800, 7200, 86400]
    with pytest.raises(UsageError, match="no length of time"):
        parse_duration("soon", "--wait-gpu")


@pytest.mark.parametrize("name", ["HF_TOKEN", "NGC_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "WANDB_API_KEY"])
def test_a_secret_is_refused_because_its_value_would_be_readable(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_env([f"{name}=canary"])
    assert refused.value.code == "E_ARG_ENV_SECRET"
    assert "canary" not in refused.value.message


def test_variables_are_given_by_value_or_taken_from_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    assert parse_env(["OMP_NUM_THREADS=4", "NCCL_DEBUG", "A=b=c"]) == {
        "OMP_NUM_THREADS": "4",
        "NCCL_DEBUG": "INFO",
        "A": "b=c",
    }
    for wrong in ("=x", "1A=2", "NOT_SET_ANYWHERE"):
        with pytest.raises(UsageError):
            parse_env([wrong])


def test_limits_of_the_container_are_checked() -> None:
    found = resources(HostOptions(memory="2g", cpus="1.5", ulimits=("memlock=-1", "nofile=1024:4096")))
    assert found == {
        "memory": 2**31,
        "cpus": 1.5,
        "ulimits": [
            {"Name": "memlock", "Soft": -1, "Hard": -1},
            {"Name": "nofile", "Soft": 1024, "Hard": 4096},
        ],
    }
    for wrong in (HostOptions(memory="lots"), HostOptions(cpus="0"), HostOptions(ulimits=("memlock",))):
        with pytest.raises(UsageError):
            resources(wrong)


def classify(workers: int, batch: int, size: int, lights: int = 1) -> dict[str, object]:
    section = {
        "workers": workers,
        "batch_size": batch,
        "image_width": size,
        "image_height": size,
        "num_input": lights,
        "num_golden": 1,
    }
    return {"dataset": {"classify": section}}


def test_shared_memory_is_at_least_the_documented_value() -> None:
    assert shm_size(classify(8, 16, 224), "train") == "8g"
    assert shm_size(classify(8, 16, 224), "deploy") == "16g"
    assert shm_size({}, "train") == "8g"


def test_shared_memory_grows_with_what_the_loaders_hold() -> None:
    # 16 workers x 2 batches x 64 pairs x 8 images x 512 x 512 x 3 x 4 bytes x 1.5
    assert shm_size(classify(16, 64, 512, lights=4), "train") == "72g"
    segment = {"dataset": {"segment": {"workers": 16, "batch_size": 32, "img_size": 1024}}}
    assert shm_size(segment, "train") == "54g"


def test_the_caller_behind_sudo_owns_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert caller() == f"{os.getuid()}:{os.getgid()}"
    if os.getuid() == 0:
        monkeypatch.setenv("SUDO_UID", "1000")
        monkeypatch.setenv("SUDO_GID", "1001")
        assert caller() == "1000:1001"
