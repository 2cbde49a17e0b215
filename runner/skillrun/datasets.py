"""Data sets of a request → the spec's path keys, by the data-source rules of the model's contract.

A data set is a folder (``dataset.csv`` + ``images/`` or an archive of the images; or a segment root). Archives are
unpacked once, safely, into a cache keyed by their content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from skillrun.bank import DataSource
from skillrun.errors import DataError

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.xz")


@dataclass(frozen=True)
class DataSources:
    """What the user named, by the contract's source names; each a folder on this host, or an address of one."""

    train_datasets: Path | str | None = None
    eval_dataset: Path | str | None = None
    inference_dataset: Path | str | None = None
    calibration_dataset: Path | str | None = None

    def given(self) -> dict[str, Path]:
        """Source name → absolute folder, without the absent ones."""
        return {name: Path(place).expanduser().absolute() for name, place in self._named().items()}

    def brought(self, bring: Callable[[str], Path]) -> DataSources:
        """The same with every address fetched to a folder of this host."""
        return replace(self, **{name: bring(place) for name, place in self._named().items() if is_address(place)})

    def _named(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FLAGS if getattr(self, name)}


def is_address(place: Any) -> TypeGuard[str]:
    """Whether a place lies elsewhere and has to be fetched."""
    return isinstance(place, str) and "://" in place


FLAGS = {
    "train_datasets": "--train-data",
    "eval_dataset": "--eval-data",
    "inference_dataset": "--infer-data",
    "calibration_dataset": "--calibration-data",
}


def cache_root() -> Path:
    """Where unpacked archives are kept: ``SKILLRUN_CACHE``, else ``~/.cache/skillrun``."""
    if own := os.environ.get("SKILLRUN_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skillrun"


def resolve_sources(rules: Sequence[DataSource], sources: DataSources) -> dict[str, str]:
    """Dotted spec keys and the host paths they get.

    Args:
        rules: the action's ``data_sources``.
        sources: what the user named.

    Raises:
        DataError: a folder is absent or lacks what the rule names, or the action reads no such source (the same
            folder given twice is no error: training of segment reads both its lists below one root).
    """
    given = sources.given()
    used: set[str] = set()
    paths: dict[str, str] = {}
    for rule in rules:
        if rule.source not in given:
            continue
        used.add(rule.source)
        paths[rule.key] = str(_locate(given[rule.source], rule.path, rule.runtime, FLAGS[rule.source]))
    read = {given[name] for name in used}
    for name in [name for name in given if name not in used and given[name] not in read]:
        wanted = sorted({FLAGS[rule.source] for rule in rules})
        raise DataError(
            "E_DATA_SOURCE",
            f"this action reads no {FLAGS[name]}{_one_root(rules)}",
            f"give {' and '.join(wanted) or 'no data set'}",
        )
    return paths


def _locate(folder: Path, part: str, runtime: str, flag: str) -> Path:
    if not folder.is_dir():
        raise DataError("E_DATA_SOURCE", f"{flag} {str(folder)!r} is no folder", "skillrun data check FOLDER")
    if not part:
        return folder
    if runtime != "extracted_folder":
        path = folder / part
        if not path.is_file():
            raise DataError(
                "E_DATA_SOURCE",
                f"{flag} {str(folder)!r} holds no {part}{_hint(folder)}",
                "a classify data set is dataset.csv + images/; name the folder that holds them",
            )
        return path
    stem = part
    for ending in ARCHIVES:
        stem = stem.removesuffix(ending)
    if (folder / stem).is_dir():
        return folder / stem
    from skillrun.archives import extract

    for ending in ARCHIVES:
        archive = folder / f"{stem}{ending}"
        if archive.is_file():
            return extract(archive, cache_root() / "archives")
    raise DataError(
        "E_DATA_SOURCE", f"{flag} {str(folder)!r} holds neither {stem}/ nor {part}", f"add {stem}/ or {part}"
    )


def _one_root(rules: Sequence[DataSource]) -> str:
    root = any(rule.key == "dataset.segment.root_dir" for rule in rules)
    return ": the lists of all splits lie in the folder list/ of one data set" if root else ""


def _hint(folder: Path) -> str:
    inside = sorted(child.name for child in folder.iterdir() if (child / "dataset.csv").is_file())
    return f"; its folders {', '.join(inside)} do" if inside else ""


def only_extension(images: Path, sample: int = 500) -> str | None:
    """The one image extension in a folder tree (with the dot, as written), or None where several or none are there."""
    found: set[str] = set()
    for number, path in enumerate(path for path in images.rglob("*") if not path.name.startswith(".")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"):
            found.add(path.suffix)
        if len(found) > 1 or number > sample:
            break
    return found.pop() if len(found) == 1 else None
