"""What can be a parent: a run of ours, or a plain results folder as the published container leaves it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from skillrun.errors import ConflictError, NotFoundError, UsageError
from skillrun.runfolder import RunFolder, find_run, read_json
from skillrun.specfile import read_spec
from skillrun.tao.result import STATUS_FILE
from skillrun.tao.status import read_status
from skillrun.watch import status

RECORDED_SPEC = "experiment.yaml"
# Where a workspace keeps its searches, and what says that a folder is one.
STUDIES, STUDY_RECORD = "studies", "study.json"
# Subfolders of a results folder in which an action leaves its files.
_ACTION_FOLDERS = ("train", "export", "quantize", "gen_trt_engine")


@dataclass(frozen=True)
class Parent:
    """A folder that a later run starts from.

    Attributes:
        path: the run folder, or the results folder.
        run: the run of ours; None for a plain results folder.
    """

    path: Path
    run: RunFolder | None = None

    @property
    def name(self) -> str:
        """How messages and plans call it: the run id, or the path."""
        return self.run.run_id if self.run else str(self.path)

    @property
    def reference(self) -> str:
        """The same for a command line."""
        return shlex.quote(self.name)

    @cached_property
    def result(self) -> dict[str, Any]:
        """``result.json``; empty where there is none."""
        return read_json(self.path / "result.json") or {}

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The spec that was recorded: ``spec.yaml`` of a run, else ``experiment.yaml``; empty where there is none."""
        if self.run and self.run.spec.is_file():
            return read_spec(self.run.spec).values
        for folder in (self.path, *self._below(self.path / "results" if self.run else self.path)):
            if (folder / RECORDED_SPEC).is_file():
                return read_spec(folder / RECORDED_SPEC).values
        return {}

    @property
    def action(self) -> str:
        """What made it, e.g. ``train``: as recorded, else as its status file says; empty where nobody knows."""
        record = read_json(self.path / "run.json") or self.result
        if record.get("action"):
            return str(record["action"])
        for folder in self.folders:
            events, _ = read_status(folder / STATUS_FILE, ended=True)
            started = [str(event["action"]) for event in events if event["event"] == "start"]
            if started:
                return started[-1]
        return ""

    @property
    def task(self) -> str:
        """``classify`` or ``segment``; empty where nobody knows."""
        record = read_json(self.path / "run.json") or self.result
        return str(record.get("task") or self.spec.get("task") or "")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files may lie, in the order of search."""
        if self.run is None:
            return tuple(self._below(self.path))
        elsewhere = self.spec.get("results_dir")
        given = Path(elsewhere) if isinstance(elsewhere, str) and Path(elsewhere).is_absolute() else self.run.results
        return tuple(dict.fromkeys([*self._below(given), *self._below(self.run.results)]))

    @staticmethod
    def _below(root: Path) -> Iterator[Path]:
        return (folder for folder in (root, *(root / name for name in _ACTION_FOLDERS)) if folder.is_dir())

    def require_ended(self) -> None:
        """Raises ConflictError while it still runs; a plain folder is taken as it is."""
        if self.run is None:
            return
        found = status(self.run)
        if not found.done:
            raise ConflictError(
                "E_PARENT_RUNNING",
                f"{self.name} is {found.state}",
                f"skillrun runs attach {self.name}",
                retryable=True,
            )


def find_parent(reference: str, root: Path) -> Parent:
    """A run (id, unique beginning, folder, ``last``), a search likewise, or a results folder by path.

    Args:
        root: the workspace.

    Raises:
        NotFoundError: neither; UsageError: several runs fit.
    """
    try:
        return best_trial(Parent((run := find_run(reference, root)).path, run))
    except NotFoundError as error:
        folder = _folder(reference) or _study(reference, root)
        if folder is None:
            fix = f"skillrun runs list --workspace {shlex.quote(str(root))}, or name a results folder that exists"
            raise NotFoundError(error.code, error.message, fix) from error
        return best_trial(Parent(folder))


def _folder(reference: str) -> Path | None:
    try:
        folder = Path(reference).expanduser().absolute()
        return folder if reference and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _study(reference: str, root: Path) -> Path | None:
    """The one search of a workspace whose id is or begins so."""
    found = [path.parent for path in sorted((root / STUDIES).glob(f"*/{STUDY_RECORD}"))]
    fitting = [path for path in found if reference and path.name.startswith(reference)]
    if len(fitting) > 1 and reference not in [path.name for path in fitting]:
        names = ", ".join(path.name for path in fitting[:5])
        raise UsageError("E_STUDY_AMBIGUOUS", f"{reference!r} fits several studies: {names}", fitting[-1].name)
    return next((path for path in fitting if path.name == reference), fitting[0] if fitting else None)


def as_parent(given: Parent | RunFolder) -> Parent:
    """A parent from what callers hold."""
    return given if isinstance(given, Parent) else Parent(given.path, given)


def best_trial(parent: Parent) -> Parent:
    """The best trial of a search, by ``best_trial`` (a folder relative to the parent) in its result; else itself.

    Raises:
        NotFoundError: that folder is gone, or the search has none; UsageError: it lies outside the parent.
    """
    told: Any = parent.result.get("best_trial")
    if not told and (parent.path / STUDY_RECORD).is_file():
        raise NotFoundError(
            "E_PARENT_TRIAL",
            f"the search {parent.path.name} has no best trial (yet)",
            f"skillrun automl resume {parent.path.name}, or name a trial's folder with --parent",
        )
    if not isinstance(told, str) or not told:
        return parent
    folder = parent.path / told
    if not folder.resolve().is_relative_to(parent.path.resolve()) or folder.resolve() == parent.path.resolve():
        raise UsageError(
            "E_PARENT_TRIAL", f"{parent.name}: best_trial {told!r} is no folder in it", "name a trial with --parent"
        )
    if not folder.is_dir():
        raise NotFoundError(
            "E_PARENT_TRIAL", f"{parent.name}: its best trial {folder} does not exist", "name a trial with --parent"
        )
    return Parent(folder, RunFolder(folder) if (folder / "run.json").is_file() else None)


def listed(entries: Any) -> list[Mapping[str, Any]]:
    """The entries of a list in ``result.json`` that have a path; others are left out."""
    there = entries if isinstance(entries, list) else []
    return [entry for entry in there if isinstance(entry, Mapping) and isinstance(entry.get("path"), str)]
