"""What a study leaves: ``result.json``, the winning values as a spec, the table of trials."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.automl.evaluations import Evaluation
from skillrun.automl.ledger import Row, front
from skillrun.automl.retention import Winner
from skillrun.automl.settings import Settings
from skillrun.automl.study import StudyFolder
from skillrun.errors import SkillrunError
from skillrun.overrides import set_dotted
from skillrun.runfolder import write_atomic
from skillrun.specfile import dump_spec

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StudyResult:
    """The end of a study.

    Attributes:
        best: the best trial; first: trial 0, the template's own values, where it has a value.
        evaluations: ``baseline``, ``trial 0`` and ``best`` on the comparison's pairs; ``compared_by`` names the number.
        held_out: whether these pairs took no part in the search.
        importance: share of each key in the differences between trials, largest first; empty for too few trials.
        freed: bytes of checkpoints that were removed.
    """

    folder: StudyFolder
    settings: Settings
    rows: Sequence[Row]
    best: Row
    winner: Winner
    evaluations: Mapping[str, Evaluation]
    compared_by: str
    held_out: bool
    importance: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0
    freed: int = 0

    @property
    def front(self) -> list[Row]:
        """Where latency is minimised too: the trials that no other beats in both, the fastest first."""
        return front(list(self.rows), self.settings.better)

    @property
    def first(self) -> Row | None:
        return next((row for row in self.rows if row.number == 0 and row.value is not None), None)

    def counts(self) -> dict[str, int]:
        """Trials by state."""
        states = [row.state for row in self.rows]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def to_json(self) -> dict[str, Any]:
        """For ``result.json`` and ``--json``. ``best_trial`` is a folder relative to the study's."""
        settings = self.settings
        return {
            "schema_version": SCHEMA_VERSION,
            "status": "succeeded",
            "study_id": settings.study_id,
            "study_dir": str(self.folder.path),
            "action": settings.action,
            "task": settings.task,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "metric": settings.metric,
            "direction": settings.direction,
            "seed": settings.seed,
            "algorithm": settings.algorithm,
            "space_hash": settings.space.hash,
            "best_trial": f"runs/{self.best.run_id}",
            "best": {
                **self.best.to_json(),
                "checkpoint": str(self.winner.path.relative_to(self.folder.path))
                if self.winner.path.is_relative_to(self.folder.path)
                else str(self.winner.path),
                "sha256": self.winner.sha256,
                "picked": self.winner.reason,
            },
            "trial_0": self.first.to_json() if self.first else None,
            "front": [row.to_json() for row in self.front],
            "evaluations": {who: one.to_json() for who, one in self.evaluations.items()},
            "compared_by": self.compared_by,
            "held_out": self.held_out,
            "importance": dict(self.importance),
            "trials": self.counts(),
            "freed_bytes": self.freed,
            "winner_spec": self.folder.winner.name,
            "table": self.folder.table.name,
            "report": self.folder.page.name,
        }


def write_result(result: StudyResult) -> None:
    """``result.json``, written last: where it is, everything else is there."""
    write_atomic(result.folder.result, json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n")


def write_failure(folder: StudyFolder, error: SkillrunError) -> None:
    """``result.json`` of a study without a best trial."""
    told = {"schema_version": SCHEMA_VERSION, "status": "failed", "study_id": folder.study_id, "error": error.to_json()}
    write_atomic(folder.result, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def write_winner(folder: StudyFolder, settings: Settings, best: Row) -> None:
    """The winning values alone, as a spec file: what the user gave is given with it again."""
    values: dict[str, Any] = {"task": settings.task}
    batch = _batch_of(folder, settings, best)
    for key, value in {**best.values, **batch, "train.optim.monitor_name": settings.metric}.items():
        set_dotted(values, key, value)
    head = f"# best of {settings.study_id}: trial {best.number}, {settings.metric} {best.value}\n"
    write_atomic(folder.winner, head + dump_spec(values))


def _batch_of(folder: StudyFolder, settings: Settings, best: Row) -> dict[str, int]:
    """The batch size of a trial that ran out of memory first."""
    from skillrun.overrides import get_dotted
    from skillrun.specfile import read_spec

    key = f"dataset.{settings.task}.batch_size"
    spec = folder.run(best.run_id).spec
    return {key: int(get_dotted(read_spec(spec).values, key))} if spec.is_file() else {}


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """One line a trial: what is known of it, then the value of each key; empty where the key did not matter."""
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", "value", "latency_ms", "run", "epochs", "seconds", "reason", *keys])
    for row in rows:
        value = "" if row.value is None else repr(row.value)
        speed = "" if row.second is None else repr(row.second)
        told = [row.number, row.state, value, speed, row.run_id, row.epochs, row.seconds, row.reason]
        table.writerow([*told, *(row.values.get(key, "") for key in keys)])
    write_atomic(path, text.getvalue())


def _goal(study: Study) -> Callable[[FrozenTrial], float] | None:
    """Of two goals the metric, so that low is good; None where there is one goal."""
    if len(study.directions) == 1:
        return None
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    return lambda trial: sign * trial.values[0]


def importance(study: Study) -> dict[str, float]:
    """Share of each key by PED-ANOVA (Watanabe et al., 2023); empty where the trials are too few or all alike."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 4 or len({trial.values[0] for trial in done}) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that low values of a goal are the good ones: they are here
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=_goal(study))
    except (ValueError, RuntimeError):  # no key was drawn often enough
        return {}
    return {key: float(share) for key, share in found.items()}
