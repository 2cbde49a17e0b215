"""Trying again: as long as tries bring new bytes, and a few times more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from skillrun.errors import SkillrunError
from skillrun.staging.refusals import TryAgain

T = TypeVar("T")
LONGEST_ASKED_WAIT_S = 60.0


def patiently(
    attempt: Callable[[], T],
    size: Callable[[], int],
    pause: Callable[[float, SkillrunError], None],
    pauses_s: Sequence[float],
) -> T:
    """The attempt's answer; the last try's error where patience ends.

    Args:
        attempt: raises TryAgain where the same may succeed later.
        size: bytes so far; more than at any earlier time start the pauses anew.
        pause: waits so many seconds, and may tell why.
        pauses_s: between tries that bring no new byte; the server may ask for other ones.
    """
    waits, most = iter(pauses_s), size()
    while True:
        try:
            return attempt()
        except TryAgain as turn:
            if size() > most:
                most, waits = size(), iter(pauses_s)
            wait, error = _next_wait(waits, turn), turn.error
        pause(wait, error)


def _next_wait(waits: Iterator[float], turn: TryAgain) -> float:
    """Seconds: what the server asks for, else a growing wait. Raises the error where patience has ended."""
    own = next(waits, None)
    if own is None or (turn.after_s or 0) > LONGEST_ASKED_WAIT_S:
        raise turn.error from turn
    return own if turn.after_s is None else turn.after_s
