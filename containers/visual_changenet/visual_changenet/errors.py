"""Errors that the container's command reports: one line that names the place, one line that mends it."""

from __future__ import annotations

from typing import Any, ClassVar


class ChangeNetError(Exception):
    """Base of all errors a user is meant to read.

    Args:
        code: stable identifier such as ``E_DATA_IMAGE_MISSING``.
        message: one sentence naming file, row, key or value.
        fix: the command or edit that mends it.
        retryable: True where the same call may succeed later without a change.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, fix: str = "", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.retryable = retryable

    def to_json(self) -> dict[str, Any]:
        """The object stored under ``error`` in result.json."""
        return {"code": self.code, "message": self.message, "fix": self.fix, "retryable": self.retryable}


class SpecError(ChangeNetError):
    """The command line or the spec is invalid."""

    exit_code = 2


class MissingFileError(ChangeNetError):
    """A file that the spec names does not exist."""

    exit_code = 5


class DataInvalidError(ChangeNetError):
    """A data set can not be used as it is."""

    exit_code = 7


class RunError(ChangeNetError):
    """The run started and failed."""

    exit_code = 9


class RejectedError(ChangeNetError):
    """A model was made, but it does not decide as the one it was made from; it is kept under another name."""

    exit_code = 11


class CancelledError(ChangeNetError):
    """SIGINT or SIGTERM ended the run; what was reached is saved."""

    exit_code = 130
