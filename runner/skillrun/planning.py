"""From a resolved spec to the plan: which backend and image, which GPUs, where each path stands for the run."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skillrun import bank, gpus, hostoptions, images, layout
from skillrun.backends import Backend, choose
from skillrun.datasets import is_address
from skillrun.errors import UsageError
from skillrun.links import with_linked_folders
from skillrun.overrides import get_dotted, set_dotted
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder
from skillrun.spec import ResolvedSpec, path_keys
from skillrun.specfile import dump_spec
from skillrun.staging import Staged

if TYPE_CHECKING:
    from skillrun.prepare import Request

CONTAINERS = ("skillrun", "tao")
PROVENANCE_VARIABLE = "SKILLRUN_PROVENANCE"


@dataclass(frozen=True)
class Place:
    """Where a run will happen.

    Attributes:
        gpus: the device request, ``none`` where ``auto`` finds no driver.
        reason: why this backend, where the user left it open.
    """

    backend: Backend
    image: str
    gpus: str
    reason: str

    @property
    def in_container(self) -> bool:
        """Whether the run has paths of its own."""
        return self.backend.name != "local"


@dataclass(frozen=True)
class Origins:
    """What a run starts from: the record of its parent, and the weights that are staged for it."""

    parent: dict[str, Any] | None
    weights: Staged | None


def find_place(request: Request, contract: bank.ActionContract) -> Place:
    """Backend, image and GPUs of a request.

    Raises:
        UsageError: an unknown backend or container, or a combination that can not be; NotFoundError: no such image key.
    """
    if request.container not in CONTAINERS:
        raise UsageError(
            "E_CONTAINER_UNKNOWN",
            f"there is no container {request.container!r}; there are: {', '.join(CONTAINERS)}",
            "--container skillrun",
        )
    asked = gpus.parse_request(request.host.gpus)
    cpu = asked.kind == "none" or (asked.kind == "auto" and not _gpus_there(request.backend))
    devices = "none" if cpu else request.host.gpus
    if request.container == "tao":
        if request.backend == "local":
            raise UsageError("E_CONTAINER_LOCAL", "--container tao needs a container backend", "--backend docker")
        image = images.resolve(request.image or contract.container_image).reference
        return Place(choose("docker", image)[0], image, devices, "")
    image = images.resolve(request.image or contract.own_image, cpu=cpu).reference
    backend, reason = choose(request.backend, image)
    return Place(backend, image, devices, reason)


def _gpus_there(backend: str) -> bool:
    """Whether ``auto`` finds GPUs: a driver here, or a GPU runtime of an engine elsewhere."""
    from skillrun import engine

    if backend != "local" and engine.reachable() and engine.endpoint().remote:
        return "nvidia" in (engine.connect().info().get("Runtimes") or {})
    return bool(gpus.driver().version)


def gpu_values(section: str, text: str) -> dict[str, Any]:
    """The spec keys that follow an explicit ``--gpus``: inside its container a run counts its GPUs from 0."""
    asked = gpus.parse_request(text)
    count = {"count": asked.count, "ids": len(asked.ids), "all": len(gpus.list_gpus())}.get(asked.kind, 0)
    return {f"{section}.num_gpus": count, f"{section}.gpu_ids": list(range(count))} if count else {}


def make_plan(
    request: Request,
    run: RunFolder,
    spec: ResolvedSpec,
    schema: Mapping[str, Any],
    contract: bank.ActionContract,
    place: Place,
    origins: Origins,
) -> Plan:
    """The plan of a run; policy and hash are added by the caller."""
    keys = path_keys(schema)
    devices, count = _devices(place, spec, contract.subcommand)
    if place.in_container:
        documented = {
            key: rule["destination_path"] for key, rule in contract.spec_params.items() if isinstance(rule, Mapping)
        }
        found = layout.container_layout(keys, spec.values, run.path, documented)
        mounts = with_linked_folders(found.mounts)
        config, run_dir = str(layout.RUN / run.container_spec.name), str(layout.RUN)
        values = _container_values(spec.values, found.paths, contract.subcommand, count if devices != "none" else 0)
        values, notices = _for_container(values, schema, request.container)
    else:
        found, values, notices = layout.host_layout(keys, spec.values, run.path), None, ()
        mounts, config, run_dir = found.mounts, str(run.spec), str(run.path)
    return Plan(
        run_id=run.run_id,
        run_dir=str(run.path),
        model=request.model,
        action=contract.name,
        task=str(spec.get("task") or request.task or "classify"),
        backend=place.backend.name,
        container="tao" if request.container == "tao" else "skillrun",
        image=place.image,
        pull=_pull(request.host.pull),
        argv=tuple(word.replace("{config_path}", config) for word in shlex.split(contract.command)),
        env={
            **_env(request, place, run_dir),
            **_provenance(request, origins),
            **hostoptions.parse_env(request.host.env),
        },
        mounts=mounts,
        gpus=devices,
        gpu_count=count,
        wait_gpu_s=hostoptions.parse_duration(request.host.wait_gpu or "0", "--wait-gpu"),
        shm_size=_shm_size(request, spec, contract),
        user=hostoptions.caller() if place.in_container else "",
        network=request.host.network or "none",
        resources=hostoptions.resources(request.host),
        results_dir=str(spec.get("results_dir")),
        parent=origins.parent,
        weights=origins.weights.to_json() if origins.weights else None,
        offline=request.offline,
        upload_to=str(request.results) if is_address(request.results) else "",
        notices=(*spec.notices, *notices),
        spec_text=spec.text(),
        container_spec_text=dump_spec(values) if values is not None else "",
    )


def _devices(place: Place, spec: ResolvedSpec, section: str) -> tuple[str, int]:
    """The device request and how many GPUs the spec expects; ids in a spec mean those of the host."""
    ids = spec.get(f"{section}.gpu_ids") or [0]
    count = max(len(ids), int(spec.get(f"{section}.num_gpus") or 1))
    if place.gpus == "auto" and place.in_container and ids != list(range(len(ids))):
        return "device=" + ",".join(map(str, ids)), len(ids)
    return place.gpus, count


def _container_values(values: Mapping[str, Any], paths: Mapping[str, str], section: str, count: int) -> dict[str, Any]:
    """The spec with container paths, and with the GPUs as the container counts them."""
    inside = copy.deepcopy(dict(values))
    for key, path in paths.items():
        set_dotted(inside, key, path)
    if count and get_dotted(inside, f"{section}.gpu_ids") is not None:
        set_dotted(inside, f"{section}.gpu_ids", list(range(count)))
        set_dotted(inside, f"{section}.num_gpus", count)
    return inside


def _for_container(
    values: dict[str, Any], schema: Mapping[str, Any], container: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    if container == "skillrun":
        return values, ()
    from skillrun.tao.spec import tao_spec

    return tao_spec(values, schema)


def _shm_size(request: Request, spec: ResolvedSpec, contract: bank.ActionContract) -> str:
    if request.host.shm_size:
        hostoptions.parse_size(request.host.shm_size, "--shm-size")
        return request.host.shm_size
    return hostoptions.shm_size(spec.values, contract.container)


def _env(request: Request, place: Place, run_dir: str) -> dict[str, str]:
    """Variables of the run; a process of this host is shown its GPUs by them, a container has no others."""
    if request.container == "tao":
        return {"PYTHONUNBUFFERED": "1", "TELEMETRY_OPT_OUT": "1"}
    env = {"PYTHONUNBUFFERED": "1", "SKILLRUN_RUN_DIR": run_dir}
    asked = gpus.parse_request(request.host.gpus)
    if not place.in_container and asked.kind in ("none", "ids"):
        env |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(asked.ids)}
    return env


def _provenance(request: Request, origins: Origins) -> dict[str, str]:
    """Where the run's weights come from; our container repeats it in result.json and in what it exports."""
    if request.container == "tao":
        return {}
    weights = origins.weights.to_json() if origins.weights else {}
    told = {
        "parent": {name: origins.parent[name] for name in ("run_id", "sha256")} if origins.parent else None,
        "weights": {name: weights[name] for name in ("source", "revision", "sha256")} if weights else None,
    }
    known = {name: value for name, value in told.items() if value}
    return {PROVENANCE_VARIABLE: json.dumps(known, ensure_ascii=False)} if known else {}


def _pull(word: str) -> Any:
    if word not in ("never", "missing", "always"):
        raise UsageError("E_ARG_PULL", f"--pull {word!r} is none of never, missing, always", "--pull missing")
    return word
