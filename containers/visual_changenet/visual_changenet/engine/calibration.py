"""The images that an INT8 calibration is asked to use, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from visual_changenet.errors import DataInvalidError, MissingFileError, SpecError

KEY = "gen_trt_engine.tensorrt.calibration"


def calibration_images(spec: dict[str, Any]) -> list[Path]:
    """The images below the calibration folders, by name: at least ``cal_batches * cal_batch_size``.

    The folders are those of ``cal_image_dir``, else that of ``dataset.<task>.quant_calibration_dataset``.

    Raises:
        SpecError: ``E_CALIBRATION_BATCH``, ``E_CALIBRATION_FOLDER`` (none is named).
        MissingFileError: ``E_CALIBRATION_FOLDER``.
        DataInvalidError: ``E_CALIBRATION_IMAGES`` (an empty folder, or too few images in all).
    """
    options = spec["gen_trt_engine"]["tensorrt"]["calibration"]
    batch, batches = options["cal_batch_size"], options["cal_batches"]
    if batch < 1 or batches < 1:
        raise SpecError(
            "E_CALIBRATION_BATCH",
            f"{KEY} has cal_batch_size {batch} and cal_batches {batches}; both must be 1 or more.",
            f"correct {KEY}",
        )
    given = spec["dataset"][spec["task"]]["quant_calibration_dataset"]["images_dir"]
    folders = [Path(name) for name in options["cal_image_dir"] or ([given] if given else [])]
    if not folders:
        raise SpecError("E_CALIBRATION_FOLDER", f"{KEY}.cal_image_dir names no folder.", "name folders with images")
    images = [path for folder in folders for path in _images(folder)]
    if len(images) < batch * batches:
        raise DataInvalidError(
            "E_CALIBRATION_IMAGES",
            f"the calibration folders hold {len(images)} images, less than {batches} batches of {batch}.",
            f"add images, or lower {KEY}.cal_batches to {max(1, len(images) // batch)}",
        )
    return images


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MissingFileError("E_CALIBRATION_FOLDER", f"{folder} is not a folder.", f"correct {KEY}.cal_image_dir")
    known = Image.registered_extensions()
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)
    if not found:
        raise DataInvalidError("E_CALIBRATION_IMAGES", f"{folder} holds no image.", "put images into it")
    return found
