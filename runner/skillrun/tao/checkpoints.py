"""Finding the checkpoints that a container left: by the names it gives, and only files that are whole."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".pth", ".tlt", ".ckpt", ".pt")
_EPOCH = re.compile(r"(?<![a-z])(?:epoch|ep)[=_-]?(\d+)")
_STEP = re.compile(r"(?<![a-z])(?:step|iteration|iter)[=_-]?(\d+)")
# First bytes of a torch file from before the zip format: a pickled magic number.
_OLD_TORCH = bytes.fromhex("80028a0a6cfc9c46f920")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file.

    Attributes:
        path: the file itself; links are followed.
        epoch: from its name, 0-based as the published container counts; None where the name has none.
        step: steps of the optimiser, from its name.
    """

    path: Path
    epoch: int | None
    step: int | None


def checkpoint_numbers(name: str) -> tuple[int | None, int | None]:
    """(epoch, step) of a file name, with ``=``, ``_``, ``-`` or nothing before the number.

    The folder a file lies in says nothing: ``epoch_500_run/model_epoch_003.pth`` is epoch 3.
    """
    stem = Path(name).name.lower()
    epoch, step = _EPOCH.search(stem), _STEP.search(stem)
    return (int(epoch[1]) if epoch else None), (int(step[1]) if step else None)


def checkpoints_in(folder: Path) -> list[Checkpoint]:
    """The checkpoints directly in a folder, oldest first: ordered by epoch, then step.

    Left out: empty and half-written files, broken links, links that lead out of the folder. A file without numbers
    (``..._latest.pth`` copied by a store without links) counts only where no numbered one is there.
    """
    if not folder.is_dir():
        return []
    root = folder.resolve()
    files = {path.resolve() for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
    found = [Checkpoint(path, *checkpoint_numbers(path.name)) for path in files if path.parent == root and whole(path)]
    numbered = [entry for entry in found if entry.epoch is not None or entry.step is not None]
    return sorted(numbered or found, key=_order)


def _order(entry: Checkpoint) -> tuple[int, int, str]:
    none = -1
    epoch = none if entry.epoch is None else entry.epoch
    return epoch, none if entry.step is None else entry.step, entry.path.name


def whole(path: Path) -> bool:
    """Whether a file is a torch file to its end. Its tensors are not read, nothing in it is run."""
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return False
        with path.open("rb") as stream:
            if stream.read(len(_OLD_TORCH)) == _OLD_TORCH:
                return True
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
