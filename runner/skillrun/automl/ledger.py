"""The trials of a study in its journal: what was drawn, which run trains it, how it ended.

Two notes stand beside Optuna's own fields of a trial: ``run`` (which run, what was tried again, why it was stopped)
and ``outcome`` (reason, cause, epochs), written before the state, so that a trial that has ended has all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.automl.param import Value
from skillrun.automl.settings import Settings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

RUN, OUTCOME = "run", "outcome"


@dataclass(frozen=True)
class Note:
    """What the journal says of the run of a trial.

    Attributes:
        run_id: empty where none was planned.
        stopping: why it is being stopped: ``rung`` or ``budget``; empty where it shall train on.
        restarts: how often it was started again after it was lost.
        batch_size: that replaces the usual one, after the memory ran out; 0 else.
        paused: it waits at a rung; seconds: that it had trained by then.
    """

    run_id: str = ""
    stopping: str = ""
    restarts: int = 0
    batch_size: int = 0
    paused: bool = False
    seconds: float = 0


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: ``cause`` is the same text for trials that failed for the same reason."""

    reason: str = ""
    cause: str = ""
    fix: str = ""
    epochs: int = 0
    seconds: float = 0


class Ledger:
    """Reads and writes the journal. One process at a time writes (``StudyFolder.driving``); any may read."""

    def __init__(self, journal: Path, settings: Settings) -> None:
        import optuna
        from optuna.study import StudyDirection

        from skillrun.automl.journal import open_journal
        from skillrun.automl.rungs import PausingStudy

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        algorithm = settings.resolved()
        self.settings, self.rungs, self.points = settings, algorithm.rungs, algorithm.points
        storage, name = open_journal(journal), settings.study_name
        if name not in {study.study_name for study in storage.get_all_studies()}:
            way = StudyDirection.MAXIMIZE if settings.more_is_better else StudyDirection.MINIMIZE
            storage.create_new_study([way, StudyDirection.MINIMIZE] if settings.second else [way], name)
        self.study = PausingStudy(name, storage, algorithm.sampler, algorithm.pruner)

    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers; paused ones are open."""
        return self.study._storage.get_all_trials(self.study._study_id, deepcopy=False)

    def open_trials(self) -> Iterator[Trial]:
        """Trials that were begun and not told, paused ones among them."""
        from optuna.trial import Trial, TrialState

        for frozen in self.trials():
            if frozen.state == TrialState.RUNNING:
                yield Trial(self.study, frozen._trial_id)

    def promotable(self) -> list[int]:
        """Numbers of the paused trials that may go on by now, in this order."""
        from skillrun.automl.rungs import promotable

        return promotable(self.study, self.trials(), self.settings.reduction)

    def ask(self) -> Trial:
        """A new trial; the first is the template's own values. Whatever it draws is in the journal at once."""
        if not self.trials():
            self.study.enqueue_trial(self.settings.space.defaults(), skip_if_exists=True)
        return self.study.ask()

    def values(self, trial: Trial) -> dict[str, Value]:
        """Its values; what a killed process had not drawn yet is drawn now."""
        return self.settings.space.suggest(trial)

    def note(self, trial: Trial) -> Note:
        return Note(**trial.user_attrs.get(RUN, {}))

    def write_note(self, trial: Trial, note: Note, **changes: Any) -> Note:
        """Note what follows, before it is done."""
        changed = replace(note, **changes)
        trial.set_user_attr(RUN, asdict(changed))
        return changed

    def told_epochs(self, trial: Trial) -> set[int]:
        """Epochs whose value is in the journal."""
        return set(self.study._storage.get_trial(trial._trial_id).intermediate_values)

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Note the best value up to an epoch; whether the trial should stop there. Optuna keeps none for two goals."""
        if self.settings.second:
            return False
        trial.report(value, epoch)
        return bool(self.rungs) and epoch < self.settings.num_epochs and trial.should_prune()

    def tell(
        self,
        trial: Trial,
        outcome: Outcome,
        *,
        value: float | None,
        second: float | None = None,
        pruned: bool = False,
    ) -> Row:
        """End a trial: with what it reached, or stopped before its end, or failed (no value and not ``pruned``)."""
        from optuna.trial import TrialState

        trial.set_user_attr(OUTCOME, asdict(outcome))
        if pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif value is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, value if second is None else [value, second])
        return row(self.study._storage.get_trial(trial._trial_id))


@dataclass(frozen=True)
class Row:
    """One trial for tables and pages.

    Attributes:
        state: ``running``, ``paused`` (at a rung), ``complete``, ``stopped`` (before its end), ``failed`` or
            ``waiting``.
        second: milliseconds of one pair, where the search minimises them.
        values: of the searched keys that mattered.
    """

    number: int
    state: str
    value: float | None
    run_id: str
    epochs: int
    seconds: float
    reason: str
    values: Mapping[str, Value]
    cause: str = ""
    fix: str = ""
    second: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_STATES = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed", "WAITING": "waiting"}


def read_rows(journal: Path, settings: Settings) -> list[Row]:
    """The trials of a study that others may be driving; nothing is written."""
    import optuna

    from skillrun.automl.journal import open_journal

    if not journal.is_file():
        return []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_journal(journal, reading=True)
    try:
        study = optuna.load_study(study_name=settings.study_name, storage=storage)
    except KeyError:  # its driver is just about to begin
        return []
    return rows(study.get_trials(deepcopy=False))


def rows(trials: list[FrozenTrial]) -> list[Row]:
    """The trials of a study as rows, in the order of their numbers."""
    return [row(trial) for trial in trials]


def row(trial: FrozenTrial) -> Row:
    """One of them."""
    from skillrun.automl.rungs import is_paused

    reached = (trial.values or []) if trial.state.is_finished() else _latest(trial)
    outcome = Outcome(**trial.user_attrs.get(OUTCOME, {}))
    return Row(
        number=trial.number,
        state="paused" if is_paused(trial) else _STATES[trial.state.name],
        value=reached[0] if reached else None,
        run_id=str(trial.user_attrs.get(RUN, {}).get("run_id", "")),
        epochs=outcome.epochs or max(trial.intermediate_values, default=0),
        seconds=outcome.seconds,
        reason=outcome.reason,
        values=dict(trial.params),
        cause=outcome.cause,
        fix=outcome.fix,
        second=reached[1] if len(reached) > 1 else None,
    )


def _latest(trial: FrozenTrial) -> list[float]:
    return [trial.intermediate_values[trial.last_step]] if trial.last_step is not None else []


def best_row(found: list[Row], better: Callable[[float, float | None], bool]) -> Row | None:
    """The best of the trials that have a value; the earliest of equals. Failed trials have none."""
    best: Row | None = None
    for one in found:
        if one.state in ("complete", "stopped") and one.value is not None:
            best = one if better(one.value, best.value if best else None) else best
    return best


def front(found: list[Row], better: Callable[[float, float | None], bool]) -> list[Row]:
    """The trials that no other beats in both goals, the fastest first."""
    chosen: list[Row] = []
    top: float | None = None
    measured = [one for one in found if one.state == "complete" and one.second is not None and one.value is not None]
    for one in sorted(measured, key=lambda one: (one.second or 0, one.number)):
        if one.value is not None and better(one.value, top):
            chosen, top = [*(best for best in chosen if best.second != one.second), one], one.value
    return chosen
