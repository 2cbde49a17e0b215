"""What the engine says when something is wrong, in words that name the cause and the command that mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from skillrun.errors import BackendError, ConflictError, NotFoundError, SkillrunError
from skillrun.plan import Plan

if TYPE_CHECKING:
    from docker.errors import APIError

# Numbers that the kernel gives its limits, as they stand in the engine's message.
RLIMITS = dict(enumerate(("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks")))
_RLIMIT = re.compile(r"setting rlimits?.*? type (\d+)")
GPU_TOOLKIT = (
    "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker && "
    "sudo systemctl restart docker (skillrun doctor knows more); or run on the CPU: --gpus none"
)


def refused_ulimit(error: APIError) -> str | None:
    """The name of the limit that this engine may not set, if that is what it says."""
    match = _RLIMIT.search(str(error.explanation or error))
    return RLIMITS.get(int(match[1]), "") if match else None


def explain(error: APIError, plan: Plan, *, remote: str = "") -> SkillrunError:
    """The engine's refusal to create or start a container, explained. ``remote`` is the host of a remote engine."""
    said = str(error.explanation or error)
    missing = re.search(r"bind source path does not exist: (.*)", said)
    if missing:
        return _missing_source(missing[1].strip(), remote)
    if re.search(r"could not select device driver|unknown or invalid runtime name", said):
        return BackendError(
            "E_GPU_RUNTIME", "this engine can not hand GPUs to containers: it has no GPU runtime", GPU_TOOLKIT
        )
    if re.search(r"nvidia-container-cli|nvml error|libnvidia-ml|unresolvable CDI devices", said):
        reason = said.rpartition("nvidia-container-cli:")[2].strip() or said
        fix = "nvidia-smi  (install or restart the NVIDIA driver if it fails), or run on the CPU: --gpus none"
        return BackendError("E_GPU_DRIVER", f"the GPU runtime failed: {_one_line(reason)}", fix)
    if error.status_code == 404 and "image" in said.lower():
        return NotFoundError("E_IMAGE_MISSING", f"the engine has no image {plan.image}", "skillrun images list")
    if error.status_code == 409:
        return ConflictError(
            "E_RUN_BUSY", f"a container of run {plan.run_id} exists already", f"skillrun runs stop {plan.run_id}"
        )
    if re.search(r"executable file not found|no such file or directory: unknown", said):
        return BackendError(
            "E_IMAGE_COMMAND",
            f"the image {plan.image} has no command {plan.argv[0]!r}",
            "leave out --image, or name one that was built for this model: skillrun images list",
        )
    if "permission denied" in said and "exec" in said:
        return BackendError(
            "E_IMAGE_COMMAND", f"{plan.argv[0]!r} in {plan.image} may not be executed", "skillrun images build"
        )
    if "no space left on device" in said:
        return BackendError("E_DOCKER_DISK", "the engine's disk is full", "docker system df; docker system prune")
    if "Minimum memory limit" in said or "Range of CPUs" in said:
        return BackendError("E_DOCKER_LIMIT", _one_line(said), "--memory 4g --cpus 2, within what the host has")
    return BackendError("E_DOCKER_START", f"the engine refused the container: {_one_line(said)}", "skillrun doctor")


def _missing_source(path: str, remote: str) -> SkillrunError:
    if remote:
        return NotFoundError(
            "E_DOCKER_REMOTE_PATH",
            f"{path} does not exist on the engine's host {remote}",
            "keep workspace and data on a file system that both hosts share, or run skillrun there",
        )
    return NotFoundError("E_DOCKER_MOUNT", f"{path} does not exist (any more)", "name an existing path")


def explain_exit(state: dict[str, Any], plan: Plan) -> dict[str, Any] | None:
    """The error of a container's end that only the engine knows of, or None where the run's own words are enough.

    Args:
        state: the engine's ``State`` of the container.
    """
    code = int(state.get("ExitCode") or 0)
    if state.get("OOMKilled"):
        limit = plan.resources.get("memory")
        bound = f"its limit of {limit / 2**30:.3g} GiB" if limit else "the memory of the host"
        return _error(
            "E_RUN_OOM",
            f"the run needed more memory than {bound} and was killed",
            "a smaller batch_size or fewer workers" + (", or a larger --memory" if limit else ""),
        )
    if code == 135:
        fix = f"--shm-size larger than {plan.shm_size}, or fewer workers"
        return _error("E_RUN_SHM", f"bus error: the shared memory of {plan.shm_size} was not enough", fix)
    if code == 137:
        words = "the container was killed (SIGKILL): docker kill, a restarted engine, or the host ran out of memory"
        return _error("E_RUN_KILLED", words, _go_on(plan))
    if code == 139:
        return _error("E_RUN_CRASHED", "segmentation fault in the container", f"skillrun runs logs {plan.run_id}")
    if code in (126, 127):
        return _error("E_IMAGE_COMMAND", f"{plan.argv[0]!r} can not run in {plan.image}", "skillrun images list")
    return None


def explain_restart(plan: Plan) -> dict[str, Any]:
    """The error of a run that its engine ended by restarting."""
    fix = f'{_go_on(plan)}; to prevent it: "live-restore": true in /etc/docker/daemon.json'
    return _error("E_RUN_ENGINE_RESTARTED", "the engine restarted and ended the container with it", fix)


def _go_on(plan: Plan) -> str:
    return f"skillrun runs {'resume' if plan.action.endswith('train') else 'logs'} {plan.run_id}"


def _error(code: str, message: str, fix: str) -> dict[str, Any]:
    return {"code": code, "message": message, "fix": fix, "retryable": False}


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
