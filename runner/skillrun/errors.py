"""The one error tree. Command line, JSON output and tools render the same object.

Every error says what is wrong (with file, line, key or value), and what mends it. The class gives the exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class SkillrunError(Exception):
    """Base of all errors that a user is meant to read.

    Args:
        code: stable identifier, e.g. ``E_SPEC_UNKNOWN_KEY``; part of the public promise.
        message: one sentence that names the place (file, line, key, value).
        fix: the command or the edit that mends it; empty only where there is none.
        retryable: True where the same call may succeed later without a change.
        details: further lines, e.g. a small table of what does not fit.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, code: str, message: str, fix: str = "", *, retryable: bool = False, details: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.retryable = retryable
        self.details = tuple(details)

    def to_json(self) -> dict[str, Any]:
        """The same object for ``--json`` and for tools."""
        return {
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            "retryable": self.retryable,
            "exit_code": self.exit_code,
            **({"details": list(self.details)} if self.details else {}),
        }


class UsageError(SkillrunError):
    """The command line or the spec is invalid."""

    exit_code = 2


class PreflightError(SkillrunError):
    """A check before launch found a blocking problem of the host or the plan."""

    exit_code = 3


class CredentialsError(SkillrunError):
    """A token is missing, or it does not open what was asked for."""

    exit_code = 4


class NotFoundError(SkillrunError):
    """A run, file, schema or skill does not exist."""

    exit_code = 5


class ConflictError(SkillrunError):
    """Something is busy or already exists."""

    exit_code = 6


class DataError(SkillrunError):
    """A data set can not be used as it is."""

    exit_code = 7


class BackendError(SkillrunError):
    """The place where the run should happen is not available."""

    exit_code = 8


class RunFailedError(SkillrunError):
    """A run ended without proof of success."""

    exit_code = 9


class WaitTimeoutError(SkillrunError):
    """Waiting ended before the run did."""

    exit_code = 10


class GateError(SkillrunError):
    """A quality gate refused the result."""

    exit_code = 11


class InterruptedRunError(SkillrunError):
    """The user interrupted; the message says what still runs."""

    exit_code = 130
