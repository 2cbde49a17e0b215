"""The Docker backend: the run's command in a container, host paths mapped, nothing of the host writable but outputs.

A container is never removed before its result is in the run folder, and every answer about a run comes from the engine
and from that folder. The engine knows a run by its label, so a launcher that dies half-way loses nothing either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.backends import Quiet, Seen, Talk
from skillrun.backends.docker_end import ENDED, collect, copy_log, keeping, remove
from skillrun.backends.docker_errors import explain, refused_ulimit
from skillrun.backends.docker_request import FOLDER_LABEL, RUN_LABEL, STOP_GRACE_S, command_line, request
from skillrun.engine import answering, connect, endpoint
from skillrun.errors import BackendError, DataError
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, give_to_folders_owner

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient
    from skillrun.gpus import Reservation

# A container that was made but not started for so long belongs to a launcher that died.
START_WITHIN_S = 60
# What the keeper needs of the caller's environment; nothing else of it, secrets least of all.
KEEPER_ENV = re.compile(
    r"PATH|HOME|LANG|LC_ALL|TMPDIR|PYTHONPATH|VIRTUAL_ENV|SSH_AUTH_SOCK|COVERAGE_PROCESS_\w+|"
    r"SKILLRUN_REQUIRE_SIGNED|"
    r"DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS|TLS_VERIFY|API_VERSION)"
)


class DockerBackend:
    """Keeps the promises of `skillrun.backends.Backend` with containers of the engine that is meant now."""

    name = "docker"

    def __init__(self) -> None:
        self._reservation: Reservation | None = None

    @property
    def local_files(self) -> bool:
        """Whether the engine sees this host's files."""
        return not endpoint().remote

    def render(self, plan: Plan) -> dict[str, Any]:
        """The engine's request body, and the ``docker run`` line that means the same."""
        made = request(plan)
        return {"backend": self.name, **made, "docker_run": command_line(made)}

    def require_ready(self, plan: Plan) -> None:
        """The engine answers, and has the image where that can not be fetched.

        Raises:
            BackendError: no engine; NotFoundError: no image.
        """
        from skillrun import images

        client, image = connect(), images.resolve(plan.image)
        if plan.pull == "never" or not image.published:
            images.ensure(client, image, "never", partial(Quiet().fetched, "image"))
        if plan.user.startswith("0:") and self.local_files:
            _check_readable(plan)

    def settle(self, plan: Plan, talk: Talk) -> Plan:
        """Fetch the image where needed, and reserve GPUs.

        Raises:
            NotFoundError, CredentialsError, BackendError: no image; ConflictError: no free GPU.
        """
        from skillrun import images

        client = connect()
        images.ensure(client, images.resolve(plan.image), plan.pull, partial(talk.fetched, "image"))
        changes: dict[str, Any] = {}
        if _rootless(client):
            changes["user"] = "0:0"  # which is the caller, outside
        if plan.gpus != "none" and self.local_files:
            changes |= self._reserve(plan, talk.say)
        return plan.model_copy(update=changes)

    def _reserve(self, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
        from skillrun import gpus

        asked = gpus.parse_request(plan.gpus)
        self._reservation = gpus.reserve(
            asked, wanted=plan.gpu_count, wait_s=plan.wait_gpu_s, say=say, run_id=plan.run_id
        )
        if self._reservation.note:
            say(f"note: {self._reservation.note}")
        return {"gpus": ",".join(self._reservation.ids)} if self._reservation.resolved and self._reservation.ids else {}

    def launch(self, plan: Plan, talk: Talk) -> dict[str, Any]:
        """Create and start the container, then its keeper.

        Raises:
            BackendError, NotFoundError, ConflictError: the engine refuses; nothing of the container is left.
        """
        run, client = RunFolder(Path(plan.run_dir)), connect()
        run.log.touch()
        give_to_folders_owner(run.log)
        handle = {"engine": endpoint().host, "log_from": run.log.stat().st_size}
        try:
            handle["container"] = _start(
                client, plan, talk.say, lambda made: run.write_record(handle={**handle, **made})
            )
            self._start_keeper(run)
        finally:
            if self._reservation:
                self._reservation.release()
        return handle

    def _start_keeper(self, run: RunFolder) -> None:
        """In a session of its own, with the GPUs' locks as inherited files and none of the caller's secrets."""
        with (run.path / "keeper.log").open("ab") as complaints:
            give_to_folders_owner(run.path / "keeper.log")
            process = subprocess.Popen(
                [sys.executable, "-m", "skillrun.backends.keeper", str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env={name: value for name, value in os.environ.items() if KEEPER_ENV.fullmatch(name)},
                cwd="/",
                start_new_session=True,
                pass_fds=self._reservation.fds if self._reservation else (),
            )
        threading.Thread(target=process.wait, daemon=True).start()  # so that a long-lived launcher keeps no zombie

    def look(self, run: RunFolder) -> Seen:
        """Ask the engine; an ended container whose keeper is gone is collected on the way."""
        try:
            container = _find(run)
            if container is None:
                return Seen(alive=False)
            with answering():
                if container.status not in ENDED:
                    return Seen(alive=not _abandoned(container))
                return _collect_unless_kept(container, run)
        except BackendError as error:
            return Seen(alive=True, note=f"unknown until the engine answers: {error.message}")

    def stop(self, run: RunFolder, *, grace_s: float = STOP_GRACE_S) -> None:
        """Ask the run to end (it writes a checkpoint first), end it after the grace time, and collect it."""
        from docker.errors import NotFound

        container = _find(run)
        if container is None:
            return
        with contextlib.suppress(NotFound), answering():
            container.stop(timeout=int(grace_s))
        deadline = time.monotonic() + 10
        while self.look(run).alive and time.monotonic() < deadline:
            time.sleep(0.05)

    def forget(self, run: RunFolder) -> None:
        """Remove whatever the engine still has of a run."""
        container = _find(run)
        if container is not None:
            remove(container)


def _collect_unless_kept(container: Container, run: RunFolder) -> Seen:
    """Collect an ended container, unless its keeper is about to. A full disk leaves it for the next look."""
    with keeping(run) as mine:
        if mine and not run.exit.exists():
            try:
                copy_log(container, run, follow=False)
                collect(container, run)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                code = container.attrs["State"].get("ExitCode")
                words = f"it ended with exit code {code}, but {run.path} takes no result: {error.strerror}"
                return Seen(alive=False, note=f"{words}; make room, then: skillrun runs show {run.run_id}")
    return Seen(alive=not run.exit.exists())


def _start(
    client: DockerClient, plan: Plan, say: Callable[[str], None], created: Callable[[dict[str, Any]], None]
) -> str:
    """Create and start a container; a limit that this engine may not set is left out, and that is said."""
    from docker.errors import APIError

    refused: set[str] = set()
    while True:
        made = request(plan)
        limits = made["body"]["HostConfig"].get("Ulimits", [])
        made["body"]["HostConfig"]["Ulimits"] = [limit for limit in limits if limit["Name"] not in refused]
        container = ""
        try:
            api: Any = client.api
            container = str(api.create_container_from_config(made["body"], made["name"])["Id"])
            created({"container": container})
            client.api.start(container)
        except APIError as error:
            if container:
                client.api.remove_container(container, force=True, v=True)
            limit = refused_ulimit(error)
            if limit is None or limit in refused:
                place = endpoint()
                raise explain(error, plan, remote=place.host if place.remote else "") from error
            refused.add(limit)
            say(f"note: this engine may not set the limit {limit}; running without it")
            continue
        return container


def _find(run: RunFolder) -> Container | None:
    """The run's container: by its id, and by its label where a launcher died before it wrote the id down."""
    from docker.errors import NotFound

    handle = run.read_record().get("handle") or {}
    client = connect(str(handle.get("engine") or ""))
    with answering():
        if handle.get("container"):
            try:
                return client.containers.get(handle["container"])
            except NotFound:
                return None
        found = client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run.run_id}"})
    return found[0] if found else None


def orphans(run_id: str) -> list[Container]:
    """Containers of a run whose folder is gone. Raises BackendError where no engine answers."""
    found = connect().containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"}, ignore_removed=True)
    return [one for one in found if not RunFolder(Path(one.labels[FOLDER_LABEL])).record.exists()]


def _abandoned(container: Container) -> bool:
    """Made, never started, and its launcher is long gone: removed here, so that it can not start later."""
    from datetime import UTC, datetime

    if container.status != "created":
        return False
    made = datetime.fromisoformat(str(container.attrs["Created"])[:19] + "+00:00")
    if (datetime.now(UTC) - made).total_seconds() < START_WITHIN_S:
        return False
    remove(container)
    return True


def _check_readable(plan: Plan) -> None:
    """Root in a container without capabilities reads only what is root's own, or open to all.

    Raises:
        DataError: an input belongs to a user who keeps it closed.
    """
    for mount in plan.mounts:
        path = Path(mount.source)
        if not mount.read_only or not path.exists():
            continue
        found, needed = path.stat(), 0o4 if mount.kind == "file" else 0o5
        if found.st_uid != 0 and found.st_gid != 0 and found.st_mode & needed != needed:
            raise DataError(
                "E_DATA_CLOSED",
                f"{path} is closed to all but user {found.st_uid}, and a container of root has no right to pass that",
                f"start it as that user: sudo -u '#{found.st_uid}' skillrun ..., or chmod -R o+rX {path}",
            )


def _rootless(client: DockerClient) -> bool:
    return any("rootless" in option for option in client.info().get("SecurityOptions") or ())
