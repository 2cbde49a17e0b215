"""The runs that a card speaks of: the one that was named, what it came from, and what measured it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from skillrun.errors import ConflictError, SkillrunError, UsageError
from skillrun.inspection.threshold import digest, measured_model
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder, list_runs, read_json
from skillrun.specfile import read_spec
from skillrun.watch import require_success, status

TRAIN, EVALUATE, MODELS = "train", "evaluate", ("export", "quantize", "gen_trt_engine")


@dataclass(frozen=True)
class Member:
    """One run with what it recorded."""

    run: RunFolder

    @property
    def name(self) -> str:
        """The run id."""
        return self.run.run_id

    @cached_property
    def record(self) -> dict[str, Any]:
        """``run.json``; empty where it can not be read: a broken neighbour is no reason to have no card."""
        return read_json(self.run.record) or {}

    @cached_property
    def result(self) -> dict[str, Any]:
        """``result.json``; empty where there is none."""
        return read_json(self.run.result) or {}

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The spec with host paths; empty where there is none."""
        return read_spec(self.run.spec).values if self.run.spec.is_file() else {}

    @property
    def kind(self) -> str:
        """The action without its task: ``train``, ``evaluate``, ``export``, …"""
        return str(self.record.get("action", "")).removeprefix("segment_").removeprefix("trt_")

    @property
    def task(self) -> str:
        """``classify`` or ``segment``."""
        return str(self.record.get("task") or self.result.get("task") or "classify")

    @property
    def parent(self) -> dict[str, Any]:
        """What it started from, as recorded: ``run_id``, ``checkpoint``, ``sha256``; empty where nothing was."""
        told = self.record.get("parent")
        return told if isinstance(told, dict) else {}

    @property
    def succeeded(self) -> bool:
        """Whether its result says so."""
        return self.result.get("status") == "succeeded"

    def get(self, key: str) -> Any:
        """A value of its spec by its dotted key, or None."""
        return get_dotted(self.spec, key)

    def artifact(self, kind: str) -> Path | None:
        """The first file of that kind in its result that is there."""
        listed = (self.run.path / str(item["path"]) for item in self.result.get("artifacts") or [] if _is(item, kind))
        return next((path for path in listed if path.is_file()), None)


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, dict) and item.get("kind") == kind and bool(item.get("path"))


@dataclass(frozen=True)
class ModelFile:
    """The file that the card is of.

    Attributes:
        sha256: of the file as it is now; as recorded where it is gone; empty where nobody knows.
        recorded: the digest when it was written or read, empty where nobody noted it.
    """

    path: Path | None
    sha256: str = ""
    recorded: str = ""

    @property
    def changed(self) -> bool:
        """Whether the file is no longer what was measured."""
        return bool(self.recorded) and self.sha256 != self.recorded


@dataclass(frozen=True)
class Family:
    """What belongs to a card.

    Attributes:
        subject: the run that was named.
        ancestors: the run and what it came from, nearest first.
        evaluation: what measured the model: the subject, else the newest; None where nothing did.
        on_itself: whether the evaluation read the very file of the card, and not the checkpoint that it came from.
        runs: all that came from the same training, oldest first.
    """

    subject: Member
    ancestors: tuple[Member, ...]
    evaluation: Member | None
    on_itself: bool
    model: ModelFile
    runs: tuple[Member, ...]

    @property
    def trainings(self) -> tuple[Member, ...]:
        """The training behind the model, then what that started from; empty where no run of ours trained it."""
        return tuple(member for member in self.ancestors if member.kind == TRAIN)

    @property
    def architecture(self) -> Member:
        """The run whose spec describes the network best: the training, else the subject."""
        return self.trainings[0] if self.trainings else self.subject


def find_family(run: RunFolder, root: Path) -> Family:
    """Everything that the runs of a workspace tell of a model.

    Args:
        run: a training, an evaluation, or a run that wrote a model.
        root: the workspace; runs beside ``run`` are looked at too.

    Raises:
        UsageError: ``E_CARD_RUN``: the run has no model. ConflictError: ``E_CARD_RUNNING``: it has not ended.
        RunFailedError: it failed (a training that was cut off may still have a card).
    """
    subject = Member(run)
    _require_model(subject)
    known = {member.name: member for member in _neighbours(run, root)} | {subject.name: subject}
    ancestors = tuple(_ancestors(subject, known))
    origin = _origin(subject, known)
    runs = tuple(
        member
        for member in sorted(known.values(), key=lambda member: member.name)
        if member.succeeded and _origin(member, known) == origin
    )
    evaluation, on_itself = _evaluation(subject, runs)
    return Family(subject, ancestors, evaluation, on_itself, _model(subject, evaluation, known), runs)


def _require_model(subject: Member) -> None:
    found = status(subject.run)
    if not found.done:
        raise ConflictError(
            "E_CARD_RUNNING",
            f"{subject.name} is {found.state}",
            f"skillrun runs attach {subject.name}",
            retryable=True,
        )
    if subject.kind not in (TRAIN, EVALUATE, *MODELS):
        parent = subject.parent.get("run_id")
        raise UsageError(
            "E_CARD_RUN",
            f"{subject.name} is a run of {subject.kind or 'nothing known'}: it neither wrote nor measured a model",
            f"skillrun card {parent}"
            if parent
            else "skillrun runs list, then name a training, an evaluation or an export",
        )
    if subject.kind != TRAIN:
        require_success(found)


def _neighbours(run: RunFolder, root: Path) -> Iterator[Member]:
    for folder in (root, run.path.parent.parent):
        yield from map(Member, list_runs(folder))


def _ancestors(member: Member, known: dict[str, Member]) -> Iterator[Member]:
    """The run and what it came from, nearest first."""
    seen: set[str] = set()
    found: Member | None = member
    while found is not None and found.name not in seen:
        seen.add(found.name)
        yield found
        found = known.get(str(found.parent.get("run_id"))) or _owner(found)


def _origin(member: Member, known: dict[str, Member]) -> str:
    """The name of the training that a run's model comes from; of its first ancestor where no run of ours trained it."""
    line = list(_ancestors(member, known))
    return next((one.name for one in line if one.kind == TRAIN), line[-1].name)


def _owner(member: Member) -> Member | None:
    """The run in whose folder the model that a run read lies, where no parent was named."""
    if member.parent or member.kind == TRAIN:
        return None
    try:
        file = measured_model(member.run)
    except SkillrunError:  # the spec of a neighbour; that of the subject is read again, and then it is an error
        return None
    return next((Member(RunFolder(folder)) for folder in Path(file).parents if (folder / "run.json").is_file()), None)


def _evaluation(subject: Member, runs: tuple[Member, ...]) -> tuple[Member | None, bool]:
    if subject.kind == EVALUATE:
        return subject, True
    evaluations = [member for member in runs if member.kind == EVALUATE]
    own = [member for member in evaluations if member.parent.get("run_id") == subject.name]
    if own or subject.kind == TRAIN:
        return (own[-1] if own else None), True
    source = subject.parent.get("checkpoint")
    of_source = [member for member in evaluations if source and member.parent.get("checkpoint") == source]
    return (of_source[-1] if of_source else None), False


def _model(subject: Member, evaluation: Member | None, known: dict[str, Member]) -> ModelFile:
    if subject.kind in MODELS:
        return _written(subject)
    if evaluation is not None and (file := measured_model(evaluation.run)):
        told = evaluation.parent if evaluation.parent.get("checkpoint") == file else {}
        return _file(Path(file), str(told.get("sha256") or "") or _reported(known.get(str(told.get("run_id")))))
    best = next((entry for entry in subject.result.get("checkpoints") or [] if entry.get("best")), None)
    return _file(subject.run.path / best["path"], str(best.get("sha256") or "")) if best else ModelFile(None)


def _written(subject: Member) -> ModelFile:
    paths = (subject.artifact(kind) for kind in ("onnx", "engine", "model"))
    path = next((path for path in paths if path is not None), None)
    return _file(path, _reported(subject)) if path else ModelFile(None, _reported(subject), _reported(subject))


def _reported(member: Member | None) -> str:
    """The digest of its model in the report that an export or a quantisation wrote."""
    reports = (member.artifact(kind) for kind in ("parity", "quantize")) if member else ()
    return next((str((read_json(path) or {}).get("sha256") or "") for path in reports if path), "")


def _file(path: Path, recorded: str) -> ModelFile:
    return ModelFile(path, digest(path) if path.is_file() else recorded, recorded)
