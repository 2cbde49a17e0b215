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

At a rung a trial pauses that Optuna's pruner does not let go on: it stops with a checkpoint and stays open. It goes on
from there when it is among the best of its rung by then, before a new trial starts; what still waits when the budget
is spent ends as stopped. Nothing is trained twice, and the learning rate follows the schedule of the full training,
which a training to the rung alone would not.
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
        self.paused: dict[int, Active] = {}
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
            while not self._leave() and self._start_next():
                moved = True
            self.clock.keep()
            if not self.active and self._spent() and not self._risen():
                self._end_paused()
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
            if one.note.paused:
                self._keep_paused(one)
                continue
            self._say(f"trial {one.number}: goes on")
            self._begin(one)

    # Starting

    def _start_next(self) -> bool:
        """Go on with a paused trial, else begin a new one; False where neither may start now."""
        if not self.trainer.free() or any(one.waiting for one in self.active):
            return False
        risen = [one for one in self._risen() if self.trainer.free_for(one.note.run_id)]
        if risen:
            self._promote(risen[0])
        elif not self._spent():
            self._begin(Active(self.ledger.ask(), Note()))
            self._started += 1
        else:
            return False
        return True

    def _spent(self) -> bool:
        """Whether no new trial may start."""
        limit = self.settings.budget.trials
        if self.ledger.points is not None:
            limit = min(limit or self.ledger.points, self.ledger.points)
        if limit and self._started >= limit:
            return True
        return self._late() or (self._started > 0 and not self._room_for(self.settings.num_epochs))

    def _late(self) -> bool:
        limit = self.settings.budget.seconds
        return bool(limit) and self.clock.seconds >= limit

    def _room_for(self, epochs: int) -> bool:
        """Whether so many more fit in the budget, beside what is trained and what trains."""
        limit = self.settings.budget.epochs
        waiting = sum(one.epochs for one in self.paused.values())
        promised = self._spent_epochs + waiting + self.settings.num_epochs * len(self.active)
        return not limit or promised + epochs <= limit

    # Rungs

    def _risen(self) -> list[Active]:
        """The paused trials that are among the best of their rung by now and fit in the budget, in their order."""
        if not self.paused or self._late():
            return []
        there = [self.paused[number] for number in self.ledger.promotable() if number in self.paused]
        return [one for one in there if self._room_for(self.settings.num_epochs - one.epochs)]

    def _pause(self, one: Active) -> None:
        one.note = self.ledger.write_note(one.trial, one.note, paused=True, seconds=round(one.seconds, 3))
        self.active.remove(one)
        self.trainer.done(one.note.run_id)
        self._keep_paused(one)

    def _keep_paused(self, one: Active) -> None:
        one.epochs = max(one.known, default=0)
        self.paused[one.number] = one

    def _promote(self, one: Active) -> None:
        del self.paused[one.number]
        note = self.ledger.write_note(one.trial, one.note, paused=False, stopping="")
        self._say(f"trial {one.number} is among the best after epoch {one.epochs} by now")
        self._begin(Active(one.trial, note, known=one.known))

    def _end_paused(self) -> None:
        for one in list(self.paused.values()):
            del self.paused[one.number]
            self._count(self.ledger.tell(one.trial, endings.at_rung(one).outcome, value=None, pruned=True))

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
        late, moved = self._late(), False
        for one in list(self.active):
            look = self.trainer.look(one.note.run_id)
            moved |= self._take_in(one, look) or look.state not in ("running", "absent")
            self._settle(one, look)
            if late and one.waiting:
                self._end(one, self._early(one, "stopped by the end of the time"))
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
            words = f"pauses after epoch {epoch.number}: {self.settings.metric} {one.best:.4g} is not among the best"
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
        elif one.note.stopping == endings.RUNG:
            self._pause(one)
        elif one.note.stopping:
            self._end(one, self._early(one, "stopped by the end of the time"))
        elif look.state == "succeeded":
            self._end(one, endings.succeeded(one, look, self.settings.metric, self.settings.second))
        elif look.state == "stopped" and not adopted:
            self._end(one, self._early(one, "stopped by hand"))
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

    def _early(self, one: Active, reason: str) -> endings.Ending:
        return endings.early(one, reason, second=self.settings.second)

    def _end(self, one: Active, ending: endings.Ending) -> None:
        told = self.ledger.tell(
            one.trial, ending.outcome, value=ending.value, second=ending.second, pruned=ending.pruned
        )
        self.active.remove(one)
        self.trainer.done(one.note.run_id)
        self._count(told)
        self._say(endings.ended_text(told, self.settings.metric, self._best))

    def _count(self, told: Row) -> None:
        self._spent_epochs += told.epochs
        self._failures.count(told)
        if told.state != "failed" and told.value is not None and self.settings.better(told.value, self._best):
            self._best = told.value
