"""Divide a data set anew, so that what belongs together lies on one side only."""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skillrun.data.check import CSV_NAME, IMAGES
from skillrun.data.grouping import group_of_name, group_of_row
from skillrun.data.layout import (
    LISTS,
    DatasetSummary,
    Task,
    keep_apart,
    new_dataset,
    write_lists,
    write_manifest,
)
from skillrun.data.pairs import Progress
from skillrun.data.report import DatasetReport
from skillrun.data.segment_lists import read_lists
from skillrun.data.sides import assign_sides
from skillrun.data.tables import Table, images_of_rows, read_table, write_table
from skillrun.data.trees import copy_file, find_sets, origin_of
from skillrun.errors import DataError

DEFAULT_SHARES: dict[str, dict[str, float]] = {
    "classify": {"train": 0.8, "eval": 0.2},
    "segment": {"train": 0.7, "val": 0.15, "test": 0.15},
}
CHANGED, UNCHANGED, UNLABELLED = "changed", "unchanged", "unlabelled"


@dataclass(frozen=True)
class Plan:
    """Where each group goes: group -> side, and group -> label -> samples."""

    sides: dict[str, str]
    groups: dict[str, Counter[str]]

    def labels(self) -> dict[str, dict[str, int]]:
        """side -> label -> samples."""
        counted: dict[str, Counter[str]] = {}
        for group, side in self.sides.items():
            counted.setdefault(side, Counter()).update(self.groups[group])
        return {side: dict(sorted(counts.items())) for side, counts in sorted(counted.items())}


def split_dataset(
    source: str | Path,
    destination: str | Path,
    *,
    shares: Mapping[str, float] | None = None,
    group: str | None = None,
    seed: int = 0,
    link: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Write a copy of a data set with other sides; sides that the source has are joined first.

    Args:
        source: a folder with ``dataset.csv``, a folder of such, or a segment root.
        destination: new or empty folder; classify gets a folder a side, segment a list a side (and ``predict``,
            which is the last of them).
        shares: side -> share; None takes `DEFAULT_SHARES`.
        group: ``board``, ``object`` or a column (see `skillrun.data.grouping`); None takes what the data tell.
        seed: of the order in which equal groups are placed.
        link: hard links to the source's pictures where the file system allows, else copies.
        force: replace a data set that lies at ``destination``.
        progress: called with (samples done, samples in all).

    Raises:
        UsageError: ``E_SPLIT_GROUP``, no such column.
        NotFoundError: ``source`` does not exist.
        DataError: ``E_SPLIT_GROUPS``, one group holds everything or there are fewer groups than sides; or the data
            set has an error that ``data check`` names.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
    """
    place, out = Path(source), Path(destination)
    keep_apart(place, out)
    task, folders = find_sets(place)
    origin = origin_of(place)
    wanted = dict(shares or DEFAULT_SHARES[task])
    with new_dataset(out, force=force) as folder:
        if task == "classify":
            plan = _split_classify(folders, folder, wanted, (group, seed, link), origin, progress)
            counts = plan.labels()
        else:
            plan, counts = _split_segment(place, folder, wanted, (group, seed, link), origin, progress)
        told = {"shares": wanted, "group": group or "as the data tell", "groups": len(plan.groups), "seed": seed}
        told |= {"groups_of_side": dict(sorted(Counter(plan.sides.values()).items())), "labels": plan.labels()}
        kind: Task = "classify" if task == "classify" else "segment"
        summary = DatasetSummary(out, kind, seed, counts, origin | {"split": told})
        write_manifest(folder, summary)
    return summary


def _plan(samples: Sequence[tuple[str, str]], shares: Mapping[str, float], seed: int) -> Plan:
    """``samples`` are (group, label)."""
    groups: dict[str, Counter[str]] = {}
    for name, label in samples:
        groups.setdefault(name, Counter())[label] += 1
    if len(groups) == 1 and len(samples) > 1:
        raise DataError(
            "E_SPLIT_GROUPS",
            f"All {len(samples)} samples belong to one group, {next(iter(groups))!r}: no side could do without it.",
            "--group object",
        )
    return Plan(assign_sides(groups, shares, seed), groups)


def _split_classify(
    folders: Sequence[Path],
    out: Path,
    shares: Mapping[str, float],
    options: tuple[str | None, int, bool],
    origin: Mapping[str, object],
    progress: Progress | None,
) -> Plan:
    group, seed, link = options
    tables = [(folder, read_table(folder / CSV_NAME)) for folder in folders]
    rows = [(folder, row) for folder, table in tables for row in table.rows]
    groups = [group_of_row(row, group, origin) for _, row in rows]
    plan = _plan([(name, row["label"]) for name, (_, row) in zip(groups, rows, strict=True)], shares, seed)
    columns = tuple(dict.fromkeys(column for _, table in tables for column in table.columns))
    files = {folder: images_of_rows(folder / IMAGES, table.rows) for folder, table in tables}
    sides: dict[str, list[dict[str, str]]] = {side: [] for side in shares}
    for done, (name, (folder, row)) in enumerate(zip(groups, rows, strict=True), start=1):
        side = plan.sides[name]
        for inside in files[folder].of(row):
            _place(folder / IMAGES / inside, out / side / IMAGES / inside, link=link)
        sides[side].append(row)
        if progress:
            progress(done, len(rows))
    for side, chosen in sides.items():
        write_table(out / side / CSV_NAME, Table(columns, chosen))
    return plan


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Copy once; two files of one name must be the same."""
    if not target.is_file():
        copy_file(source, target, link=link)
    elif not target.samefile(source) and not filecmp.cmp(source, target, shallow=False):
        raise DataError(
            "E_SPLIT_NAMES",
            f"{source} and another part's file of the same name differ, so they can not lie in one folder.",
            f"Rename the folder {source.parent.name} in one part, and in its {CSV_NAME}",
        )


def _split_segment(
    source: Path,
    out: Path,
    shares: Mapping[str, float],
    options: tuple[str | None, int, bool],
    origin: Mapping[str, object],
    progress: Progress | None,
) -> tuple[Plan, dict[str, dict[str, int]]]:
    group, seed, link = options
    names = _listed(source)
    masks = {path.stem: path for path in (source / "label").iterdir()} if (source / "label").is_dir() else {}
    groups = {name: group_of_name(PurePosixPath(name).stem, group, origin) for name in names}
    plan = _plan([(groups[name], _change(masks.get(PurePosixPath(name).stem))) for name in names], shares, seed)
    lists: dict[str, list[str]] = {side: [] for side in shares}
    for done, name in enumerate(names, start=1):
        lists[plan.sides[groups[name]]].append(name)
        for inside in _files(source, name, masks.get(PurePosixPath(name).stem)):
            copy_file(source / inside, out / inside, link=link)
        if progress:
            progress(done, len(names))
    return plan, write_lists(out / LISTS, {**lists, "predict": lists[list(lists)[-1]]})


def _listed(source: Path) -> list[str]:
    """Every name of every list once, in order."""
    report = DatasetReport(source, "segment")
    entries = read_lists(report, source / LISTS, source / "A", None)
    report.raise_first()
    for entry in entries:
        if Path(entry.name).is_absolute() or ".." in Path(entry.name).parts:
            raise DataError(
                "E_DATA_PATH_ESCAPES", f"{entry.place}: {entry.name!r} leaves {source}.", "Correct the line"
            )
    return list(dict.fromkeys(entry.name for entry in entries))


def _files(source: Path, name: str, mask: Path | None) -> Iterator[Path]:
    for part in ("A", "B"):
        if not (source / part / name).is_file():
            place = source / part / name
            raise DataError("E_DATA_IMAGE_MISSING", f"The image {place} does not exist.", f"Put the file at {place}")
        yield Path(part, name)
    if mask is not None:
        yield mask.relative_to(source)


def _change(mask: Path | None) -> str:
    from PIL import Image

    if mask is None:
        return UNLABELLED
    try:
        with Image.open(mask) as image:
            return CHANGED if image.convert("L" if image.mode != "P" else "P").getextrema()[1] else UNCHANGED
    except (OSError, ValueError, SyntaxError) as cause:
        raise DataError("E_DATA_IMAGE_UNREADABLE", f"The mask {mask} can not be read.", f"Replace {mask}") from cause
