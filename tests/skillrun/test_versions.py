"""Image names stand in one file, and what the images install is what the package asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from skillrun import __version__, bank, images
from skillrun.errors import NotFoundError, UsageError
from skillrun.image_context import download_command, sources
from visual_changenet.version import VERSION

ROOT = bank.bank_root()
FOLDER = ROOT / "containers" / "visual_changenet"
PACKAGE_NEEDS = {"pydantic", "pyyaml", "pillow"}


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", line)[0] for line in requirements}


def _requirements(name: str) -> set[str]:
    return _names((FOLDER / f"requirements-{name}.txt").read_text(encoding="utf-8").split())


def _extras() -> dict[str, list[str]]:
    parsed: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    return parsed


def test_the_training_image_installs_what_the_package_imports() -> None:
    extras = _extras()
    exported = {"onnx", "onnxruntime"}  # of the extra deploy; its exporter of other opsets is not used
    assert _requirements("train") == _names([*extras["train"], *extras["quantize"]]) | exported | PACKAGE_NEEDS


def test_both_packages_have_one_version() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert stated == VERSION


def test_the_deploy_image_installs_the_gpu_extra_and_no_torch() -> None:
    extras = _extras()
    runtime = PACKAGE_NEEDS | _names(extras["deploy"])
    assert _requirements("deploy") == _names(extras["gpu"]) | runtime - {"onnxruntime"}
    assert _requirements("deploy-cpu") == runtime - {"onnx"}, "only engines are built from graphs that are rewritten"


@pytest.mark.parametrize("role", ["train", "deploy"])
def test_a_dockerfile_starts_from_the_base_in_versions(role: str) -> None:
    text = (FOLDER / f"Dockerfile.{role}").read_text(encoding="utf-8")
    assert f"ARG BASE_IMAGE={images.versions()['bases'][role]['gpu']}\n" in text
    assert not re.search(r"^# *syntax|--mount|--chmod|<<", text, re.MULTILINE), "not every builder knows it"


@pytest.mark.parametrize("name", ["train", "deploy-cpu"])
def test_every_requirement_of_an_image_is_pinned(name: str) -> None:
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert _requirements(name) <= pinned


def test_no_other_file_names_the_publishers_registry() -> None:
    registry = images.resolve("tao_toolkit.pyt").registry
    found = [
        path.relative_to(ROOT)
        for folder in ("runner", "containers", "schemas", "references")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and registry in path.read_text(encoding="utf-8")
    ]
    assert found == [Path("references/versions.yaml")]


def test_every_image_of_a_contract_is_known() -> None:
    for model in bank.models():
        for action in bank.actions(model):
            contract = bank.contract(model, action)
            assert images.resolve(contract.container_image).published
            assert not images.resolve(contract.own_image).published


def test_our_images_carry_skillruns_own_version() -> None:
    assert images.resolve("skillrun.visual_changenet_train").reference.endswith(f":{__version__}")
    small = images.resolve("skillrun.visual_changenet_train", cpu=True)
    assert small.reference.endswith(f":{__version__}-cpu")
    assert (small.role, small.variant, small.published) == ("train", "cpu", False)


def test_a_published_image_has_one_variant() -> None:
    assert images.resolve("tao_toolkit.pyt", cpu=True) == images.resolve("tao_toolkit.pyt")


def test_a_digest_wins_over_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "sha256:" + "a" * 64
    entry = {"name": "host.example/team/thing", "tag": "1.0", "digest": digest}
    monkeypatch.setattr(images, "versions", lambda: {"images": {"family": {"member": entry}}})
    assert images.resolve("family.member").reference == f"host.example/team/thing@{digest}"


def test_a_name_of_ours_is_recognised_as_ours() -> None:
    ours = images.resolve("skillrun.visual_changenet_deploy", cpu=True)
    assert images.resolve(ours.reference) == ours


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("team/thing", "docker.io"),
        ("thing:1.0", "docker.io"),
        ("localhost/thing", "localhost"),
        ("127.0.0.1:5000/team/thing:1", "127.0.0.1:5000"),
        ("[::1]:5000/thing", "[::1]:5000"),
        ("host.example/a/b_c--d@sha256:" + "0" * 64, "host.example"),
    ],
)
def test_a_name_is_taken_as_it_is(name: str, registry: str) -> None:
    image = images.resolve(name)
    assert (image.reference, image.registry, image.published) == (name, registry, True)


@pytest.mark.parametrize(
    "name", ["Team/Thing", "a b:1", "thing:", "/thing", "host/thing@sha256:12", "thing:-x", "--rm:1"]
)
def test_what_no_engine_accepts_is_refused_at_once(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        images.resolve(name)
    assert caught.value.code == "E_IMAGE_NAME"
    assert repr(name) in caught.value.message


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        images.resolve("tao_toolkit.pty")
    assert caught.value.code == "E_IMAGE_UNKNOWN"
    assert "did you mean tao_toolkit.pyt" in caught.value.message


def _wheels(folder: Path, *, without: str = "", torch: str = "2.13.0+cpu", also: tuple[str, ...] = ()) -> Path:
    """Empty files with the names of wheels: only names are looked at before a build."""
    folder.mkdir(exist_ok=True)
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    for name in _requirements("train") - {without}:
        version = torch if name == "torch" else pins[name]
        (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()
    for name in also:
        (folder / name).touch()
    return folder


def test_a_whole_wheelhouse_at_a_hostile_path_is_taken(hostile_dir: Path) -> None:
    wheels = _wheels(hostile_dir / "wheels")
    found = sources("train", cpu=True, wheelhouse=wheels)
    assert {path.parent for path in found.wheels} == {wheels}
    assert "PIP_EXTRA_INDEX_URL" not in found.build_args


def test_a_missing_wheel_is_told_before_the_build_with_the_command_that_brings_it(hostile_dir: Path) -> None:
    with pytest.raises(UsageError) as caught:
        sources("train", cpu=True, wheelhouse=_wheels(hostile_dir, without="opencv-python-headless"))
    assert caught.value.code == "E_WHEELHOUSE_INCOMPLETE"
    assert "opencv-python-headless 5" in caught.value.message
    assert caught.value.fix.startswith("pip download -d ")


def test_a_wheel_of_another_version_than_the_pinned_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"torch 2\.13\.0"):
        sources("train", cpu=True, wheelhouse=_wheels(tmp_path, torch="2.12.0+cpu"))


@pytest.mark.parametrize(
    ("torch", "also"),
    [("2.13.0+cu130", ()), ("2.13.0", ("nvidia_cublas-13.0.0-py3-none-any.whl", "triton-3.6.0-py3-none-any.whl"))],
)
def test_cuda_wheels_are_refused_for_a_cpu_image(tmp_path: Path, torch: str, also: tuple[str, ...]) -> None:
    wheels = _wheels(tmp_path, torch=torch, also=also)
    with pytest.raises(UsageError) as caught:
        sources("train", cpu=True, wheelhouse=wheels)
    assert caught.value.code == "E_WHEELHOUSE_CUDA"
    assert sources("train", cpu=False, wheelhouse=wheels).wheels


def test_a_cpu_image_built_with_a_network_takes_torch_from_its_own_index() -> None:
    found = sources("train", cpu=True, wheelhouse=None)
    index = images.versions()["torch_cpu_index"]
    assert found.build_args == {"PIP_EXTRA_INDEX_URL": index}
    assert index in download_command(found)
    assert not sources("train", cpu=False, wheelhouse=None).build_args


def test_a_wheelhouse_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        sources("deploy", cpu=True, wheelhouse=tmp_path / "nowhere")


def test_the_build_context_holds_the_package_and_nothing_else() -> None:
    names = sources("deploy", cpu=True, wheelhouse=None).files
    assert "containers/visual_changenet/visual_changenet/cli.py" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("runner", "tests", "."))]
