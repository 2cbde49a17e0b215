"""What an image is built from: the Dockerfile, the pins, the model's package, and wheels that stand for the network."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skillrun import bank, images
from skillrun.errors import NotFoundError, UsageError

MODEL = "visual_changenet"
FOLDER = f"containers/{MODEL}"
CONSTRAINTS = "constraints.txt"


@dataclass(frozen=True)
class Sources:
    """The files of one build.

    Attributes:
        files: name within the build context → file.
        dockerfile, requirements: names within the context.
        build_args: those that depend on the variant alone.
        wheels: the wheels among ``files``; none where a network is used.
        cpu: whether torch must be the build without CUDA.
    """

    files: dict[str, Path]
    dockerfile: str
    requirements: str
    build_args: dict[str, str]
    wheels: tuple[Path, ...]
    cpu: bool


def sources(role: str, *, cpu: bool, wheelhouse: Path | None) -> Sources:
    """Collect what an image needs.

    Args:
        role: ``train`` or ``deploy``.
        wheelhouse: folder of wheels, or None to use the network.

    Raises:
        NotFoundError: this installation has no Dockerfile. UsageError: the wheels can not do.
    """
    root = bank.bank_root()
    chosen = "requirements-deploy-cpu.txt" if cpu and role == "deploy" else f"requirements-{role}.txt"
    dockerfile, requirements = f"{FOLDER}/Dockerfile.{role}", f"{FOLDER}/{chosen}"
    files = {name: root / name for name in (dockerfile, requirements, CONSTRAINTS)}
    absent = [str(path) for path in files.values() if not path.is_file()]
    if absent:
        raise NotFoundError(
            "E_IMAGE_SOURCES", f"this installation has no {absent[0]}", "build from a checkout of skillrun"
        )
    package = _package(root)
    for path in sorted(package.rglob("*.py")):
        files[f"{FOLDER}/{MODEL}/{path.relative_to(package).as_posix()}"] = path
    args = {"REQUIREMENTS": chosen} if role == "deploy" else {}
    if cpu and role == "train" and wheelhouse is None:
        args["PIP_EXTRA_INDEX_URL"] = str(images.versions()["torch_cpu_index"])
    wheels = () if wheelhouse is None else _wheels(wheelhouse)
    files |= {f"wheelhouse/{wheel.name}": wheel for wheel in wheels}
    found = Sources(files, dockerfile, requirements, args, wheels, cpu)
    if wheelhouse is not None:
        _check_wheels(found, wheelhouse)
    return found


def _package(root: Path) -> Path:
    """The model's package: in the checkout, else where it is installed. It is located, not imported."""
    if (root / FOLDER / MODEL).is_dir():
        return root / FOLDER / MODEL
    spec = importlib.util.find_spec(MODEL)
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError("E_IMAGE_SOURCES", f"the package {MODEL} is not installed", "pip install skillrun")
    return Path(spec.submodule_search_locations[0])


def pack(found: Sources, archive: IO[bytes]) -> None:
    """Write the build context as a tar. Owners and times are left out, so that equal files make equal steps."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in sorted(found.files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as content:
                tar.addfile(entry, content)


def _wheels(wheelhouse: Path) -> tuple[Path, ...]:
    if not wheelhouse.is_dir():
        raise UsageError("E_WHEELHOUSE", f"{wheelhouse} is not a folder", "name a folder of wheels: --wheelhouse DIR")
    return tuple(sorted(wheelhouse.glob("*.whl")))


def _check_wheels(found: Sources, wheelhouse: Path) -> None:
    """What file names tell: is every named package there in its pinned version, and torch in the right build?"""
    have = {_wheel_version(wheel) for wheel in found.wheels}
    present = {name for name, _ in have}
    pins = dict(_pins(found.files[CONSTRAINTS]))
    wanted = [_plain(name) for name in found.files[found.requirements].read_text(encoding="utf-8").split()]
    fits = {name for name in wanted if ((name, pins[name]) in have if name in pins else name in present)}
    lacking = [f"{name} {pins.get(name, '')}".strip() for name in wanted if name not in fits]
    if lacking:
        fix = download_command(found, wheelhouse)
        raise UsageError("E_WHEELHOUSE_INCOMPLETE", f"{wheelhouse} has no wheel of {', '.join(lacking)}", fix)
    if found.cpu and "torch" in wanted and (with_cuda := _cuda_wheels(found.wheels)):
        text = f"{wheelhouse} has torch for CUDA ({with_cuda[0]}), which a CPU image is not for"
        raise UsageError("E_WHEELHOUSE_CUDA", text, download_command(found, Path("wheelhouse-cpu")))


def _cuda_wheels(wheels: Iterable[Path]) -> list[str]:
    """Names that say so. A folder with a torch that is marked as CPU build may hold CUDA packages for another image."""
    names = [wheel.name for wheel in wheels]
    if any(re.match(r"torch-[^-]*\+cpu-", name) for name in names):
        return []
    return [name for name in names if re.match(r"torch-[^-]*\+cu|nvidia_|triton-", name)]


def _wheel_version(wheel: Path) -> tuple[str, str]:
    name, version = (*wheel.name.split("-"), "")[:2]
    return _plain(name), version.partition("+")[0]


def _pins(constraints: Path) -> Iterable[tuple[str, str]]:
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, equals, version = line.partition("#")[0].strip().partition("==")
        if equals:
            yield _plain(name), version.strip()


def _plain(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def download_command(found: Sources, wheelhouse: Path = Path("wheelhouse")) -> str:
    """What fills a wheelhouse on a host with a network."""
    parts = ["pip", "download", "-d", str(wheelhouse)]
    parts += ["-c", str(found.files[CONSTRAINTS]), "-r", str(found.files[found.requirements])]
    if found.cpu and "train" in found.dockerfile:
        parts += ["--extra-index-url", str(images.versions()["torch_cpu_index"])]
    return shlex.join(parts)
