"""Our CPU images: built without a network, small, labelled, and able to train in a container that may do nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docker import DockerClient
from skillrun import __version__, image_build, images
from skillrun.cli.images import app
from skillrun.errors import BackendError, NotFoundError, SkillrunError, UsageError
from skillrun.image_build import BuildStep

LABEL = {"skillrun.test": "images"}
LIMIT_MB = {"train": 1400, "deploy": 600}
LOCKED = {
    "read_only": True,
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "user": "12345:12345",
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": ""},
    "labels": LABEL,
}


def _run(engine: DockerClient, image: str, command: list[str], **more: Any) -> str:
    """Output of a command in a locked-down container; fails with its log."""
    container = engine.containers.create(image, command, **{**LOCKED, **more})
    try:
        container.start()
        code = int(container.wait(timeout=300)["StatusCode"])
        log: str = container.logs().decode("utf-8")
        assert code == 0, log
        return log
    finally:
        container.remove(force=True)


@pytest.fixture(params=["train", "deploy"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(role: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("cpu_image" if role == "train" else "cpu_deploy_image"))


def test_an_image_is_labelled_small_and_runs_as_nobody_special(engine: DockerClient, role: str, image: str) -> None:
    attributes = engine.images.get(image).attrs
    config, labels = attributes["Config"], attributes["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}title"] == f"visual_changenet {role}"
    assert labels[f"{prefix}version"] == __version__
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert all(labels[prefix + name] for name in ("revision", "source", "base.name"))
    assert config["User"] == "10001:10001"
    assert not config["Entrypoint"]
    assert attributes["Size"] / 1e6 < LIMIT_MB[role]


def test_the_command_answers_in_a_container_that_may_do_nothing(engine: DockerClient, image: str) -> None:
    assert "Compare a test image with its golden image" in _run(engine, image, ["visual_changenet", "--help"])


def test_the_package_is_compiled_and_nothing_can_be_installed(engine: DockerClient, image: str) -> None:
    program = (
        "import importlib.util, pathlib, visual_changenet.cli as cli\n"
        "assert pathlib.Path(cli.__cached__).is_file(), cli.__cached__\n"
        "assert importlib.util.find_spec('pip') is None\n"
    )
    _run(engine, image, ["python", "-c", program])


def test_the_training_image_has_torch_without_cuda_and_the_deploy_image_has_none(
    engine: DockerClient, cpu_image: str, cpu_deploy_image: str
) -> None:
    _run(engine, cpu_image, ["python", "-c", "import torch; assert torch.version.cuda is None"])
    program = (
        "import importlib.util, onnxruntime, cv2\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "assert onnxruntime.get_available_providers()[-1] == 'CPUExecutionProvider'\n"
    )
    _run(engine, cpu_deploy_image, ["python", "-c", program])


def test_it_trains_for_a_user_whom_the_image_does_not_know(
    engine: DockerClient, cpu_image: str, hostile_dir: Path
) -> None:
    from docker.types import Mount

    from skillrun.data.synth import synth

    boards, run = hostile_dir / "boards", hostile_dir / "run"
    synth(boards, task="classify", pairs=16, size=64)
    run.mkdir()
    os.chown(run, 12345, 12345)
    (run / "spec.yaml").write_text(_spec(boards), encoding="utf-8")
    mounts = [Mount("/data", str(boards), "bind", read_only=True), Mount("/run dir", str(run), "bind")]
    log = _run(engine, cpu_image, ["visual_changenet", "train", "-e", "/run dir/spec.yaml"], mounts=mounts)
    made = [path for path in (run / "results").rglob("*") if path.is_file()]
    assert any(path.suffix in {".pth", ".ckpt", ".safetensors"} for path in made), log
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(12345, 12345)}


def _spec(boards: Path) -> str:
    """One epoch of the smallest network, with the container's paths."""
    tables = {name: next((boards / name).glob("*.csv")).name for name in ("train", "eval")}
    sets = {
        "train_dataset": {"csv_path": f"/data/train/{tables['train']}", "images_dir": "/data/train/images"},
        "validation_dataset": {"csv_path": f"/data/eval/{tables['eval']}", "images_dir": "/data/eval/images"},
    }
    pictures = {"image_width": 64, "image_height": 64, "image_ext": ".png", "input_map": None, "num_input": 1}
    spec = {
        "task": "classify",
        "results_dir": "/run dir/results",
        "model": {"backbone": {"type": "fan_tiny_8_p4_hybrid"}},
        "dataset": {"classify": {**sets, **pictures, "batch_size": 4, "workers": 0}},
        "train": {"num_epochs": 1},
    }
    return json.dumps(spec)  # which is YAML as well


def _build(engine: DockerClient, **options: Any) -> SkillrunError:
    with pytest.raises(SkillrunError) as caught:
        image_build.build(engine, options.pop("role", "deploy"), cpu=True, show=lambda event: None, **options)
    return caught.value


def test_a_base_that_nobody_has_is_told_with_the_option(engine: DockerClient, wheelhouse: Path) -> None:
    error = _build(engine, wheelhouse=wheelhouse, base="127.0.0.1:9/no/base:1")
    assert isinstance(error, BackendError)
    assert error.code == "E_IMAGE_BASE"
    assert "--base" in error.fix


def test_an_unknown_role_is_a_usage_error(engine: DockerClient) -> None:
    assert isinstance(_build(engine, role="serve"), UsageError)


def test_a_failed_step_is_told_with_its_last_words(
    engine: DockerClient, base_image: str, wheelhouse: Path, hostile_dir: Path
) -> None:
    """A wheel that only pip can miss: what onnxruntime needs, named by none of our files."""
    for wheel in wheelhouse.glob("*.whl"):
        if not wheel.name.startswith(("flatbuffers", "torch-")):
            shutil.copy(wheel, hostile_dir)
    error = _build(engine, wheelhouse=hostile_dir, base=base_image)
    assert error.code == "E_IMAGE_BUILD"
    assert "flatbuffers" in error.message
    assert "pip download" in error.fix


def test_a_build_without_changes_takes_seconds_and_says_every_step(
    engine: DockerClient, base_image: str, wheelhouse: Path, cpu_deploy_image: str
) -> None:
    steps: list[Any] = []

    def once() -> image_build.BuiltImage:
        return image_build.build(engine, "deploy", cpu=True, wheelhouse=wheelhouse, base=base_image, show=steps.append)

    first = once()
    steps.clear()
    again = once()
    assert again.reference == cpu_deploy_image
    assert again.image_id == first.image_id
    assert all(isinstance(step, BuildStep) for step in steps)
    assert [step.number for step in steps] == list(range(1, steps[0].steps + 1))


def test_list_tells_what_is_there_and_what_is_not(engine: DockerClient, cpu_image: str) -> None:
    done = CliRunner().invoke(app, ["list", "--json"])
    assert done.exit_code == 0
    rows = {(row["key"], row["variant"]): row for row in json.loads(done.stdout)["images"]}
    ours = rows["skillrun.visual_changenet_train", "cpu"]
    assert (ours["reference"], ours["present"], ours["source"]) == (cpu_image, True, "ours")
    assert engine.images.get(cpu_image).id.removeprefix("sha256:").startswith(ours["id"])
    assert rows["tao_toolkit.pyt", "gpu"]["source"] == "published"


def test_list_works_without_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    done = CliRunner().invoke(app, ["list", "--json"])
    assert done.exit_code == 0
    assert {row["present"] for row in json.loads(done.stdout)["images"]} == {None}
    assert not images.present("skillrun-base:ci")


def test_an_installation_without_dockerfiles_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from skillrun import bank
    from skillrun.image_context import sources

    monkeypatch.setattr(bank, "bank_root", lambda: tmp_path)
    with pytest.raises(NotFoundError) as caught:
        sources("train", cpu=True, wheelhouse=None)
    assert caught.value.code == "E_IMAGE_SOURCES"
