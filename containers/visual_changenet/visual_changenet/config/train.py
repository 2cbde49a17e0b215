"""``train`` and ``wandb``: the training loop, its optimiser, its losses and its logs."""

from __future__ import annotations

from typing import Literal

from visual_changenet.config.field import Float, Int, OptionalText, Section, section, setting


class Optim(Section):
    lr: Float = setting(
        1e-4,
        "Learning rate at the first epoch.",
        low=0.0,
        automl=True,
        search={"low": 1e-6, "high": 1e-2, "log": True},
    )
    optim: Literal["adamw", "adam", "sgd"] = setting("adamw", "Optimiser that updates the weights.")
    policy: Literal["linear", "step"] = setting(
        "linear", "Learning rate over the epochs: linear falls to nearly 0, step divides by 10 every third."
    )
    momentum: Float = setting(
        0.9,
        "Momentum of the optimiser sgd; adam and adamw do not read it.",
        low=0.0,
        high=1.0,
        automl=True,
        math_cond="> 0.0",
        search={"low": 0.5, "high": 0.99},
        depends_on="train.optim.optim=sgd",
    )
    weight_decay: Float = setting(
        0.01,
        "Weight decay coefficient; decoupled from the gradient for adamw.",
        low=0.0,
        high=1.0,
        automl=True,
        math_cond="> 0.0",
        search={"low": 1e-5, "high": 0.3, "log": True},
    )
    betas: list[Float] = setting(
        [0.9, 0.999],
        "Decay of the running means of gradient and squared gradient, for adam and adamw.",
        low=0.0,
        high=1.0,
        length=2,
        skillrun_only=True,
    )
    monitor_name: str = setting("val_loss", "Metric that picks the best checkpoint.")


class ClassifyTraining(Section):
    loss: Literal["ce", "contrastive"] = setting(
        "contrastive", "Loss: ce with the learnable difference module, contrastive with the euclidean one."
    )
    cls_weight: list[Float] = setting(
        [1.0, 10.0], "Weights of the classes PASS and NO_PASS in the loss ce, one per class.", low=0.0
    )


class SegmentTraining(Section):
    loss: Literal["ce", "mmiou"] = setting("ce", "Loss per map: cross entropy, or minimum and mean IoU.")
    weights: list[Float] = setting(
        [0.5, 0.5, 0.5, 0.8, 1.0],
        "Weights of the five maps from coarse to fine when multi_scale_train is on.",
        low=0.0,
        length=5,
    )


class Cudnn(Section):
    benchmark: bool = setting(False, "Let cuDNN try its algorithms first; faster for fixed sizes.")
    deterministic: bool = setting(True, "Use only deterministic cuDNN algorithms.")


class TensorBoard(Section):
    enabled: bool = setting(False, "Write TensorBoard event files into the results folder.")
    infrequent_logging_frequency: Int = setting(
        2, "Epochs between two logs of images and histograms, 0 for never.", low=0
    )


class Train(Section):
    num_gpus: Int = setting(1, "Number of GPUs; ignored where the run is on the CPU.", low=1, popular=True)
    gpu_ids: list[Int] = setting([0], "Indices of the GPUs to use.", low=0, popular=True)
    num_nodes: Int = setting(1, "Number of machines that train together.", low=1, popular=True)
    device: Literal["auto", "cpu", "gpu"] = setting(
        "auto", "Where to compute; auto takes a GPU where there is one.", skillrun_only=True
    )
    threads: Int | None = setting(
        None, "CPU threads for computing; null lets the machine decide.", low=1, skillrun_only=True
    )
    seed: Int = setting(1234, "Seed of all random numbers; -1 leaves them unseeded.", low=-1)
    cudnn: Cudnn = section(Cudnn, "Choice of GPU convolution algorithms.")
    num_epochs: Int = setting(10, "Passes over the training pairs (epochs).", low=1, popular=True)
    max_minutes: Float | None = setting(
        None,
        "Wall time in minutes after which training stops cleanly with a checkpoint; null for no limit.",
        above=0.0,
        skillrun_only=True,
    )
    checkpoint_interval: Int = setting(
        1, "Epochs (or steps) between two checkpoints, at most num_epochs.", low=1, popular=True
    )
    checkpoint_interval_unit: Literal["epoch", "step"] = setting(
        "epoch", "Unit of checkpoint_interval: epochs or optimiser steps."
    )
    validation_interval: Int = setting(1, "Epochs between two validations, at most num_epochs.", low=1, popular=True)
    resume_training_checkpoint_path: OptionalText = setting(
        "", "Checkpoint file to continue training from, with optimiser state.", path=("file", "in")
    )
    pretrained_model_path: OptionalText = setting(
        "", "Checkpoint file whose weights start the training of the whole model.", path=("file", "in")
    )
    results_dir: OptionalText = setting(
        "", "Folder for the files of this action; empty means <results_dir>/train.", path=("dir", "out")
    )
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true"] = setting(
        "32-true", "Number format: full float32, mixed float16, mixed bfloat16 or pure bfloat16."
    )
    measure_latency: bool = setting(
        False, "Measure at the end how long one pair takes the network, as metric latency_ms.", skillrun_only=True
    )
    compile: bool = setting(False, "Compile the network with torch.compile before the first step.", skillrun_only=True)
    activation_checkpointing: bool = setting(
        False, "Recompute backbone blocks in the backward pass: less memory, about a third slower.", skillrun_only=True
    )
    sync_batchnorm: bool = setting(False, "Share batch statistics between GPUs.")
    use_distributed_sampler: bool = setting(False, "Split the pairs of an epoch between GPUs.")
    optim: Optim = section(Optim, "Optimiser and learning rate.")
    classify: ClassifyTraining = section(ClassifyTraining, "Loss of task classify.")
    segment: SegmentTraining = section(SegmentTraining, "Loss of task segment.")
    tensorboard: TensorBoard = section(TensorBoard, "Logs for TensorBoard.")


class Wandb(Section):
    enable: bool = setting(False, "Send metrics to Weights & Biases; needs network and a key.")
    project: str = setting("TAO Toolkit", "Project name at Weights & Biases.")
    entity: OptionalText = setting("", "Team or user name at Weights & Biases.")
    group: OptionalText = setting("", "Group that this run belongs to at Weights & Biases.")
    name: str = setting("TAO Toolkit Training", "Name of this run at Weights & Biases.")
    tags: list[str] = setting(["tao-toolkit"], "Tags of this run at Weights & Biases.")
    run_id: OptionalText = setting("", "Identifier of a run at Weights & Biases to continue.")
    reinit: bool = setting(False, "Allow several Weights & Biases runs in one process.")
    save_code: bool = setting(False, "Upload the source code to Weights & Biases.")
    sync_tensorboard: bool = setting(False, "Copy TensorBoard logs to Weights & Biases.")
