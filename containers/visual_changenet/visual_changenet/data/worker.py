"""The beginning of a loader process."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import parent_process
from threading import Thread

import cv2


def start(number: int) -> None:
    """Make this process one that loads pictures beside others, and that outlives a stop of the whole group.

    A stop often reaches every process: from a terminal, a scheduler, the supervisor of a run. The training then ends
    its step and saves, and needs its loaders until it has. So a loader ends when its training says so, or is gone.
    """
    cv2.setNumThreads(1)  # threads inside one worker only fight for the cores of the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    training = parent_process()
    if training is not None and sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_end_on_the_word_of, args=(training.pid,), daemon=True).start()


def _end_on_the_word_of(pid: int | None) -> None:
    if sys.platform == "linux":
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != pid:
            pass
        os._exit(0)
