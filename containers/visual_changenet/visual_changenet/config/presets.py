"""Named presets: what an action's spec should start from, written over the defaults of the classes.

They are the documented samples with the values that work: strides that fit the backbone, intervals that fit
the number of epochs, one image per side. Reasons stand in ``references/visual_changenet/deviations.md``.
"""

from __future__ import annotations

from typing import Any

from visual_changenet.config.actions import ACTIONS
from visual_changenet.config.geometry import feature_strides

CLASSIFY_BACKBONE = "c_radio_v2_vit_base_patch16_224"
SEGMENT_BACKBONE = "vit_large_nvdinov2"

_CLASSIFY: dict[str, Any] = {
    "task": "classify",
    "model.backbone.type": CLASSIFY_BACKBONE,
    "model.decode_head.feature_strides": list(feature_strides(CLASSIFY_BACKBONE)),
    "model.decode_head.use_summary_token": True,
    "model.classify.difference_module": "learnable",
    "model.classify.eval_margin": 0.3,
    "model.classify.embed_dec": 30,
    "dataset.classify.num_input": 1,
    "dataset.classify.input_map": None,
    "train.classify.loss": "ce",
}
_SEGMENT: dict[str, Any] = {
    "task": "segment",
    "model.backbone.type": SEGMENT_BACKBONE,
    "model.decode_head.feature_strides": list(feature_strides(SEGMENT_BACKBONE)),
    "dataset.segment.data_name": "custom",
}
_CLASSIFY_TRAIN: dict[str, Any] = {
    "dataset.classify.batch_size": 16,
    "dataset.classify.workers": 2,
    "dataset.classify.fpratio_sampling": 0.25,
    "dataset.classify.augmentation_config.augment": True,
    "train.num_epochs": 100,
    "train.validation_interval": 50,
    "train.checkpoint_interval": 50,
    "train.optim.lr": 1e-5,
    "train.tensorboard.enabled": True,
    "train.tensorboard.infrequent_logging_frequency": 1,
}
_ENGINE: dict[str, Any] = {"gen_trt_engine.tensorrt.max_batch_size": 1}
_EXTRA: dict[str, dict[str, Any]] = {
    "train": _CLASSIFY_TRAIN,
    "segment_train": {"dataset.segment.img_size": 256},
    "gen_trt_engine": _ENGINE | {"dataset.classify.batch_size": 1},
    "segment_gen_trt_engine": _ENGINE | {"gen_trt_engine.tensorrt.data_type": "fp16", "dataset.segment.batch_size": 1},
}
_ONE_PAIR_AT_A_TIME = ("quantize", "trt_evaluate", "trt_inference")


def preset(action: str) -> dict[str, Any]:
    """Dotted key -> value for one of the 16 actions; only keys that the action reads.

    Raises:
        KeyError: the action does not exist.
    """
    chosen = ACTIONS[action]
    values = dict(_CLASSIFY if chosen.task == "classify" else _SEGMENT)
    if action.removeprefix("segment_") in _ONE_PAIR_AT_A_TIME:
        values[f"dataset.{chosen.task}.batch_size"] = 1
    values |= _EXTRA.get(action, {})
    return {key: value for key, value in values.items() if chosen.reads_key(key)}
