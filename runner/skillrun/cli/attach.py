"""Watching a run from a terminal. Ctrl-C once detaches (the run goes on), twice stops the run."""

from __future__ import annotations

import signal
import threading
from functools import partial
from types import FrameType
from typing import Any

from skillrun.cli.output import Output
from skillrun.cli.progress import RunProgress
from skillrun.cli.transfers import Transfers
from skillrun.errors import InterruptedRunError
from skillrun.launch import stop
from skillrun.runfolder import RunFolder
from skillrun.watch import RunStatus, follow, status

SECOND_PRESS_S = 2.0


class _Presses:
    """Counts Ctrl-C while it is installed."""

    def __init__(self) -> None:
        self.count = 0
        self._pressed_again = threading.Event()

    def __enter__(self) -> _Presses:
        self._before: Any = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            self._pressed_again.set()

    def again_within(self, seconds: float) -> bool:
        """Whether the second press comes within that time."""
        return self._pressed_again.wait(seconds)


def _deliver(run: RunFolder, output: Output) -> None:
    """Send the results where the plan says so and nobody has done it."""
    from skillrun.delivery import deliver, is_due

    if url := is_due(run):
        with Transfers(output) as transfers:
            sent = deliver(run, url, partial(transfers.show, "results"))
        output.say(f"results: {sent.files} files, {sent.bytes / 1e6:.1f} MB in {sent.url}")


def attach(run: RunFolder, output: Output, *, offset: int = 0) -> RunStatus:
    """Show a run until it ends, from a byte offset of its events.

    Raises:
        InterruptedRunError: Ctrl-C; its message says what still runs and how to come back.
    """
    with _Presses() as presses:
        with RunProgress(output) as progress:

            def detached() -> bool:
                progress.wait()
                return presses.count > 0

            progress.show_all(follow(run, offset=offset, stop=detached))
        found = status(run)
        if presses.count == 0 or found.done:
            _deliver(run, output)
            return found
        output.say(
            f"\ndetached: {run.run_id} goes on.  come back: skillrun runs attach {run.run_id}  "
            f"stop it: skillrun runs stop {run.run_id}  (Ctrl-C again now stops it)"
        )
        if not presses.again_within(SECOND_PRESS_S):
            fix = f"skillrun runs attach {run.run_id}"
            raise InterruptedRunError("E_DETACHED", f"detached; {run.run_id} is still running", fix)
        output.say(f"stopping {run.run_id}: it writes a checkpoint first")
        stop(run)
    later = "resume" if found.action.endswith("train") else "show"
    raise InterruptedRunError("E_STOPPED", f"{run.run_id} was stopped", f"skillrun runs {later} {run.run_id}")
