"""What an engine is asked for, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visual_changenet.engine.calibration import calibration_images
from visual_changenet.engine.profile import Profile, profile_of
from visual_changenet.errors import MissingFileError, SpecError
from visual_changenet.runtime import ENGINE
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.onnx_runtime import OnnxRuntime

KEY = "gen_trt_engine"
QUANTIZED = b"DequantizeLinear"  # the operator's name, as it stands in the file


@dataclass(frozen=True)
class Request:
    """An engine to build.

    Attributes:
        onnx: the file it is built from. target: the engine file to write.
        card: of the ONNX file, with the precision of the engine.
        notices: what the user should know.
    """

    onnx: Path
    target: Path
    card: Card
    profile: Profile
    notices: tuple[str, ...]


def check_request(spec: dict[str, Any], folder: Path) -> Request:
    """The request of a complete spec that its rules have passed; ``folder`` takes the engine where none is named.

    Raises:
        MissingFileError: ``E_ENGINE_ONNX``, ``E_CALIBRATION_FOLDER``. SpecError: ``E_ENGINE_TARGET``,
        ``E_ENGINE_EXISTS``, ``E_ENGINE_BATCH``, ``E_ENGINE_PROFILE``, ``E_ENGINE_PRECISION``, ``E_ENGINE_FLOAT``,
        ``E_CALIBRATION_BATCH``. DataInvalidError: ``E_CALIBRATION_IMAGES``, and those of an ONNX file.
    """
    options = spec[KEY]
    source = Path(options["onnx_file"] or "")
    if not options["onnx_file"] or not source.is_file():
        raise MissingFileError(
            "E_ENGINE_ONNX",
            f"{KEY}.onnx_file is {options['onnx_file'] or ''!r}, which is not a file.",
            f"set {KEY}.onnx_file to the file of action export or quantize",
        )
    target = _target(options, source, folder)
    runtime = OnnxRuntime(source, "cpu")
    profile, notices = profile_of(options, runtime.batch, str(source))
    notices += _check_precision(spec, source)
    card = replace(runtime.card, precision=options["tensorrt"]["data_type"])
    return Request(source, target, card, profile, tuple(notices))


def _target(options: dict[str, Any], source: Path, folder: Path) -> Path:
    target = Path(options["trt_engine"] or folder / f"{source.stem}{ENGINE}")
    if target.suffix != ENGINE or target.is_dir():
        raise SpecError("E_ENGINE_TARGET", f"{KEY}.trt_engine is {target}, no name of an {ENGINE} file.", "rename it")
    if target.exists() and not options["overwrite"]:
        raise SpecError("E_ENGINE_EXISTS", f"{target} exists already.", f"set {KEY}.overwrite=true, or another name")
    return target


def _check_precision(spec: dict[str, Any], source: Path) -> list[str]:
    """Refuse a number format that the graph can not have; TensorRT 11 takes INT8 from the graph only."""
    options = spec[KEY]["tensorrt"]
    wanted, quantized = options["data_type"], QUANTIZED in source.read_bytes()
    if quantized and wanted != "int8":
        raise SpecError(
            "E_ENGINE_PRECISION",
            f"{source} has INT8 layers, but {KEY}.tensorrt.data_type is {wanted}.",
            f"set {KEY}.tensorrt.data_type to int8, or name the file of action export",
        )
    if wanted != "int8":
        return []
    if not quantized:
        calibration_images(spec)
        raise SpecError(
            "E_ENGINE_FLOAT",
            f"{KEY}.tensorrt.data_type is int8, but {source} has no quantized layers; TensorRT 11 does not calibrate.",
            f"visual_changenet quantize -e SPEC quantize.backend=modelopt.onnx quantize.mode=static_ptq "
            f"quantize.model_path={source}, then name the file that it writes",
        )
    if options["layers_precision"]:
        raise SpecError(
            "E_ENGINE_PRECISION",
            f"{KEY}.tensorrt.layers_precision is given, but the layers of a quantized file have their formats.",
            "empty it, and use quantize.layers or quantize.skip_names",
        )
    unused = [name for name in ("cal_image_dir", "cal_cache_file") if options["calibration"][name]]
    return [f"{KEY}.tensorrt.calibration.{name} has no effect: {source} is quantized already." for name in unused]
