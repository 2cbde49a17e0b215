"""The Docker engine: which one, what it can do, our images on it, and containers that nobody owns any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.doctor.check import GIB, Check
from skillrun.doctor.gpu_runtime import check_gpu_runtime, toolkit_state
from skillrun.doctor.graphics import check_cuda
from skillrun.doctor.storage import check_room
from skillrun.errors import BackendError, SkillrunError

if TYPE_CHECKING:
    from docker import DockerClient
    from skillrun.engine import Endpoint
    from skillrun.gpus import Driver

OWN_IMAGES = ("skillrun.visual_changenet_train", "skillrun.visual_changenet_deploy")
DATA_ROOT_WARN_GIB = 15
OLDEST_API = (1, 40)


def engine_checks() -> list[Check]:
    """All checks of this module, in order; where no engine answers, only that."""
    from docker.errors import DockerException

    from skillrun.engine import connect, endpoint

    try:
        place = endpoint()
        client = connect()
        return _checks_of(client, place)
    except BackendError as error:
        return [Check("engine", "warn", error.message, error.fix)]
    except (DockerException, OSError) as error:
        words = " ".join(str(error).split())
        return [Check("engine", "warn", f"the engine answers, and then fails: {words[:300]}", "docker info")]


def _checks_of(client: DockerClient, place: Endpoint) -> list[Check]:
    from skillrun.gpus import driver

    info: dict[str, Any] = client.info()
    found = driver()
    here = None if place.remote else toolkit_state()
    return [
        check_engine(info, str(client.version().get("ApiVersion", "")), place.host, place.origin),
        check_data_root(info, place.remote),
        check_gpu_runtime(info, bool(found.version), here),
        *check_images(client, found),
        check_orphans(client, place.remote),
    ]


def check_engine(info: Mapping[str, Any], api: str, host: str, origin: str) -> Check:
    """Version, socket and the properties that change how files and limits behave in containers."""
    options = info.get("SecurityOptions") or []
    traits = [trait for trait in ("rootless", "userns") if f"name={trait}" in options]
    traits.append(f"cgroup v{info.get('CgroupVersion', '1')} {info.get('CgroupDriver', '')}".strip())
    text = f"{info.get('ServerVersion', '?')} at {host} ({origin}), {', '.join(traits)}"
    if tuple(int(part) for part in api.split(".") if part.isdigit()) < OLDEST_API:
        return Check("engine", "warn", f"{text}: too old for --gpus", "install Docker 19.03 or newer")
    if "userns" in traits:
        fix = 'remove "userns-remap" from /etc/docker/daemon.json, then sudo systemctl restart docker'
        return Check("engine", "warn", f"{text}: files of a run would belong to a shifted user", fix)
    if not info.get("MemoryLimit", True):
        fix = "sudo systemctl edit user@.service (Delegate=memory pids cpu), then log in again"
        return Check("engine", "warn", f"{text}: --memory has no effect here", fix)
    return Check("engine", "ok", text)


def check_data_root(info: Mapping[str, Any], remote: bool) -> Check:
    """Room for images, where this host can see it."""
    place = Path(str(info.get("DockerRootDir", "")))
    if remote or not place.is_absolute() or not _exists(place):
        return Check("engine disk", "ok", f"{place} is on the engine's host: not measured from here")
    return check_room("engine disk", place, DATA_ROOT_WARN_GIB, "docker system df; docker system prune")


def check_images(client: DockerClient, driver: Driver) -> list[Check]:
    """Our images in the variant that this host needs, and whether their CUDA suits the driver."""
    from skillrun import images

    cpu = not driver.version
    found = []
    for key in OWN_IMAGES:
        name = f"image {key.rpartition('_')[2]}"
        try:
            image = images.resolve(key, cpu=cpu)
            attributes = images.inspect(client, image.reference)
        except SkillrunError as error:
            found.append(Check(name, "warn", error.message, error.fix))
            continue
        if attributes is None:
            fix = f"skillrun images build {image.role}{' --cpu' if cpu else ''}"
            found.append(Check(name, "warn", f"{image.reference} is absent", fix))
            continue
        found.append(Check(name, "ok", f"{image.reference}, {int(attributes.get('Size') or 0) / GIB:.1f} GiB"))
        needed = _image_cuda(attributes)
        if needed and driver.version:
            found.append(check_cuda(f"CUDA of {name}", driver, needed))
    return found


def _image_cuda(attributes: Mapping[str, Any]) -> str:
    """``CUDA_VERSION`` of an image's environment: NVIDIA's base images set it."""
    for entry in (attributes.get("Config") or {}).get("Env") or []:
        name, _, value = str(entry).partition("=")
        if name == "CUDA_VERSION":
            return value
    return ""


def check_orphans(client: DockerClient, remote: bool) -> Check:
    """Containers of ours whose run folder is gone."""
    from skillrun.backends.docker_request import FOLDER_LABEL, RUN_LABEL

    entries = client.api.containers(all=True, filters={"label": RUN_LABEL})
    labels = [entry.get("Labels") or {} for entry in entries]
    if remote:
        return Check("containers", "ok", f"{len(labels)} of skillrun; their run folders are on the engine's host")
    lost = [label for label in labels if not _exists(Path(label.get(FOLDER_LABEL) or "") / "run.json")]
    if not lost:
        return Check("containers", "ok", f"{len(labels)} of skillrun, each with its run folder")
    names = " ".join(label[RUN_LABEL] for label in lost[:5])
    text = f"{len(lost)} of {len(labels)} containers of skillrun have no run folder: {names}"
    return Check("containers", "warn", text, f"skillrun runs rm {lost[0][RUN_LABEL]}")


def _exists(path: Path) -> bool:
    """Whether a path exists; one that may not be looked at counts as there."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
