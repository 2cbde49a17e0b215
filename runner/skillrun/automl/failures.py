"""Failed trials: which errors a smaller batch mends, and when all trials fail for one reason."""

from __future__ import annotations

import re

from skillrun.automl.ledger import Row
from skillrun.automl.trainer import Look
from skillrun.errors import RunFailedError

# What containers and backends report where the memory ran out.
OUT_OF_MEMORY = frozenset({"E_RUN_MEMORY", "E_RUN_OOM"})
LOST_AGAIN = "lost again and again"
# So many first trials that fail for one reason end a study.
ENOUGH = 3


def cause_of(look: Look) -> str:
    """The same text for the same reason: the error's code, else its message without numbers and paths."""
    return look.code or re.sub(r"\S*/\S*|\d+", "…", look.message)


class SharedFailure:
    """Watches whether anything has ever succeeded."""

    def __init__(self) -> None:
        self._failed: list[Row] = []
        self._others = 0

    def count(self, told: Row) -> None:
        """Take in a trial that has ended; told twice it would be counted twice."""
        if told.state != "failed":
            self._others += 1
        elif not self._others:
            self._failed.append(told)

    def check(self, *, ended: bool = False) -> None:
        """Raises RunFailedError where nothing but failures ended so far, `ENOUGH` of them with one cause."""
        if self._others or not self._failed or (len(self._failed) < ENOUGH and not ended):
            return
        causes = {one.cause for one in self._failed[:ENOUGH]}
        if len(causes) > 1 and not ended:
            return
        first, count = self._failed[0], len(self._failed)
        many = "the only trial" if count == 1 else f"all {count} trials"
        same = "" if len(causes) > 1 or count == 1 else " for the same reason"
        words = [f"trial {one.number}: {one.reason}" for one in self._failed[1:6]] if len(causes) > 1 else []
        fix = first.fix or f"see skillrun runs logs {first.run_id}"
        raise RunFailedError("E_AUTOML_ALL_FAILED", f"{many} failed{same}: {first.reason}", fix, details=words)
