"""A request as JSON, so that another process on another day asks for exactly the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from skillrun.datasets import DataSources, is_address
from skillrun.hostoptions import HostOptions
from skillrun.prepare import Request


def standing(request: Request) -> Request:
    """The same request with absolute paths, which means the same from every folder."""
    named = {field.name: getattr(request.sources, field.name) for field in fields(DataSources)}
    sources = DataSources(**{name: _absolute(place) for name, place in named.items()})
    spec = Path(_absolute(request.spec_file)) if request.spec_file else None
    return replace(request, sources=sources, spec_file=spec, results=_absolute(request.results) or "")


def _absolute(place: Path | str | None) -> str:
    if not place or is_address(place):
        return str(place or "")
    return str(Path(place).expanduser().absolute())


def to_json(request: Request) -> dict[str, Any]:
    """Plain JSON values; paths as texts."""
    raw = asdict(request)
    return {**raw, **{name: _text(raw[name]) for name in ("spec_file", "results", "workspace")}}


def _text(path: Path | str | None) -> str | None:
    return None if path is None else str(path)


def from_json(raw: Mapping[str, Any]) -> Request:
    """The request that `to_json` wrote."""
    host = raw["host"]
    tuples = {name: tuple(host[name]) for name in ("ulimits", "env")}
    paths = {name: Path(raw[name]) if raw[name] else None for name in ("spec_file", "workspace")}
    known = {
        "overrides": tuple(raw["overrides"]),
        "sources": DataSources(**raw["sources"]),
        "host": HostOptions(**{**host, **tuples}),
    }
    return Request(**{**raw, **known, **paths})
