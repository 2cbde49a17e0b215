"""The config classes accept published specs and refuse what can not work."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from visual_changenet.config import ExperimentConfig
from visual_changenet.config.actions import ACTIONS
from visual_changenet.config.geometry import export_size, network_input_size
from visual_changenet.config.presets import preset
from visual_changenet.config.rules import RuleError, apply_rules

CLASSIFY_SPEC = """
encryption_key: tlt_encode
task: classify
train:
  resume_training_checkpoint_path: null
  classify: {loss: "ce", cls_weight: [1.0, 10.0]}
  num_epochs: 10
  validation_interval: 5
  checkpoint_interval: 5
  optim: {lr: 5e-4, optim: "adamw", policy: "linear", momentum: 0.9, weight_decay: 0.01, betas: [0.9, 0.999]}
  tensorboard: {enabled: True}
results_dir: /path/to/experiment results
model:
  backbone: {type: "fan_small_12_p4_hybrid", pretrained_backbone_path: null, freeze_backbone: False}
  decode_head: {feature_strides: [4, 8, 16, 16], align_corner: False}
  classify: {train_margin_euclid: 2, eval_margin: 0.005, embed_dec: 30, difference_module: 'learnable'}
dataset:
  classify:
    train_dataset: {csv_path: /path/to/train.csv, images_dir: /path/to/img_dir}
    num_input: 4
    input_map: {LowAngleLight: 0, SolderLight: 1, UniformLight: 2, WhiteLight: 3}
    concat_type: linear
    grid_map: {x: 2, y: 2}
    output_shape: [128, 96]
    augmentation_config: {rgb_input_mean: [0.485, 0.456, 0.406]}
evaluate: {checkpoint: "???"}
export: {gpu_id: 0, checkpoint: "???", onnx_file: "???", input_width: 128, input_height: 512}
"""
SEGMENT_SPEC = """
task: segment
train: {segment: {loss: "ce", weights: [0.5, 0.5, 0.5, 0.8, 1.0]}, num_epochs: 350}
model:
  backbone: {type: "vit_large_nvdinov2"}
  decode_head: {feature_strides: [4, 8, 16, 32], use_summary_token: True}
dataset:
  segment:
    root_dir: /path/to/root/
    data_name: "LEVIR-CD"
    label_transform: null
    color_map: {'0': [255, 255, 255], '1': [0, 0, 0]}
    augmentation: {with_scale_random_crop: {enable: True}, random_flip: null}
gen_trt_engine: {tensorrt: {data_type: FP16, calibration: {cal_image_dir: "???"}}}
"""


def parsed(**sections: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(sections)


def test_a_published_classify_spec_is_read() -> None:
    config = ExperimentConfig.model_validate(yaml.safe_load(CLASSIFY_SPEC))
    assert config.train.optim.lr == pytest.approx(5e-4)
    assert config.evaluate.checkpoint == ""
    assert config.model.backbone.pretrained_backbone_path is None
    data = config.dataset.classify
    assert (data.image_height, data.image_width) == (128, 96)
    assert data.augmentation_config.rgb_input_std == [0.229, 0.224, 0.225]
    assert apply_rules(config.model_dump())[1] == []


def test_a_published_segment_spec_is_read() -> None:
    config = ExperimentConfig.model_validate(yaml.safe_load(SEGMENT_SPEC))
    assert config.gen_trt_engine.tensorrt.data_type == "fp16"
    assert config.gen_trt_engine.tensorrt.calibration.cal_image_dir == []
    assert config.dataset.segment.label_transform == "None"
    assert config.dataset.segment.augmentation.random_flip.enable
    assert apply_rules(config.model_dump())[1] == []


@pytest.mark.parametrize(
    "spec",
    [
        {"train": {"num_epoch": 3}},
        {"train": {"num_epochs": True}},
        {"train": {"num_epochs": 0}},
        {"train": {"optim": {"lr": float("nan")}}},
        {"model": {"backbone": {"type": "resnet50"}}},
        {"model": {"decode_head": {"feature_strides": [4, 8]}}},
        {"model": {"decode_head": {"in_channels": [0]}}},
        {"dataset": {"classify": {"grid_map": {"columns": 2}}}},
        {"dataset": {"classify": {"output_shape": 128}}},
        {"dataset": {"segment": {"color_map": {"0": [256, 0, 0]}}}},
        {"quantize": {"device": "cuda:x"}},
    ],
)
def test_a_value_that_can_not_work_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExperimentConfig.model_validate(spec)


def test_defaults_are_not_shared_between_specs() -> None:
    first, second = ExperimentConfig(), ExperimentConfig()
    first.train.classify.cls_weight.append(3.0)
    assert second.train.classify.cls_weight == [1.0, 10.0]


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_preset_parses_and_breaks_no_rule(action: str) -> None:
    spec: dict[str, Any] = {}
    for key, value in preset(action).items():
        *sections, last = key.split(".")
        node = spec
        for name in sections:
            node = node.setdefault(name, {})
        node[last] = value
    mended, notices = apply_rules(ExperimentConfig.model_validate(spec).model_dump(), action)
    assert notices == []
    assert ExperimentConfig.model_validate(mended).task == ACTIONS[action].task


def test_the_network_input_follows_lights_and_layout() -> None:
    lights = {"a": 0, "b": 1, "c": 2, "d": 3}
    shape = {"num_input": 4, "input_map": lights, "image_height": 100, "image_width": 50}
    assert network_input_size(parsed(dataset={"classify": shape})) == (400, 50)
    grid = parsed(dataset={"classify": {**shape, "concat_type": "grid", "grid_map": {"x": 2, "y": 2}}})
    assert network_input_size(grid) == (200, 100)
    assert export_size(parsed(task="segment", export={"input_width": 64})) == (224, 64)


def test_intervals_and_strides_are_mended_with_a_notice() -> None:
    config = parsed(
        train={"num_epochs": 5, "checkpoint_interval": 9, "validation_interval": 7},
        model={"backbone": {"type": "vit_large_nvdinov2"}},
    )
    before = config.model_dump()
    mended, notices = apply_rules(before)
    assert mended["train"]["checkpoint_interval"] == mended["train"]["validation_interval"] == 5
    assert mended["model"]["decode_head"]["feature_strides"] == [4, 8, 16, 32]
    assert len(notices) == 3
    assert before == config.model_dump()


def test_a_step_interval_may_exceed_the_epochs() -> None:
    config = parsed(train={"num_epochs": 5, "checkpoint_interval": 900, "checkpoint_interval_unit": "step"})
    assert apply_rules(config.model_dump())[1] == []


@pytest.mark.parametrize(
    ("sections", "rule"),
    [
        ({"train": {"classify": {"loss": "ce"}}}, "ce-needs-learnable"),
        (
            {"model": {"classify": {"difference_module": "learnable", "eval_margin": 0.3}}},
            "contrastive-needs-euclidean",
        ),
        ({"dataset": {"classify": {"num_input": 1}}}, "lights"),
        ({"dataset": {"classify": {"input_map": None}}}, "lights"),
        ({"dataset": {"classify": {"batch_size": 1}}}, "classify-batch"),
        ({"dataset": {"segment": {"batch_size": 1}}, "task": "segment"}, "segment-batch"),
        ({"dataset": {"classify": {"concat_type": "grid", "grid_map": {"x": 3, "y": 2}}}}, "grid-full"),
        ({"model": {"backbone": {"feat_downsample": True}}}, "fan-downsample"),
        ({"model": {"backbone": {"freeze_backbone": True}}}, "freeze-needs-weights"),
    ],
)
def test_a_broken_rule_is_named_with_its_fix(sections: dict[str, Any], rule: str) -> None:
    with pytest.raises(RuleError) as caught:
        apply_rules(parsed(**sections).model_dump())
    assert caught.value.rule_id == rule
    assert caught.value.fix


def test_a_single_pair_per_batch_is_fine_after_training() -> None:
    config = parsed(dataset={"classify": {"batch_size": 1}})
    assert apply_rules(config.model_dump(), "evaluate")[1] == []
