"""Sizes that follow from other settings, so that no spec has to repeat them."""

from __future__ import annotations

from visual_changenet.config.experiment import ExperimentConfig

FAN_STRIDES = (4, 8, 16, 16)
TRANSFORMER_STRIDES = (4, 8, 16, 32)


def feature_strides(backbone: str) -> tuple[int, int, int, int]:
    """Strides in pixels of the four feature maps of a backbone type."""
    return FAN_STRIDES if backbone.startswith("fan_") else TRANSFORMER_STRIDES


def network_input_size(config: ExperimentConfig) -> tuple[int, int]:
    """(height, width) in pixels of one network input, all lights joined.

    Linear joins the lights below each other; a grid has ``grid_map.y`` rows of ``grid_map.x`` images and is
    used for an even number of lights only.
    """
    if config.task == "segment":
        return config.dataset.segment.img_size, config.dataset.segment.img_size
    data = config.dataset.classify
    if data.concat_type == "grid" and data.num_input % 2 == 0:
        return data.image_height * data.grid_map["y"], data.image_width * data.grid_map["x"]
    return data.image_height * data.num_input, data.image_width


def export_size(config: ExperimentConfig) -> tuple[int, int]:
    """(height, width) in pixels of the exported input: given in ``export``, or computed from the data set."""
    height, width = network_input_size(config)
    return config.export.input_height or height, config.export.input_width or width
