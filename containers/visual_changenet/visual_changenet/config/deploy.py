"""``gen_trt_engine``: from an ONNX file to a TensorRT engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from visual_changenet.config.field import Int, OptionalText, PathList, Section, section, setting


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Calibration(Section):
    cal_image_dir: PathList = setting([], "Folders with images for INT8 calibration.", path=("dir", "in"))
    cal_cache_file: OptionalText = setting(
        "", "INT8 calibration cache; TensorRT 11 has none, the key has no effect.", path=("file", "out")
    )
    cal_batch_size: Int = setting(1, "Images per calibration batch.", low=1, popular=True)
    cal_batches: Int = setting(1, "Number of calibration batches.", low=1, popular=True)


class TensorRT(Section):
    data_type: Annotated[Literal["fp32", "fp16", "int8", "bf16"], BeforeValidator(_lower)] = setting(
        "fp32",
        "Number format of the engine; int8 needs an ONNX file with quantized layers, as action quantize writes it.",
        also=("FP32", "FP16", "INT8", "BF16"),
    )
    workspace_size: Int = setting(
        1024, "Largest scratch memory of the builder, in MiB; 0 leaves TensorRT's own limit.", low=0
    )
    min_batch_size: Int = setting(1, "Smallest batch size of the engine profile.", low=1, popular=True)
    opt_batch_size: Int = setting(1, "Batch size that the engine is tuned for.", low=1, popular=True)
    max_batch_size: Int = setting(8, "Largest batch size of the engine profile.", low=1)
    layers_precision: list[str] = setting(
        [], "Number formats of single layers, as layer:format texts; * and ? in a layer name match any letters."
    )
    calibration: Calibration = section(Calibration, "Images and cache of the INT8 calibration.")


class GenTrtEngine(Section):
    onnx_file: OptionalText = setting("", "ONNX file to build the engine from.", path=("file", "in"))
    trt_engine: OptionalText = setting(
        "", "Engine file to write; empty means a name in the results folder.", path=("file", "out")
    )
    gpu_id: Int = setting(0, "Index of the GPU that the engine is built for.", low=0, popular=True)
    batch_size: Int = setting(-1, "Batch size of the ONNX graph; -1 means it is dynamic.", low=-1, popular=True)
    timing_cache: OptionalText = setting(
        "", "Builder timing cache to read and update; makes later builds faster.", path=("file", "out")
    )
    verbose: bool = setting(False, "Log every step of the TensorRT builder.")
    overwrite: bool = setting(False, "Replace an existing engine file of the same name.", skillrun_only=True)
    results_dir: OptionalText = setting(
        "",
        "Folder for the files of this action; empty: <results_dir>/gen_trt_engine.",
        path=("dir", "out"),
    )
    tensorrt: TensorRT = section(TensorRT, "Settings of the TensorRT builder.")
