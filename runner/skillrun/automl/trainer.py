"""What a study asks of the place where its trials train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from skillrun.automl.param import Value

State = Literal["absent", "running", "succeeded", "failed", "stopped", "lost"]


@dataclass(frozen=True)
class Epoch:
    """An epoch of a trial that was measured: number (from 1), value of the study's metric, seconds it took."""

    number: int
    value: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Look:
    """What is known of a trial's run now.

    Attributes:
        state: ``absent``: nothing was started; ``stopped``: it ended on request, with a checkpoint; ``lost``: it was
            killed, or is gone without a word, and may be started again.
        epochs: those that ended since the last look.
        passed: epochs that were trained so far, measured or not.
        code, message, fix: the error of a failed run.
        latency_ms: of one pair, where the training ended and measured it.
    """

    state: State
    epochs: tuple[Epoch, ...] = ()
    passed: int = 0
    code: str = ""
    message: str = ""
    fix: str = ""
    latency_ms: float | None = None


@dataclass(frozen=True)
class Wish:
    """A trial to train: its number, the values that were drawn, and a batch size that replaces the usual one."""

    number: int
    values: Mapping[str, Value]
    batch_size: int = 0


class Trainer(Protocol):
    """Runs trials. No method waits for a training to end.

    `plan` chooses a run id and writes nothing, so that the id can be noted before anything happens; `start` starts
    what was planned last. A trial that was planned and not started leaves nothing.
    """

    def free(self) -> bool:
        """Whether another trial may start now."""
        ...

    def free_for(self, run_id: str) -> bool:
        """Whether this run, which ended with a checkpoint, may go on now."""
        ...

    def plan(self, wish: Wish) -> str: ...

    def start(self, run_id: str) -> None: ...

    def look(self, run_id: str) -> Look: ...

    def stop(self, run_id: str) -> None:
        """End it with a checkpoint."""
        ...

    def go_on(self, run_id: str) -> None:
        """Start an ended run again, in its own folder, from its last checkpoint, with the values it has."""
        ...

    def smaller_batch(self, run_id: str) -> int:
        """The batch size to try after the memory ran out; 0 where there is no smaller one."""
        ...

    def done(self, run_id: str) -> None:
        """The study has counted this run: what is remembered of it may go."""
        ...
