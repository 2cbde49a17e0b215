"""The two documented data layouts, written completely or not at all.

classify: ``<dst>/<split>/dataset.csv`` and ``<dst>/<split>/images/<input_path>/<object_name>.png``.
segment: ``<dst>/{A,B,label}/<name>.png`` and ``<dst>/list/<split>.txt``.
"""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skillrun.data.pictures import Picture, write_png
from skillrun.errors import ConflictError, UsageError

Task = Literal["classify", "segment"]
TASKS: tuple[Task, ...] = ("classify", "segment")
CSV_COLUMNS = ("input_path", "golden_path", "label", "object_name")
PASS = "PASS"
MANIFEST = "dataset.json"
IMAGE_EXT = ".png"
LISTS = "list"


@dataclass(frozen=True)
class DatasetSummary:
    """What was written.

    Attributes:
        destination: the folder of the data set.
        task: ``classify`` or ``segment``.
        seed: the seed it was made with.
        counts: split -> label -> samples (classify), or split -> ``pairs`` -> pairs (segment).
        source: what it was made from, and what was left out.
    """

    destination: Path
    task: Task
    seed: int
    counts: dict[str, dict[str, int]]
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All samples; a segment pair listed in two splits counts twice."""
        return sum(sum(split.values()) for split in self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """The summary for ``--json``: the manifest plus where it lies."""
        return {"destination": str(self.destination), "total": self.total, **self.manifest()}

    def manifest(self) -> dict[str, Any]:
        """What ``dataset.json`` holds; no absolute path, so equal inputs give equal bytes."""
        body = {"task": self.task, "seed": self.seed, "counts": self.counts, "source": self.source}
        return {"schema_version": 1, **body}


def known_task(task: str) -> Task:
    """``task`` if it is one of `TASKS`.

    Raises:
        UsageError: ``E_DATA_TASK`` for anything else.
    """
    for known in TASKS:
        if task == known:
            return known
    names = " or ".join(TASKS)
    raise UsageError("E_DATA_TASK", f"Unknown task {task!r}: it must be {names}.", f"--task {TASKS[0]}")


@contextmanager
def new_dataset(destination: Path, *, force: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to ``destination`` when the block ends well and removed when it does not.

    ``force`` replaces only a folder that this tool made (it holds `MANIFEST`), never somebody's other files.

    Raises:
        ConflictError: ``E_DATA_DESTINATION`` if ``destination`` is a file or a folder that is not empty.
    """
    _refuse_occupied(destination, force=force)
    destination.parent.mkdir(parents=True, exist_ok=True)
    stage = destination.with_name(f".{destination.name}.{uuid.uuid4().hex[:12]}.partial")
    stage.mkdir()
    try:
        yield stage
        _swap(stage, destination)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def keep_apart(source: Path, destination: Path) -> None:
    """Refuse a destination that is the source, lies in it or holds it: the source is never written to.

    Raises:
        ConflictError: ``E_DATA_DESTINATION``.
    """
    one, two = source.resolve(), destination.resolve()
    if one == two or one in two.parents or two in one.parents:
        raise ConflictError(
            "E_DATA_DESTINATION",
            f"{destination} and the source {source} lie in each other.",
            "Name a destination beside the source",
        )


def _refuse_occupied(destination: Path, *, force: bool) -> None:
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not destination.is_dir():
        raise ConflictError("E_DATA_DESTINATION", f"{destination} is a file.", "Name another destination")
    if not (destination / MANIFEST).is_file():
        raise ConflictError(
            "E_DATA_DESTINATION",
            f"{destination} is not empty and holds no {MANIFEST}, so it is not replaced.",
            "Name a new or empty destination",
        )
    if not force:
        raise ConflictError(
            "E_DATA_DESTINATION", f"{destination} already holds a data set.", "Add --force to replace it"
        )


def _swap(stage: Path, destination: Path) -> None:
    old = stage.with_suffix(".old")
    if destination.exists():
        destination.rename(old)
    stage.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, summary: DatasetSummary) -> None:
    """Write ``dataset.json``: what this is, counts, seed and source."""
    text = json.dumps(summary.manifest(), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


class ClassifyWriter:
    """Collects test/golden crops of the splits ``train`` and ``eval``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, list[tuple[str, str, str, str]]] = {}

    def add(self, split: str, board: str, name: str, *, test: Picture, golden: Picture, label: str) -> None:
        """Write one pair; ``name`` is unique on its ``board``, ``label`` is `PASS` or the defect's name."""
        row = (f"test/{board}", f"golden/{board}", label, name)
        images = self._folder / split / "images"
        write_png(images / row[0] / f"{name}{IMAGE_EXT}", test)
        write_png(images / row[1] / f"{name}{IMAGE_EXT}", golden)
        self._rows.setdefault(split, []).append(row)

    def close(self) -> dict[str, dict[str, int]]:
        """Write the ``dataset.csv`` files; returns split -> label -> samples."""
        counts = {}
        for split, rows in sorted(self._rows.items()):
            with (self._folder / split / "dataset.csv").open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(CSV_COLUMNS)
                writer.writerows(rows)
            counts[split] = dict(sorted(Counter(row[2] for row in rows).items()))
        return counts


class SegmentWriter:
    """Collects golden (A), test (B) and mask (label) pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, *, golden: Picture, test: Picture, mask: Picture | None) -> None:
        """Write one pair; ``mask`` is (height, width) uint8 with 0 unchanged and 255 changed, None where unknown."""
        for part, picture in (("A", golden), ("B", test), ("label", mask)):
            if picture is not None:
                write_png(self._folder / part / f"{name}{IMAGE_EXT}", picture)

    def close(self, train: Sequence[str], held_out: Sequence[Sequence[str]]) -> dict[str, dict[str, int]]:
        """Write the lists; ``predict`` is ``test``.

        Args:
            train: names to train on.
            held_out: names of one board each; the boards alternate between ``val`` and ``test``.

        Returns:
            split -> ``pairs`` -> number of pairs.
        """
        halves = (held_out, held_out) if len(held_out) < 2 else (held_out[::2], held_out[1::2])
        val, test = ([name for board in half for name in board] for half in halves)
        return self.close_lists({"train": train, "val": val, "test": test, "predict": test})

    def close_lists(self, lists: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
        """Write exactly these lists, split -> names; returns split -> ``pairs`` -> number of pairs."""
        files = {split: [f"{name}{IMAGE_EXT}" for name in names] for split, names in lists.items()}
        return write_lists(self._folder / LISTS, files)


def write_lists(folder: Path, lists: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Write ``<folder>/<split>.txt``, a file name a line; returns split -> ``pairs`` -> number of pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return {split: {"pairs": len(names)} for split, names in lists.items()}
