"""Where the pictures of an evaluated pair lie, by the paths that its spec holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from skillrun.data.check_segment import SegmentFolders
from skillrun.inspection import Outcome
from skillrun.overrides import get_dotted
from skillrun.report.thumbnails import Files

Locate = Callable[[Any], Files]


def classify_files(spec: Mapping[str, Any]) -> Callable[[Outcome], Files]:
    """From a pair to ``<images_dir>/<folder>/<object_name>[_<light>]<image_ext>``; of several lights the first."""
    data = get_dotted(spec, "dataset.classify") or {}
    root = str((data.get("test_dataset") or {}).get("images_dir") or "")
    light = next((f"_{name}" for name in data.get("input_map") or {}), "")
    ending = f"{light}{data.get('image_ext') or ''}"
    several = (data.get("num_golden") or 1) > 1

    def locate(pair: Outcome) -> Files:
        name = f"{pair.cells.get('object_name', '')}{ending}"
        golden = pair.cells.get("golden_path", "")
        first = _first(inside(root, golden), ending) if several else inside(root, golden, name)
        return Files(golden=first, test=inside(root, pair.cells.get("input_path", ""), name))

    return locate


def segment_files(spec: Mapping[str, Any], masks: Path | None) -> Callable[[str], Files]:
    """From a name in the list to its golden, test and true mask in the data set, and its mask in the run."""
    data = get_dotted(spec, "dataset.segment") or {}
    root = str(data.get("root_dir") or "")
    keys = ("image_folder_name", "change_image_folder_name", "annotation_folder_name", "label_suffix")
    given = [str(data[key]) if data.get(key) else usual for key, usual in zip(keys, _USUAL, strict=True)]
    folders = SegmentFolders(golden=given[0], test=given[1], label=given[2], label_suffix=given[3])
    coloured = bool(data.get("color_map")) or data.get("data_name") == "LandSCD"

    def locate(name: str) -> Files:
        truths = [] if coloured else [inside(root, folders.label, one) for one in folders.label_names(name)]
        truth = next((path for path in truths if path and path.is_file()), None)
        stem = PurePosixPath(name).with_suffix(".png").as_posix()
        found = inside(str(masks), stem) if masks else None
        return Files(inside(root, folders.golden, name), inside(root, folders.test, name), found, truth)

    return locate


_USUAL = (SegmentFolders.golden, SegmentFolders.test, SegmentFolders.label, SegmentFolders.label_suffix)


def inside(root: str, *parts: str) -> Path | None:
    """The path below ``root``, or None where the parts lead out of it: a CSV names no file outside its images."""
    if not root:
        return None
    base = os.path.normpath(Path(root).absolute())
    path = os.path.normpath(Path(base, *parts))
    return Path(path) if path.startswith(base.rstrip(os.sep) + os.sep) else None


def _first(folder: Path | None, ending: str) -> Path | None:
    names = (path for path in folder.iterdir() if path.name.endswith(ending)) if folder and folder.is_dir() else ()
    return min(names, default=None)
