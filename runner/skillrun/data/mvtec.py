"""MVTec AD (good pictures to learn from, test pictures by defect, masks) into the documented layouts.

``<object>/train/good/*``, ``<object>/test/{good,<defect>}/*`` and ``<object>/ground_truth/<defect>/<name>_mask.png``.
The pictures of ``test`` become the samples, each beside the picture of ``train/good`` that is most like it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from skillrun.data.extras import require
from skillrun.data.layout import PASS, DatasetSummary, keep_apart, known_task
from skillrun.data.matching import Unpaired, pair_with_goldens
from skillrun.data.pairs import Names, Progress, picture_files, write_pairs
from skillrun.data.sides import HELD_OUT
from skillrun.errors import DataError, NotFoundError

GOOD = "good"


def convert_mvtec(
    source: str | Path,
    destination: str | Path,
    *,
    task: str = "classify",
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Convert one object of MVTec AD or all of them.

    Args:
        source: folder of an object, or the folder of all objects.
        destination: new or empty folder.
        task: ``classify`` labels by defect; ``segment`` takes the masks of ``ground_truth``, empty ones for good.
        seed: of the split; a quarter of each defect is held out.
        force: replace a data set that lies at ``destination``.
        progress: called with (pairs done, pairs in all).

    Raises:
        UsageError: unknown task.
        NotFoundError: ``E_MVTEC_NOT_FOUND``, ``source`` holds no such object.
        DataError: a mask is missing (``E_MVTEC_MASK``), or a picture is missing or can not be read.
        ConflictError: ``destination`` is not empty, or lies in ``source``.
        BackendError: numpy or OpenCV is not installed.
    """
    require("Converting MVTec AD", "numpy", "cv2")
    task_name, place, out = known_task(task), Path(source), Path(destination)
    keep_apart(place, out)
    objects = find_objects(place)
    names = Names()
    samples = [sample for folder in objects for sample in _samples(folder, names, masks=task_name == "segment")]
    pools = {folder.name: picture_files(folder / "train" / GOOD) for folder in objects}
    pairs, picked = pair_with_goldens(samples, pools, HELD_OUT, seed)
    origin = {"name": "MVTec AD", "objects": [folder.name for folder in objects], "golden": picked}
    return write_pairs(out, pairs, origin, task=task_name, seed=seed, force=force, progress=progress)


def find_objects(source: Path) -> list[Path]:
    """Folders of objects, by name: ``source`` itself or what lies in it.

    Raises:
        NotFoundError: ``E_MVTEC_NOT_FOUND`` if there is none.
    """
    candidates = [source, *(sorted(p for p in source.iterdir() if p.is_dir()) if source.is_dir() else [])]
    found = [folder for folder in candidates if (folder / "train" / GOOD).is_dir() and (folder / "test").is_dir()]
    found = [folder for folder in found if picture_files(folder / "train" / GOOD)]
    if not found:
        raise NotFoundError(
            "E_MVTEC_NOT_FOUND",
            f"{source} holds no MVTec AD object: looked for train/{GOOD}/ with pictures and test/ in it and one below.",
            "Name the folder of an object, e.g. mvtec/bottle, or the folder of all objects",
        )
    return found[:1] if found[0] == source else found


def _samples(folder: Path, names: Names, *, masks: bool) -> Iterator[Unpaired]:
    for defect in sorted(p for p in (folder / "test").iterdir() if p.is_dir() and not p.name.startswith(".")):
        for test in picture_files(defect):
            good = defect.name == GOOD
            mask = None if good or not masks else _mask_of(folder, defect.name, test)
            label = PASS if good else defect.name
            yield Unpaired(folder.name, names.take(folder.name, defect.name, test.stem), label, test, mask)


def _mask_of(folder: Path, defect: str, test: Path) -> Path:
    place = folder / "ground_truth" / defect
    wanted: Sequence[str] = (f"{test.stem}_mask", test.stem)
    found = [path for path in picture_files(place) if path.stem in wanted]
    if not found:
        raise DataError(
            "E_MVTEC_MASK",
            f"{test} has no mask {place / f'{test.stem}_mask.png'}.",
            "Put the mask there, or convert without masks: --task classify",
        )
    return found[0]
