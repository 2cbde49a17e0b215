"""Plans for containers, made without any engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from skillrun import images
from skillrun.backends import choose, get_backend
from skillrun.data.synth import synth
from skillrun.datasets import DataSources
from skillrun.errors import SkillrunError, UsageError
from skillrun.hostoptions import HostOptions
from skillrun.plan import Plan
from skillrun.prepare import Request, prepare
from skillrun.specfile import parse_spec

OWN_CPU = images.resolve("skillrun.visual_changenet_train", cpu=True).reference


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plan needs no engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")


@pytest.fixture
def boards(workspace: Path) -> Path:
    synth(workspace / "boards", pairs=8, size=32, seed=1)
    return workspace / "boards"


def plan(boards: Path, *overrides: str, action: str = "train", backend: str = "docker", **changes: Any) -> Plan:
    sources = DataSources(train_datasets=boards / "train", eval_dataset=boards / "eval")
    request = Request(
        "visual_changenet",
        action,
        overrides=("pretrained_backbone=", *overrides),
        sources=sources,
        automl=False,
        backend=backend,
        **changes,
    )
    return prepare(request).plan


def inside(made: Plan) -> dict[str, Any]:
    return parse_spec(made.container_spec_text).values


def test_the_user_reads_host_paths_and_the_container_its_own(boards: Path) -> None:
    made = plan(boards)
    host, container = parse_spec(made.spec_text).values, inside(made)
    assert host["dataset"]["classify"]["train_dataset"]["csv_path"] == str(boards / "train" / "dataset.csv")
    assert container["dataset"]["classify"]["train_dataset"]["csv_path"] == "/data/train_dataset/csv_path/dataset.csv"
    assert container["results_dir"] == "/skillrun/run/results"
    assert made.argv == ("visual_changenet", "train", "-e", "/skillrun/run/spec.container.yaml")
    assert str(boards) not in made.container_spec_text
    assert made.env["SKILLRUN_RUN_DIR"] == "/skillrun/run"
    assert made.user == f"{os.getuid()}:{os.getgid()}"
    assert (made.image, made.gpus, made.network, made.shm_size) == (OWN_CPU, "none", "none", "8g")


def test_the_same_request_has_the_same_hash_and_the_request_to_the_engine_is_pure(boards: Path) -> None:
    first, second = plan(boards), plan(boards)
    assert first.plan_hash == second.plan_hash != plan(boards, "num_epochs=3").plan_hash
    assert get_backend("docker").render(first) == get_backend("docker").render(Plan.from_json(first.to_json()))


@pytest.mark.parametrize(
    ("gpus", "count"), [("2", 2), ("0,1,2", 3), ("device=3", 1), ("GPU-8f1c,GPU-92aa,GPU-11bd,GPU-77ee", 4)]
)
def test_the_spec_follows_the_gpus_asked_for(boards: Path, gpus: str, count: int) -> None:
    made = plan(boards, "train.num_gpus=7", host=HostOptions(gpus=gpus))
    assert made.gpus == gpus
    assert inside(made)["train"]["num_gpus"] == count
    assert inside(made)["train"]["gpu_ids"] == list(range(count))
    assert made.image == images.resolve("skillrun.visual_changenet_train").reference


def test_evaluation_follows_in_its_own_section(boards: Path) -> None:
    checkpoint = boards / "m.pth"
    checkpoint.touch()
    request = Request(
        "visual_changenet",
        "evaluate",
        overrides=(f"evaluate.checkpoint={checkpoint}",),
        sources=DataSources(eval_dataset=boards / "eval"),
        backend="docker",
        host=HostOptions(gpus="2"),
    )
    container = inside(prepare(request).plan)
    assert (container["evaluate"]["num_gpus"], container["evaluate"]["gpu_ids"]) == (2, [0, 1])
    assert container["evaluate"]["checkpoint"] == "/data/evaluate/checkpoint/m.pth"


def test_without_a_driver_auto_means_the_cpu_and_the_image_for_it(boards: Path) -> None:
    made = plan(boards)
    assert made.gpus == "none"
    assert made.image.endswith("-cpu")


def test_options_of_the_host_are_in_the_plan(boards: Path) -> None:
    options = HostOptions(
        shm_size="12g", memory="4g", cpus="2", ulimits=("memlock=-1",), env=("OMP_NUM_THREADS=2",), wait_gpu="2m"
    )
    made = plan(boards, host=options)
    assert (made.shm_size, made.wait_gpu_s, made.env["OMP_NUM_THREADS"]) == ("12g", 120, "2")
    assert made.resources["memory"] == 4 * 2**30
    with pytest.raises(UsageError, match="no size"):
        plan(boards, host=HostOptions(shm_size="lots"))
    with pytest.raises(UsageError, match="never, missing, always"):
        plan(boards, host=HostOptions(pull="sometimes"))


def test_nvidias_image_gets_the_same_spec_without_our_own_keys(boards: Path) -> None:
    made = plan(boards, "dataset.classify.align=translation", container="tao", backend="auto")
    assert made.backend == "docker"
    assert made.image == images.resolve("tao_toolkit.pyt").reference
    assert "align" not in inside(made)["dataset"]["classify"]
    assert any("dataset.classify.align=translation" in notice for notice in made.notices)
    assert "SKILLRUN_RUN_DIR" not in made.env


def test_nvidias_container_needs_a_container_backend(boards: Path) -> None:
    with pytest.raises(UsageError, match="container backend"):
        plan(boards, container="tao", backend="local")
    with pytest.raises(UsageError, match="there is no container"):
        plan(boards, container="other")


def test_the_documented_place_of_the_backbone_is_kept(boards: Path) -> None:
    weights = boards / "weights b.safetensors"
    weights.touch()
    made = plan(boards, f"model.backbone.pretrained_backbone_path={weights}")
    target = "/data/pretrained_models/C-RADIOv2_B.safetensors"
    assert inside(made)["model"]["backbone"]["pretrained_backbone_path"] == target
    assert [(mount.source, mount.read_only) for mount in made.mounts if mount.target == target] == [
        (str(weights), True)
    ]


def test_a_local_plan_keeps_host_paths(boards: Path) -> None:
    made = plan(boards, backend="local")
    assert made.container_spec_text == ""
    assert all(mount.source == mount.target for mount in made.mounts)


def test_auto_means_this_host_where_no_engine_has_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILLRUN_BACKEND", raising=False)
    assert choose("auto", OWN_CPU)[0].name == "local"
    monkeypatch.setenv("SKILLRUN_BACKEND", "docker")
    assert choose("auto", OWN_CPU)[0].name == "docker"
    assert choose("local", OWN_CPU)[0].name == "local"
    with pytest.raises(SkillrunError, match="there is no backend"):
        choose("slurm", OWN_CPU)


@pytest.mark.parametrize(("gpus", "visible"), [("none", ""), ("2,3", "2,3"), ("auto", None), ("2", None)])
def test_a_process_of_this_host_sees_the_gpus_that_were_named(boards: Path, gpus: str, visible: str | None) -> None:
    made = plan(boards, backend="local", host=HostOptions(gpus=gpus))
    assert made.env.get("CUDA_VISIBLE_DEVICES") == visible
    if visible == "2,3":
        assert parse_spec(made.spec_text).values["train"]["gpu_ids"] == [0, 1]


@pytest.mark.parametrize("text", ["results_dir=", "results_dir=null"])
def test_an_empty_results_folder_is_that_of_the_run(boards: Path, text: str) -> None:
    made = plan(boards, text, backend="local")
    assert made.results_dir == f"{made.run_dir}/results"
    assert parse_spec(made.spec_text).values["results_dir"] == made.results_dir
