"""A copy of a data set with everything mended that can be mended without a guess about what is seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.check import CSV_NAME, check_dataset
from skillrun.data.layout import LISTS, MANIFEST, keep_apart, new_dataset
from skillrun.data.mend_table import Change, mend_csv, mend_text, mended_name
from skillrun.data.pairs import Progress
from skillrun.data.report import DatasetReport
from skillrun.data.segment_lists import ENDINGS
from skillrun.data.trees import copy_file, find_sets, visible_files


@dataclass(frozen=True)
class Mended:
    """What was changed, in the order of files and lines, and what the check of the copy says."""

    changes: list[Change]
    report: DatasetReport


def fix_dataset(
    source: str | Path, destination: str | Path, *, force: bool = False, progress: Progress | None = None
) -> Mended:
    """Copy a data set and mend the copy; the source is not touched.

    classify: encoding, byte order mark, delimiter, header, blanks, backslashes, an extension in ``object_name``, the
    case of ``PASS``, duplicate rows. segment: encoding and duplicate lines of the lists. Both: image extensions as
    ``.jpg``, ``.tif``, ``.png`` in lower case; hidden files are left out.

    Args:
        source: a folder with a CSV, a folder of such, or a segment root.
        destination: new or empty folder.
        force: replace a data set that lies at ``destination``.
        progress: called with (files done, files in all).

    Raises:
        NotFoundError: ``source`` does not exist.
        DataError: ``E_DATA_LAYOUT``, no data set; ``E_FIX_ENCODING``, ``E_FIX_HEADER``, a file tells too little.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
    """
    place, out = Path(source), Path(destination)
    keep_apart(place, out)
    tables, lists = _texts(place)
    changes: list[Change] = []
    with new_dataset(out, force=force) as folder:
        files = list(visible_files(place))
        hidden = sum(path.is_file() for path in place.rglob("*")) - len(files)
        names = _usual_names(files, changes)
        for done, inside in enumerate(files, start=1):
            if inside in tables:
                content, mended = mend_csv((place / inside).read_bytes(), inside.as_posix())
                _write(folder / tables[inside], content)
                changes += mended
            elif inside in lists:
                content, mended = _mend_list((place / inside).read_bytes(), inside.as_posix())
                _write(folder / inside, content)
                changes += mended
            else:
                copy_file(place / inside, folder / names[inside])
            if progress:
                progress(done, len(files))
        changes += [Change(a.as_posix(), None, f"is named {b.name}") for a, b in tables.items() if a != b]
        changes += [Change(".", None, f"{hidden} hidden file(s) left out")] if hidden else []
        if not (folder / MANIFEST).is_file():
            text = json.dumps({"schema_version": 1, "source": {"name": place.name, "mended": len(changes)}}, indent=2)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return Mended(changes, check_dataset(out))


def _texts(source: Path) -> tuple[dict[Path, Path], set[Path]]:
    """CSV -> its name in the copy, and the lists; all relative to the source."""
    only = sorted(source.glob("*.csv")) if source.is_dir() else []
    if len(only) == 1 and not (source / "A").is_dir():
        return {Path(only[0].name): Path(CSV_NAME)}, set()
    task, folders = find_sets(source)
    if task == "classify":
        inside = [(folder / CSV_NAME).relative_to(source) for folder in folders]
        return {path: path for path in inside}, set()
    names = (source / LISTS).iterdir() if (source / LISTS).is_dir() else ()
    return {}, {path.relative_to(source) for path in names if path.suffix in ENDINGS}


def _usual_names(files: list[Path], changes: list[Change]) -> dict[Path, Path]:
    """Each file's path in the copy; a file keeps its name where the usual one is taken."""
    taken = set(files)
    names: dict[Path, Path] = {}
    for path in files:
        usual = path.with_name(mended_name(path.name))
        if usual != path and usual in taken:
            changes.append(Change(path.as_posix(), None, f"keeps its name: {usual.name} is there too"))
            usual = path
        elif usual != path:
            changes.append(Change(path.as_posix(), None, f"is named {usual.name}"))
        taken.add(usual)
        names[path] = usual
    return names


def _mend_list(raw: bytes, file: str) -> tuple[bytes, list[Change]]:
    text, changes = mend_text(raw, file)
    seen: dict[str, int] = {}
    kept = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = mended_name(line.strip())
        if not name:
            continue
        first = seen.setdefault(name, number)
        if first != number:
            changes.append(Change(file, number, f"removed: the same as line {first}"))
            continue
        if name != line:
            changes.append(Change(file, number, f"{line!r} became {name!r}"))
        kept.append(name)
    return "".join(f"{name}\n" for name in kept).encode("utf-8"), changes


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
