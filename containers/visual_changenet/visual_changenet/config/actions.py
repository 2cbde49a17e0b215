"""The 16 actions: which task, which command, and which parts of the spec each of them reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One action.

    Attributes:
        name: unique name, e.g. ``segment_trt_evaluate``.
        task: ``classify`` or ``segment``.
        command: sub-command of ``visual_changenet`` that runs it.
        deploy: True where it needs TensorRT.
        reads: dotted prefixes of the spec that it reads.
        skips: dotted prefixes below ``reads`` that it does not read.
    """

    name: str
    task: str
    command: str
    deploy: bool
    reads: tuple[str, ...]
    skips: tuple[str, ...] = ()

    def reads_key(self, key: str) -> bool:
        """True where the leaf ``key`` is part of this action."""
        return _below(key, self.reads) and not _below(key, self.skips)


def _below(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def _keys(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names.split())


def _pairs(names: str) -> tuple[str, ...]:
    return _keys("dataset.classify", names)


def _folders(names: str) -> tuple[str, ...]:
    return _keys("dataset.segment", names)


GLOBALS = ("task", "model_name", "encryption_key", "results_dir")
_COMPUTE = ("train.device", "train.threads")
_NETWORK = ("model.backbone", "model.decode_head")
_BACKBONE_TYPE = ("model.backbone.type",)

# The loss settings belong to every classify action: a checkpoint holds the class weights of its loss.
_CLASSIFY_NETWORK = (*GLOBALS, *_NETWORK, "model.classify", "train.classify")
_CLASSIFY_SHAPE = _pairs(
    "num_input input_map concat_type grid_map image_width image_height num_golden num_classes "
    "augmentation_config.rgb_input_mean augmentation_config.rgb_input_std"
)
_CLASSIFY_INPUT = (*_pairs("image_ext batch_size workers align cache_dir"), *_CLASSIFY_SHAPE)
_CLASSIFY_ENGINE = (*GLOBALS, *_BACKBONE_TYPE, "model.classify", *_CLASSIFY_INPUT)

_SEGMENT_NETWORK = (*GLOBALS, *_NETWORK, "train.segment")
_SEGMENT_SHAPE = _folders("num_classes img_size augmentation.mean augmentation.std")
_SEGMENT_INPUT = (
    *_folders(
        "dataset root_dir data_name label_transform batch_size workers multi_scale_infer color_map align cache_dir"
    ),
    *_folders("image_folder_name change_image_folder_name list_folder_name annotation_folder_name label_suffix"),
    *_SEGMENT_SHAPE,
)
_SEGMENT_ENGINE = (*GLOBALS, *_BACKBONE_TYPE, *_SEGMENT_INPUT)


def _classify() -> tuple[Action, ...]:
    unused = _pairs("test_dataset infer_dataset quant_calibration_dataset")
    train = (*GLOBALS, "wandb", "model", "dataset.classify", "train")
    scored = (*_CLASSIFY_NETWORK, *_CLASSIFY_INPUT, *_COMPUTE)
    proven = _pairs("validation_dataset")  # an export is compared with its checkpoint on pairs
    calibrated = _pairs("train_dataset validation_dataset test_dataset quant_calibration_dataset")
    engine = (*GLOBALS, *_BACKBONE_TYPE, *_pairs("batch_size quant_calibration_dataset"), *_CLASSIFY_SHAPE)
    table: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("train", "train", train, (*unused, "train.segment")),
        (
            "evaluate",
            "evaluate",
            (*scored, *_pairs("validation_dataset test_dataset"), "evaluate"),
            ("evaluate.trt_engine",),
        ),
        (
            "inference",
            "inference",
            (*scored, *_pairs("infer_dataset"), "inference"),
            ("inference.trt_engine",),
        ),
        ("export", "export", (*_CLASSIFY_NETWORK, *_CLASSIFY_INPUT, *proven, "train.threads", "export"), ()),
        ("quantize", "quantize", (*scored, *calibrated, "quantize"), ("train.device",)),
        ("gen_trt_engine", "gen_trt_engine", (*engine, "gen_trt_engine"), ()),
        (
            "trt_evaluate",
            "evaluate",
            (*_CLASSIFY_ENGINE, *_pairs("test_dataset"), "evaluate"),
            ("evaluate.checkpoint",),
        ),
        (
            "trt_inference",
            "inference",
            (*_CLASSIFY_ENGINE, *_pairs("infer_dataset"), "inference"),
            ("inference.checkpoint",),
        ),
    )
    return tuple(Action(name, "classify", command, _deploy(name), *keys) for name, command, *keys in table)


def _segment() -> tuple[Action, ...]:
    unused = _folders("multi_scale_infer test_split predict_split quant_calibration_dataset")
    train = (*GLOBALS, "wandb", *_NETWORK, "dataset.segment", "train")
    scored = (*_SEGMENT_NETWORK, *_SEGMENT_INPUT, *_COMPUTE)
    tested, predicted = _folders("validation_split test_split"), _folders("test_split predict_split")
    proven = _folders("validation_split")
    calibrated = _folders("train_split validation_split test_split quant_calibration_dataset")
    engine = (*GLOBALS, *_BACKBONE_TYPE, *_folders("batch_size quant_calibration_dataset"), *_SEGMENT_SHAPE)
    table: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("train", "train", train, (*unused, "train.classify")),
        ("evaluate", "evaluate", (*scored, *tested, "evaluate"), ("evaluate.trt_engine",)),
        ("inference", "inference", (*scored, *predicted, "inference"), ("inference.trt_engine",)),
        ("export", "export", (*_SEGMENT_NETWORK, *_SEGMENT_INPUT, *proven, "train.threads", "export"), ()),
        ("quantize", "quantize", (*scored, *calibrated, "quantize"), ("train.device",)),
        ("gen_trt_engine", "gen_trt_engine", (*engine, "gen_trt_engine"), ()),
        ("trt_evaluate", "evaluate", (*_SEGMENT_ENGINE, *tested, "evaluate"), ("evaluate.checkpoint",)),
        (
            "trt_inference",
            "inference",
            (*_SEGMENT_ENGINE, *predicted, "inference"),
            ("inference.checkpoint",),
        ),
    )
    return tuple(Action(f"segment_{name}", "segment", command, _deploy(name), *keys) for name, command, *keys in table)


def _deploy(name: str) -> bool:
    return "trt" in name


ACTIONS: dict[str, Action] = {action.name: action for action in (*_classify(), *_segment())}
