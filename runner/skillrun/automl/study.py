"""One study = one folder ``<workspace>/studies/<study id>/``, a workspace of its own: its trials are ordinary runs.

``study.json journal.log clock.json runs/ cache/ driver.log result.json winner.yaml trials.csv report.html``

``study.json`` is written once, before the first trial, and again only where a budget is extended. The journal is the
truth about trials, the run folders about trainings. `skillrun.automl.driver` says in which order they are written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skillrun.automl.settings import Settings
from skillrun.errors import ConflictError, NotFoundError, UsageError
from skillrun.lineage.folders import STUDIES, STUDY_RECORD
from skillrun.overrides import nearest
from skillrun.runfolder import RunFolder, new_run_id, read_json, write_atomic

FOLDER = STUDIES


@dataclass(frozen=True)
class StudyFolder:
    """Owns every path inside a study's folder."""

    path: Path

    @property
    def study_id(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        return self.path / STUDY_RECORD

    @property
    def journal(self) -> Path:
        return self.path / "journal.log"

    @property
    def clock(self) -> Path:
        return self.path / "clock.json"

    @property
    def cache(self) -> Path:
        """Decoded data that all trials share."""
        return self.path / "cache"

    @property
    def log(self) -> Path:
        """What a driver says that nobody watches."""
        return self.path / "driver.log"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def winner(self) -> Path:
        """The winning values as a spec file."""
        return self.path / "winner.yaml"

    @property
    def table(self) -> Path:
        return self.path / "trials.csv"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def driver_lock(self) -> Path:
        return self.path / ".driver.lock"

    def run(self, run_id: str) -> RunFolder:
        """The folder of a trial's run; it need not exist."""
        return RunFolder(self.path / "runs" / run_id)

    def settings(self) -> Settings:
        """Raises NotFoundError where this is no study, ConflictError for one that can not be read."""
        raw = read_json(self.record)
        if raw is None:
            raise NotFoundError("E_STUDY_NOT_FOUND", f"{self.path} is no study: it has no study.json", _LIST)
        return Settings.from_json(raw)

    def save(self, settings: Settings) -> None:
        """Write ``study.json``."""
        write_atomic(self.record, json.dumps(settings.to_json(), indent=2, ensure_ascii=False) + "\n")

    def read_result(self) -> dict[str, Any] | None:
        """``result.json``; None before the end."""
        return read_json(self.result)

    def state(self) -> str:
        """``running``, ``interrupted`` (nobody drives it to its end), ``failed`` or ``ended``."""
        if self.driver():
            return "running"
        result = self.read_result()
        return "interrupted" if result is None else "failed" if result.get("status") == "failed" else "ended"

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Only one process drives a study. The lock ends with the process, however that ends.

        Raises:
            ConflictError: another one drives it.
        """
        link = os.open(self.driver_lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            _lock(link, self.study_id)
            os.ftruncate(link, 0)
            os.pwrite(link, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(link)

    def driver(self) -> str:
        """Who drives it now, e.g. ``pid 4711 on line3``; empty for nobody."""
        with contextlib.suppress(FileNotFoundError):
            link = os.open(self.driver_lock, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(link, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return os.pread(link, 200, 0).decode("utf-8", errors="replace") or "another process"
            finally:
                os.close(link)
        return ""


_LIST = "skillrun automl list"


def _lock(link: int, study_id: str) -> None:
    try:
        fcntl.flock(link, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(link, 200, 0).decode("utf-8", errors="replace") or "another process"
        raise ConflictError(
            "E_STUDY_BUSY",
            f"study {study_id} is driven by {holder}",
            f"watch it: skillrun automl status {study_id}",
            retryable=True,
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        # A file system without locks: there the user sees to it that one process drives.


def new_study_id(now: datetime | None = None) -> str:
    """Like a run's id: ``261121-074512-automl-4f1c``."""
    return new_run_id("automl", now or datetime.now(UTC))


def list_studies(root: Path) -> Iterator[StudyFolder]:
    """All studies of a workspace, newest first."""
    folder = root / FOLDER
    if folder.is_dir():
        for path in sorted(folder.iterdir(), reverse=True):
            if (path / STUDY_RECORD).is_file():
                yield StudyFolder(path)


def find_study(reference: str, root: Path) -> StudyFolder:
    """A study by id, unique beginning of an id, folder, or ``last``.

    Raises:
        NotFoundError: none fits; UsageError: several do.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        folder = Path(reference).expanduser().absolute()
        if reference and (folder / STUDY_RECORD).is_file():
            return StudyFolder(folder)
    studies = list(list_studies(root))
    if reference == "last" and studies:
        return studies[0]
    fitting = [study for study in studies if reference and study.study_id.startswith(reference)]
    exact = [study for study in fitting if study.study_id == reference]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    if fitting:
        names = ", ".join(study.study_id for study in fitting[:5])
        raise UsageError(
            "E_STUDY_AMBIGUOUS", f"{reference!r} fits several studies: {names}", f"name one: {fitting[0].study_id}"
        )
    close = nearest(reference, [study.study_id for study in studies])
    hint = f"; did you mean {close[0]}?" if close else ""
    raise NotFoundError("E_STUDY_NOT_FOUND", f"no study {reference!r} in {root / FOLDER}{hint}", _LIST)
