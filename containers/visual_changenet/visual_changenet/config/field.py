"""One field factory: type, bounds, meaning and search space of a spec key are written once.

The parser of the container and the generator of schemas and templates read the same classes. Extension keys
keep the published names (``automl_enabled``, ``math_cond``, ``popular``, ...); ours start with ``x-``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NOT_GIVEN = "???"  # the marker that published specs use for "fill this in"


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed here, not true or false")
    return value


def _unset(value: object) -> object:
    return "" if value == NOT_GIVEN else value


def _unset_list(value: object) -> object:
    return [] if value is None or value == NOT_GIVEN else value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
OptionalText = Annotated[str | None, BeforeValidator(_unset)]
PathList = Annotated[list[str], BeforeValidator(_unset_list)]


class Section(BaseModel):
    """A node of the spec. Unknown keys are errors; a section given as null means its defaults."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _null_section_is_default(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            return data
        sections = section_classes(cls)
        return {key: value for key, value in data.items() if not (value is None and key in sections)}

    @model_validator(mode="after")
    def _entries_in_bounds(self) -> Self:
        """Bounds of lists and dicts hold for every number in them."""
        for name, extra in bounded_collections(type(self)).items():
            check_entries(name, getattr(self, name), extra)
        return self


def section_classes(cls: type[BaseModel]) -> dict[str, type[Section]]:
    """Names and classes of the fields of ``cls`` that are sections themselves."""
    found: dict[str, type[Section]] = {}
    for name, info in cls.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found[name] = kind
    return found


def bounded_collections(cls: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Fields of ``cls`` whose list items or dict values carry bounds or fixed keys, with their metadata."""
    found: dict[str, dict[str, Any]] = {}
    for name, info in cls.model_fields.items():
        extra: Any = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("collection") and extra.keys() & {"low", "high", "entries"}:
            found[name] = extra
    return found


def check_entries(name: str, value: Any, extra: Mapping[str, Any]) -> None:
    """Raise ValueError where an entry is outside the bounds, or where a fixed key is missing or unknown."""
    allowed = extra.get("entries")
    if allowed is not None and isinstance(value, dict) and set(value) != set(allowed):
        raise ValueError(f"{name} needs exactly the keys {', '.join(sorted(allowed))}")
    for number in _numbers(value):
        if number < extra.get("low", number) or number > extra.get("high", number):
            limits = f"{extra.get('low', '-inf')} to {extra.get('high', 'inf')}"
            raise ValueError(f"{name} holds {number}, allowed is {limits}")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)


def setting(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    length: int | None = None,
    automl: bool | None = None,
    math_cond: str | None = None,
    popular: bool = False,
    pattern: str | None = None,
    path: tuple[str, str] | None = None,
    search: Mapping[str, Any] | None = None,
    depends_on: str | None = None,
    parent_param: bool = False,
    option_weights: Sequence[float] | None = None,
    also: Sequence[str] = (),
    entries: Mapping[str, str] | None = None,
    collection: bool = False,
    skillrun_only: bool = False,
) -> Any:
    """Declare one leaf of the spec.

    Args:
        default: value used where the spec says nothing; lists and dicts are copied per instance.
        description: meaning with its unit, at least 20 characters.
        low, high: inclusive bounds of a number, or of every number in a list.
        above: exclusive lower bound.
        length: exact number of items of a list.
        automl: True = in the default search, False = never searched, None = only where asked for by name.
        math_cond: published condition on sampled values, e.g. ``"> 0.0"``.
        pattern: regular expression of a string.
        path: (``file`` | ``dir``, ``in`` | ``out``): what has to be mounted.
        search: ``low``, ``high``, ``log``, ``step`` of the search space where narrower than the bounds.
        depends_on: dotted key that has to be on for this one to matter.
        also: further accepted spellings of the choices.
        entries: key -> meaning of a dict with fixed keys.
        collection: a list or dict although the default is null; bounds then hold for its entries.
        skillrun_only: the published container does not know this key.
    """
    if automl is None and isinstance(default, list | dict):
        automl = False
    extra: dict[str, Any] = {
        "collection": isinstance(default, list | dict) or collection or None,
        "low": low,
        "high": high,
        "above": above,
        "length": length,
        "automl_enabled": automl,
        "math_cond": math_cond,
        "popular": popular or None,
        "x-path": {"kind": path[0], "direction": path[1]} if path else None,
        "x-search": dict(search) if search else None,
        "depends_on": depends_on,
        "parent_param": parent_param or None,
        "option_weights": list(option_weights) if option_weights else None,
        "also": list(also) or None,
        "entries": dict(entries) if entries else None,
        "x-skillrun-only": skillrun_only or None,
    }
    extra = {key: value for key, value in extra.items() if value is not None}
    return Field(description=description, json_schema_extra=extra, **_field_arguments(default, extra, pattern))


def _field_arguments(default: Any, extra: Mapping[str, Any], pattern: str | None) -> dict[str, Any]:
    """Default and limits in the words of pydantic; list and dict entries are checked by ``check_entries``."""
    length = extra.get("length")
    limits: dict[str, Any] = {"pattern": pattern}
    if isinstance(default, list):
        limits |= {"min_length": length, "max_length": length, "default_factory": lambda: list(default)}
    elif isinstance(default, dict):
        limits |= {"default_factory": lambda: dict(default)}
    elif "collection" in extra:
        limits |= {"default": default}
    else:
        limits |= {
            "ge": extra.get("low"),
            "le": extra.get("high"),
            "gt": extra.get("above"),
            "default": default,
        }
    return {key: value for key, value in limits.items() if value is not None or key == "default"}


def section(kind: type[Section], description: str) -> Any:
    """Declare a nested section whose own defaults apply where the spec leaves it out."""
    return Field(default_factory=kind, description=description)
