"""The loop that drives a study: it asks for trials, starts them, looks at them, and tells how they ended.

Only this process decides; the trials are processes or containers of their own and outlive it. It may be killed at
any moment, because everything is noted before it is done, and whatever is noted can be checked against the run:

1. *ask*: the trial is in the journal, then each of its values. Killed here: the trial is open without a run; its
   missing values are drawn (same seed, same number), and it is started.
2. *note*: the run id that was planned for it. Killed here: no folder of that name exists, so nothing was started;
   another run is planned and noted in its place.
3. *start*: the run folder, then the process. A folder without a process is removed by the trainer, and the trial
   starts anew; a process that could not be noted any more is found and adopted.
4. *report*: values of epochs, which the journal keeps once; read again from the run's events after a restart.
5. *stop*, at a rung or at the end of the budget: the reason is noted first. Killed here: a run that was stopped is
   told as what was meant, one that still runs is stopped again.
6. *tell*: the outcome, then the state, in one line of the journal. Only open trials are ever looked at, so a trial
   that was told is told once, and one that was not is found by the next driver.

A run that was lost (killed, host restarted) goes on in its own folder from its last checkpoint, with the same values;
a run that ended on request without a noted reason, while nobody drove, goes on likewise.

At a rung a trial stops that Optuna's pruner does not let go on; all others train through. Nothing is trained twice,
and the learning rate follows the schedule of the full training, which a training to the rung alone would not.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from skillrun.automl import endings
from skillrun.automl.budget import Clock
from skillrun.automl.endings import Active
from skillrun.automl.failures import OUT_OF_MEMORY, SharedFailure
from skillrun.automl.ledger import Ledger, Note, Row, row
from skillrun.automl.settings import Settings
from skillrun.automl.trainer import Epoch, Look, Trainer, Wish
from skillrun.errors import ConflictError, UsageError

POLL_S = 0.5
RESTARTS = 3


class Driver:
    """Drives one study until its budget is spent.

    Args:
        say: gets a line for each thing that happens.
        first_epoch: gets the seconds of the first measured epoch, once.
        leave: asked between two steps; True ends the driving, and the trials train on.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        trainer: Trainer,
        clock: Clock,
        say: Callable[[str], None],
        *,
        poll_s: float = POLL_S,
        first_epoch: Callable[[float], None] = lambda seconds: None,
        leave: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings, self.ledger, self.trainer, self.clock = settings, ledger, trainer, clock
        self._say, self._poll_s, self._leave = say, poll_s, leave
        self._first_epoch: Callable[[float], None] | None = first_epoch
        self.active: list[Active] = []
        self._started = 0
        self._spent_epochs = 0
        self._failures = SharedFailure()
        self._best: float | None = None

    def run(self) -> bool:
        """Go on until the budget is spent and every trial is told; False where it was told to leave before.

        Raises:
            RunFailedError: every trial failed, and the first ones for the same reason.
            SkillrunError: a trial can not be started for a reason that is not its own; it stays open, and a later
                driver starts it.
        """
        self._adopt()
        while not self._leave():
            moved = self._look_at_all()
            self._failures.check()
            while self._may_start() and not self._leave():
                self._begin(Active(self.ledger.ask(), Note()))
                moved = True
                self._started += 1
            self.clock.keep()
            if not self.active and self._spent():
                self.clock.keep(at_once=True)
                self._failures.check(ended=True)
                return True
            if not moved:
                time.sleep(self._poll_s)
        self.clock.keep(at_once=True)
        return False

    def stop_all(self) -> None:
        """Stop what trains, with a checkpoint; no reason is noted, so a later driver goes on with it."""
        for one in self.active:
            self.trainer.stop(one.note.run_id)

    # What an earlier driver left

    def _adopt(self) -> None:
        for frozen in self.ledger.trials():
            done = row(frozen)
            self._started += 1 if done.state != "waiting" else 0
            if frozen.state.is_finished():
                self._count(done)
        for trial in list(self.ledger.open_trials()):
            one = Active(trial, self.ledger.note(trial), known=self.ledger.told_epochs(trial))
            self._say(f"trial {one.number}: goes on")
            self._begin(one)

    # Starting

    def _may_start(self) -> bool:
        return not self._spent() and self.trainer.free() and not any(one.waiting for one in self.active)

    def _spent(self) -> bool:
        """Whether no further trial may start."""
        budget, limit = self.settings.budget, self.settings.budget.trials
        if self.ledger.points is not None:
            limit = min(limit or self.ledger.points, self.ledger.points)
        if limit and self._started >= limit:
            return True
        if budget.seconds and self.clock.seconds >= budget.seconds:
            return True
        promised = self._spent_epochs + self.settings.num_epochs * len(self.active)
        return bool(budget.epochs) and self._started > 0 and promised + self.settings.num_epochs > budget.epochs

    def _begin(self, one: Active) -> None:
        """Train a trial, unless its noted run is there already."""
        self.active.append(one)
        look = self.trainer.look(one.note.run_id) if one.note.run_id else Look("absent")
        if look.state == "absent":
            self._start(one)
        else:
            self._take_in(one, look)
            self._settle(one, look, adopted=True)

    def _start(self, one: Active) -> None:
        values = self.ledger.values(one.trial)
        if not self.trainer.free():
            self._wait(one, "no place is free")
            return
        try:
            run_id = self.trainer.plan(Wish(one.number, values, one.note.batch_size))
            one.note = self.ledger.write_note(one.trial, one.note, run_id=run_id, stopping="")
            self.trainer.start(run_id)
        except UsageError as error:  # these values do not make a spec
            self._end(one, endings.failed(one, Look("failed", (), 0, error.code, error.message, error.fix)))
            return
        except ConflictError as error:  # its place was just taken; it is looked at, and started, again
            if not error.retryable:
                raise
            self._wait(one, error.message)
            return
        one.waiting = False
        self._say(endings.started_text(one, values))

    def _wait(self, one: Active, why: str) -> None:
        if not one.waiting:
            self._say(f"trial {one.number} waits: {why}")
        one.waiting = True

    # Looking

    def _look_at_all(self) -> bool:
        late = bool(self.settings.budget.seconds) and self.clock.seconds >= self.settings.budget.seconds
        moved = False
        for one in list(self.active):
            look = self.trainer.look(one.note.run_id)
            moved |= self._take_in(one, look) or look.state not in ("running", "absent")
            self._settle(one, look)
            if late and one.waiting:
                self._end(one, endings.early(one, "stopped by the end of the time"))
            elif late and one in self.active and not one.note.stopping:
                self._stop(one, endings.BUDGET, "the time is over: it is stopped with a checkpoint")
        return moved

    def _take_in(self, one: Active, look: Look) -> bool:
        """Note new epochs; True where there are any."""
        one.epochs = max(one.epochs, look.passed)
        for epoch in look.epochs:
            one.seconds += epoch.seconds
            if not one.note.stopping or one.note.stopping == endings.BUDGET:
                self._take_epoch(one, epoch)
            if self._first_epoch is not None and epoch.seconds:
                self._first_epoch(epoch.seconds)
                self._first_epoch = None
        return bool(look.epochs)

    def _take_epoch(self, one: Active, epoch: Epoch) -> None:
        if self.settings.better(epoch.value, one.best):
            one.best = epoch.value
        if epoch.number in one.known or one.best is None:
            return
        one.known.add(epoch.number)
        if self.ledger.report(one.trial, epoch.number, one.best) and not one.note.stopping:
            words = f"stops after epoch {epoch.number}: {self.settings.metric} {one.best:.4g} is not among the best"
            self._stop(one, endings.RUNG, words)

    def _stop(self, one: Active, reason: str, words: str) -> None:
        one.note = self.ledger.write_note(one.trial, one.note, stopping=reason)
        self._say(f"trial {one.number} {words}")
        self.trainer.stop(one.note.run_id)

    # Ending

    def _settle(self, one: Active, look: Look, *, adopted: bool = False) -> None:
        """Do what the state of the run asks for."""
        if look.state == "running":
            if adopted and one.note.stopping:
                self.trainer.stop(one.note.run_id)
        elif look.state == "absent":
            self._start(one)
        elif one.note.stopping:
            self._end(one, endings.stopped(one))
        elif look.state == "succeeded":
            self._end(one, endings.succeeded(one, self.settings.metric))
        elif look.state == "stopped" and not adopted:
            self._end(one, endings.early(one, "stopped by hand"))
        elif look.state in ("lost", "stopped"):
            self._go_on(one, look)
        elif not (look.code in OUT_OF_MEMORY and self._retry_smaller(one, look)):
            self._end(one, endings.failed(one, look))

    def _go_on(self, one: Active, look: Look) -> None:
        if one.note.restarts >= RESTARTS:
            self._end(one, endings.lost(one, look))
            return
        count = one.note.restarts + (look.state == "lost")
        one.note = self.ledger.write_note(one.trial, one.note, restarts=count)
        self._say(
            f"trial {one.number} {'was lost and ' if look.state == 'lost' else ''}goes on from its last checkpoint"
        )
        self.trainer.go_on(one.note.run_id)

    def _retry_smaller(self, one: Active, look: Look) -> bool:
        """Once, with the batch that fits."""
        batch = 0 if one.note.batch_size else self.trainer.smaller_batch(one.note.run_id)
        if not batch:
            return False
        self._say(f"trial {one.number} ran out of memory: once more with batches of {batch}")
        self.trainer.done(one.note.run_id)
        one.note = self.ledger.write_note(one.trial, one.note, batch_size=batch, run_id="")
        one.best, one.epochs = None, 0
        self._start(one)
        return True

    def _end(self, one: Active, ending: endings.Ending) -> None:
        told = self.ledger.tell(one.trial, ending.outcome, value=ending.value, pruned=ending.pruned)
        self.active.remove(one)
        self.trainer.done(one.note.run_id)
        self._count(told)
        self._say(endings.ended_text(told, self.settings.metric, self._best))

    def _count(self, told: Row) -> None:
        self._spent_epochs += told.epochs
        self._failures.count(told)
        if told.state != "failed" and told.value is not None and self.settings.better(told.value, self._best):
            self._best = told.value
