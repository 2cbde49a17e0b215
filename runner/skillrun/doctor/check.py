"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 1 << 30

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """What was looked at and what was found.

    Attributes:
        name: what was looked at, e.g. ``engine``; the same in every answer.
        status: ``fail`` where nothing can run before it is mended, ``warn`` where something can not or will be slow.
        message: one line, without secrets.
        fix: one command or edit; empty where nothing needs mending.
    """

    name: str
    status: Status
    message: str
    fix: str = ""
