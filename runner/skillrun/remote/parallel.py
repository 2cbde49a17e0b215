"""Many objects at once: a few threads, one progress, and the first failure ends them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock
from typing import TypeVar

from skillrun.errors import SkillrunError
from skillrun.progress import Progress

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - a turn of events: another object has failed
    """What a thread raises that was told to end."""


class Work:
    """Counts bytes of many objects and tells; ``show`` is called by one thread at a time.

    Args:
        phase: what is being done.
        total: bytes of all objects.
    """

    def __init__(self, phase: str, total: int, show: Callable[[Progress], None]) -> None:
        self._phase, self._total, self._show = phase, total, show
        self._done: dict[str, int] = {}
        self._sum = 0
        self._lock = Lock()
        self._stop = Event()

    def at(self, name: str, done: int) -> None:
        """So many bytes of an object are here; raises Stopped where the work has ended."""
        with self._lock:
            if self._stop.is_set():
                raise Stopped
            self._sum += done - self._done.get(name, 0)
            self._done[name] = done
            self._show(Progress(self._phase, self._sum, self._total))

    def pause(self, seconds: float, why: SkillrunError) -> None:
        """Wait before another try, and say why; raises Stopped where the work has ended."""
        with self._lock:
            self._show(Progress(f"{why.message}; next try in {seconds:.0f} s", self._sum, self._total))
        if self._stop.wait(seconds):
            raise Stopped

    def each(self, items: Iterable[T], act: Callable[[T], None], threads: int) -> None:
        """Act on every item; raises the first error, after all threads have ended."""
        with ThreadPoolExecutor(threads) as pool:
            waiting = [pool.submit(act, item) for item in items]
            try:
                for one in as_completed(waiting):
                    one.result()
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
