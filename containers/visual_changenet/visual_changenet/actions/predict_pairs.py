"""Which files of two folders belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from visual_changenet.errors import DataInvalidError, MissingFileError
from visual_changenet.runtime.card import Card


@dataclass(frozen=True)
class Pair:
    """One object: its name relative to the test folder without ending, and its files, one per light.

    Attributes:
        golden: per golden image the files of its lights.
    """

    name: str
    golden: tuple[tuple[Path, ...], ...]
    test: tuple[Path, ...]


def find_pairs(golden: Path, test: Path, card: Card) -> list[Pair]:
    """Pairs of two files, or of two folders by the names of their files below them, in the order of the names.

    Lights are told by their suffix as in training, ``<object>_<light>.png``; endings may differ between the folders.
    With several golden images the golden side is a folder to take the first ones of, by name: the one with the
    object's name below ``golden`` where there is one, else ``golden`` itself; too few are repeated.

    Raises:
        MissingFileError: ``E_PREDICT_MISSING``. DataInvalidError: ``E_PREDICT_PAIRS`` naming what lacks its partner.
    """
    for path in (golden, test):
        if not path.exists():
            raise MissingFileError("E_PREDICT_MISSING", f"there is no {path}.", "name an image or a folder")
    suffixes = [f"_{light}" for light in (card.lights.input_map if card.lights else None) or {}] or [""]
    tests = _objects(test, suffixes)
    if card.num_golden > 1:
        return [Pair(name, _several(golden, name, suffixes, card.num_golden), files) for name, files in tests.items()]
    goldens = _objects(golden, suffixes)
    if test.is_file() and golden.is_file():
        return [Pair(name, (one,), files) for (name, files), one in zip(tests.items(), goldens.values(), strict=True)]
    alone = sorted(tests.keys() - goldens.keys())
    if alone:
        raise DataInvalidError(
            "E_PREDICT_PAIRS",
            f"{len(alone)} of {len(tests)} test images have no golden image of the same name in {golden}, the first is "
            f"{alone[0]!r}.",
            "give both files of a pair the same name",
        )
    return [Pair(name, (goldens[name],), files) for name, files in tests.items()]


def _several(folder: Path, name: str, suffixes: Sequence[str], count: int) -> tuple[tuple[Path, ...], ...]:
    own = folder / name
    found = list(_objects(own if own.is_dir() else folder, suffixes).values())
    return tuple(found[index % len(found)] for index in range(count))


def _objects(place: Path, suffixes: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Name -> files in the order of the suffixes, of a folder or of the object that a file belongs to."""
    known = Image.registered_extensions()
    if place.is_file():
        root, wanted = place.parent, _object(place.stem, suffixes)
        files = [path for path in root.iterdir() if path.suffix == place.suffix]
    else:
        root, wanted = place, None
        files = [path for path in place.rglob("*") if path.suffix.lower() in known]
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(files):
        name = _object(path.stem, suffixes)
        if name is not None and (wanted is None or name == wanted):
            key = path.relative_to(root).with_name(name).as_posix()
            found.setdefault(key, {})[path.stem.removeprefix(name)] = path
    if not found:
        what = f"images whose names end in {', '.join(suffixes)}" if suffixes != [""] else "images"
        raise DataInvalidError("E_PREDICT_PAIRS", f"{place} has no {what}.", "name another file or folder")
    return {name: _in_order(name, files, suffixes, place) for name, files in found.items()}


def _object(stem: str, suffixes: Sequence[str]) -> str | None:
    """The name without the suffix of a light; None where it has none."""
    return next((stem.removesuffix(suffix) for suffix in suffixes if stem.endswith(suffix)), None)


def _in_order(name: str, files: dict[str, Path], suffixes: Sequence[str], place: Path) -> tuple[Path, ...]:
    missing = [suffix for suffix in suffixes if suffix not in files]
    if missing:
        raise DataInvalidError(
            "E_PREDICT_PAIRS", f"{place}: {name!r} has no file for the light {missing[0]!r}.", "add it"
        )
    return tuple(files[suffix] for suffix in suffixes)
