"""``ExperimentConfig``: the root of every spec of this model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from visual_changenet.config.after_training import Evaluate, Export, Inference, Quantize
from visual_changenet.config.dataset import Dataset
from visual_changenet.config.deploy import GenTrtEngine
from visual_changenet.config.field import OptionalText, Section, section, setting
from visual_changenet.config.legacy import with_present_names
from visual_changenet.config.model import Model
from visual_changenet.config.train import Train, Wandb


class ExperimentConfig(Section):
    """A whole spec. ``ExperimentConfig.model_validate(dict)`` parses what ``yaml.safe_load`` returns.

    Empty text and null both mean "not given" for paths. Keys are those of the published specs; the few that
    the published container does not know are marked ``x-skillrun-only``.
    """

    task: Literal["segment", "classify"] = setting(
        "classify", "classify decides PASS or NO_PASS per pair, segment draws a mask of the change."
    )
    model_name: OptionalText = setting("", "Free name of the model, written into logs.")
    encryption_key: OptionalText = setting("", "Key for encrypted model files; plain files need none.")
    results_dir: OptionalText = setting(
        "", "Folder for all results; each action writes into its own folder below it.", path=("dir", "out")
    )
    wandb: Wandb = section(Wandb, "Logging to Weights & Biases.")
    model: Model = section(Model, "Architecture of the network.")
    dataset: Dataset = section(Dataset, "Data sets and how they become network input.")
    train: Train = section(Train, "Training: epochs, optimiser, loss and checkpoints.")
    evaluate: Evaluate = section(Evaluate, "Scoring of a checkpoint on labelled pairs.")
    inference: Inference = section(Inference, "Prediction for pairs without labels.")
    export: Export = section(Export, "Export of a checkpoint to ONNX.")
    quantize: Quantize = section(Quantize, "Quantization of a checkpoint.")
    gen_trt_engine: GenTrtEngine = section(GenTrtEngine, "Build of a TensorRT engine from an ONNX file.")

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, data: Any) -> Any:
        return with_present_names(data) if isinstance(data, dict) else data
