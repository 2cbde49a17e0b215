"""``evaluate``, ``inference``, ``export`` and ``quantize``: the actions on a trained checkpoint."""

from __future__ import annotations

from typing import Any, Literal

from visual_changenet.config.field import Float, Int, OptionalText, Section, setting


class Scoring(Section):
    """What evaluate and inference have in common."""

    checkpoint: OptionalText = setting("", "Checkpoint (.pth) of the trained model.", path=("file", "in"))
    trt_engine: OptionalText = setting(
        "", "TensorRT engine file; read by the deploy actions only.", path=("file", "in")
    )
    num_gpus: Int = setting(1, "Number of GPUs; ignored where the run is on the CPU.", low=1, popular=True)
    gpu_ids: list[Int] = setting([0], "Indices of the GPUs to use.", low=0, popular=True)
    num_nodes: Int = setting(1, "Number of machines that work together.", low=1, popular=True)
    batch_size: Int | None = setting(None, "Pairs per step; null takes the batch size of the data set section.", low=1)
    vis_after_n_batches: Int = setting(1, "Draw the results of every n-th batch (task segment).", low=1)
    results_dir: OptionalText = setting(
        "", "Folder for the files of this action; empty means <results_dir>/<action>.", path=("dir", "out")
    )


class Evaluate(Scoring):
    pass


class Inference(Scoring):
    pass


class Export(Section):
    checkpoint: OptionalText = setting("", "Checkpoint (.pth) of the trained model.", path=("file", "in"))
    onnx_file: OptionalText = setting(
        "", "ONNX file to write; empty means a name in the results folder.", path=("file", "out")
    )
    format: Literal["onnx", "xdl"] = setting("onnx", "File format; only onnx is written.")
    opset_version: Int = setting(17, "ONNX opset version of the exported graph; 16 to 21 are written.", low=1)
    batch_size: Int = setting(-1, "Batch size of the exported graph; -1 leaves it dynamic.", low=-1)
    input_channel: Int = setting(3, "Channels of an input image; only 3 (RGB) is supported.", low=3, high=3)
    input_width: Int | None = setting(
        None, "Width of the network input in pixels; null computes it from the data set section.", low=1
    )
    input_height: Int | None = setting(
        None, "Height of the network input in pixels; null computes it from the data set section.", low=1
    )
    gpu_id: Int = setting(0, "Index of the GPU to export on; our graph is the same everywhere, made on the CPU.", low=0)
    on_cpu: bool = setting(False, "Export on the CPU even where there is a GPU; ours always does.")
    verbose: bool = setting(False, "Log a readable form of the exported graph.")
    serialize_nvdsinfer: bool = setting(
        False, "Write DeepStream configuration files beside the ONNX file (classify with one golden image)."
    )
    overwrite: bool = setting(False, "Replace an existing ONNX file of the same name.", skillrun_only=True)
    parity_tolerance: Float = setting(
        1e-3,
        "Largest difference of a score between PyTorch and the ONNX file, and of an output relative to its largest "
        "value; beyond it the file is rejected.",
        above=0.0,
        skillrun_only=True,
    )
    results_dir: OptionalText = setting(
        "", "Folder for the files of this action; empty means <results_dir>/export.", path=("dir", "out")
    )


class Quantize(Section):
    model_path: OptionalText = setting(
        "", "Checkpoint file (.pth), or ONNX file of the action export, to quantize.", path=("file", "in")
    )
    backend: Literal["modelopt.pytorch", "torchao", "modelopt.onnx"] = setting(
        "torchao", "Library that quantizes: torchao writes a checkpoint, modelopt.onnx an ONNX file."
    )
    mode: Literal["static_ptq", "weight_only_ptq"] = setting(
        "weight_only_ptq",
        "weight_only_ptq needs no data, static_ptq calibrates activations with images.",
        automl=True,
    )
    algorithm: Literal["minmax", "max", "entropy", "awq_clip", "awq_lite", "awq_full", "rtn_dq"] = setting(
        "minmax", "Rule that chooses the value range of the quantized numbers.", automl=True
    )
    layers: list[dict[str, Any]] = setting(
        [], "Per layer settings, each with module_name (a pattern of names or classes) and data types."
    )
    skip_names: list[str] = setting([], "Patterns of names or classes of layers that stay as they are.")
    device: str = setting(
        "cuda",
        "Device for calibration: cuda, cuda:N, cpu or trt.",
        pattern=r"^(cuda|cpu|trt|cuda:[0-9]+)$",
    )
    backend_kwargs: dict[str, Any] | None = setting(
        None, "Further arguments of the chosen library; null for none.", automl=False
    )
    max_drop: Float | None = setting(
        0.01,
        "Largest loss of accuracy, AP or IoU, and rise of the escape rate, as a share; beyond it the model is "
        "rejected. Null keeps any model.",
        low=0.0,
        high=1.0,
        skillrun_only=True,
    )
    results_dir: OptionalText = setting(
        "", "Folder for the files of this action; empty means <results_dir>/quantize.", path=("dir", "out")
    )
