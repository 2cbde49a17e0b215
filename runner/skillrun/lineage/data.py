"""The pairs that a parent was measured on: what later runs measure on where nobody names others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrun.lineage.folders import Parent
from skillrun.overrides import get_dotted
from skillrun.runfolder import RunFolder
from skillrun.spec import ResolvedSpec, SpecBuilder, path_keys

# A training validates on what an evaluation tests on.
_READ_AS = {"dataset.classify.test_dataset.": "dataset.classify.validation_dataset."}
# These say their data themselves: new pairs are the point of them.
_OWN_DATA = ("train", "inference", "trt_inference")
_GENERATIONS = 16


def add_data(builder: SpecBuilder, parent: Parent) -> None:
    """Data paths of the parent, or of the nearest of its own parents that has them, where they exist on this host."""
    if builder.action.removeprefix("segment_") in _OWN_DATA:
        return
    found: dict[str, str] = {}
    for ancestor in line(parent):
        for key, (_, direction) in path_keys(builder.schema).items():
            if direction == "in" and key.startswith("dataset.") and key not in found:
                path = _path(ancestor.spec, key)
                found |= {key: path} if path else {}
    builder.add(f"data of {parent.name}", found)


def told(spec: ResolvedSpec, parent: Parent) -> list[str]:
    """A notice where nobody named data and the parent's were taken."""
    keys = [key for key, origin in spec.origins.items() if origin == f"data of {parent.name}"]
    places = dict.fromkeys(str(spec.get(key)) for key in keys if key.endswith((".csv_path", ".root_dir")))
    return [f"no data were named: those of {parent.name} are taken: {', '.join(places)}"] if places else []


def _path(spec: Mapping[str, Any], key: str) -> str:
    for tested, validated in _READ_AS.items():
        if key.startswith(tested):
            return _path(spec, key.replace(tested, validated)) or _there(get_dotted(spec, key))
    return _there(get_dotted(spec, key))


def _there(value: Any) -> str:
    return value if isinstance(value, str) and value and Path(value).exists() else ""


def line(parent: Parent) -> Iterator[Parent]:
    """The parent, its parent, and so on, as far as their folders are there."""
    here: Parent | None = parent
    for _ in range(_GENERATIONS):
        if here is None:
            return
        yield here
        here = _before(here)


def _before(parent: Parent) -> Parent | None:
    record = parent.run.read_record().get("parent") if parent.run else None
    if not isinstance(record, Mapping) or not record.get("run_id"):
        return None
    folder = parent.path.parent / str(record["run_id"])
    return Parent(folder, RunFolder(folder)) if (folder / "run.json").is_file() else None
