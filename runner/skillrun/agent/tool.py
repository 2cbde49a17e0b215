"""What a tool is: one typed function. Its argument gives the input schema, its return type the output schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from skillrun.errors import UsageError
from skillrun.overrides import nearest

# Longest text of one field of an answer, in characters; what is longer is cut and ends with an ellipsis.
TEXT = 400


class Given(BaseModel):
    """Arguments of a tool. A field that is null counts as left out, because strict schemas know no optional field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


class Answer(BaseModel):
    """What a tool answers, or a part of it. Fields that are None are left out of the JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.model_dump(mode="json", exclude_none=True)


@dataclass(frozen=True)
class Hints:
    """What a client may expect of a call; hints, no promises of security.

    Attributes:
        read_only: it changes nothing that a user would miss.
        destructive: it may end or overwrite something.
        idempotent: the same call again changes nothing more.
        open_world: it may talk to servers beyond this host.
    """

    read_only: bool
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = False


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: ``skillrun_<verb>_<noun>``, at most 64 of ``[a-z_]``.
        title: for a person.
        run: ``(arguments, workspace) -> answer``; its docstring is the description.
        slow: its work may take longer than a call may, so it is a job (`skillrun.agent.jobs`); or the name of the field
            that makes it so.
        key: the field that names the work; the same value is the same work for ever. Empty: the arguments name it.
        example: arguments as an agent would give them.
        course: one line on how far the work is, for those who wait.
    """

    name: str
    title: str
    run: Callable[[Any, Path], Answer]
    hints: Hints
    slow: bool | str = False
    key: str = ""
    example: Mapping[str, Any] | None = None
    course: Callable[[Any, Path], str] | None = None

    @property
    def given(self) -> type[Given]:
        """The type of the arguments."""
        found: type[Given] = get_type_hints(self.run)["given"]
        return found

    @property
    def answer(self) -> type[Answer]:
        """The type of the answer."""
        found: type[Answer] = get_type_hints(self.run)["return"]
        return found

    @property
    def description(self) -> str:
        """What it does and when to call it, in one paragraph."""
        return " ".join((self.run.__doc__ or "").split())

    def is_slow(self, given: Given) -> bool:
        """Whether the work that these arguments ask for is a job."""
        return bool(getattr(given, self.slow)) if isinstance(self.slow, str) else self.slow

    def read(self, arguments: Mapping[str, Any]) -> Given:
        """Arguments that fit; raises UsageError that names each field that does not."""
        try:
            return self.given.model_validate(dict(arguments))
        except ValidationError as error:
            said = [self._said(item["loc"], item["type"], item["msg"]) for item in error.errors(include_url=False)]
            fix = f"the fields of {self.name} are: {', '.join(self.given.model_fields)}"
            raise UsageError("E_TOOL_ARGUMENTS", f"{self.name}: {'; '.join(said[:5])}", fix) from error

    def _said(self, place: tuple[int | str, ...], kind: str, message: str) -> str:
        name = ".".join(str(part) for part in place) or "arguments"
        if kind != "extra_forbidden":
            return f"{name}: {message}"
        close = nearest(name, self.given.model_fields, 1)
        return f"{cut(name)}: no such field" + (f", did you mean {close[0]}?" if close else "")


def cut(text: str, length: int = TEXT) -> str:
    """The text as one field of an answer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
