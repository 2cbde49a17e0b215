"""The plan: one immutable, printable, JSON-able description of a run, before anything is started."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from skillrun import __version__
from skillrun.specfile import parse_spec


class Mount(BaseModel):
    """A host path and where it stands for the run; for the local backend both are the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    read_only: bool
    kind: Literal["file", "dir"]


class Plan(BaseModel):
    """Everything a backend needs, and everything a reader needs to repeat the run.

    Attributes:
        container: whose image runs: ``skillrun`` or ``tao``; no meaning for the local backend.
        image: what the engine is asked for; ``pull`` says whether it may be fetched.
        argv: the command as a list, never a shell string.
        env: variables set for the command; never a secret.
        mounts: what the run reads and writes, host path and container path.
        gpus: device request (``none``, ``auto``, ``all``, a count, ids or UUIDs); the spec expects ``gpu_count``.
        wait_gpu_s: how long to wait for free GPUs.
        shm_size: shared memory of the container, e.g. ``8g``; the other sizes in ``resources`` are spelled likewise.
        parent: what the run starts from: run id, file, reason, sha256, relation (``parent`` or ``resume``).
        weights: backbone weights that the launch brings to their place: path, source, revision, sha256, size in bytes.
        offline: whether the launch may ask a server; upload_to: where the run's folder is sent at the end.
        waived: codes of findings that do not refuse the launch.
        user: ``uid:gid`` of the caller, who owns what the run writes.
        spec_text: the resolved spec with host paths; with it the run can be repeated on any backend.
        container_spec_text: the same spec as the container reads it, empty where both are the same.
        plan_hash: sha256 over all that decides the outcome; the run's id and folder are left out, so the same
            request has the same hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    skillrun_version: str = __version__
    run_id: str
    run_dir: str
    model: str
    action: str
    task: str
    backend: str
    container: Literal["skillrun", "tao"] = "skillrun"
    image: str
    pull: Literal["never", "missing", "always"] = "missing"
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    gpus: str = "auto"
    gpu_count: int = 1
    wait_gpu_s: float = 0
    shm_size: str = "8g"
    user: str = ""
    network: str = "none"
    resources: dict[str, Any] = {}
    results_dir: str
    parent: dict[str, Any] | None = None
    weights: dict[str, Any] | None = None
    offline: bool = False
    upload_to: str = ""
    automl: dict[str, str] | None = None
    notices: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    spec_text: str
    container_spec_text: str = ""
    plan_hash: str = ""

    def hashed(self) -> Plan:
        """The same plan with its ``plan_hash`` filled in."""
        left_out = {"plan_hash", "run_id", "run_dir", "skillrun_version", "notices", "spec_text", "container_spec_text"}
        left_out |= {"pull", "wait_gpu_s", "offline", "upload_to", "waived"}
        body = {**self.model_dump(mode="json", exclude=left_out), "spec": parse_spec(self.spec_text).values}
        text = json.dumps(_without(body, self.run_dir), sort_keys=True)
        return self.model_copy(update={"plan_hash": hashlib.sha256(text.encode()).hexdigest()})

    @property
    def action_folder(self) -> Path:
        """Where on the host the action writes: ``<action>.results_dir`` of the spec, else a folder of its own below."""
        section = self.action.removeprefix("segment_").removeprefix("trt_")
        own = (parse_spec(self.spec_text).values.get(section) or {}).get("results_dir")
        return Path(own) if own else Path(self.results_dir) / section

    def to_json(self) -> str:
        """Indented JSON; `Plan.from_json` reads it back to an equal plan."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan written by `to_json`; raises pydantic's ValidationError on anything else."""
        return cls.model_validate_json(text)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read ``plan.json`` of a run folder."""
        return cls.from_json(path.read_text(encoding="utf-8"))


def _without(value: Any, folder: str) -> Any:
    """The same value with the run's own folder taken out of every text."""
    if isinstance(value, dict):
        return {key: _without(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, folder) for item in value]
    return value.replace(folder, "<run>") if isinstance(value, str) else value
