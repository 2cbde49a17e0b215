"""Known failure texts of the published container, in the user's words. They choose the wording, never the state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Known:
    """A failure that is recognised. In message and fix ``{0}`` is a group of the pattern, ``{task}`` the task."""

    pattern: re.Pattern[str]
    code: str
    message: str
    fix: str
    retryable: bool = False


def _known(pattern: str, code: str, message: str, fix: str, *, retryable: bool = False) -> Known:
    return Known(re.compile(pattern, re.IGNORECASE), code, message, fix, retryable)


KNOWN: tuple[Known, ...] = (
    _known(
        r"Bus error|insufficient shared memory|out of shared memory|unable to (?:open|write).*shared memory",
        "E_RUN_SHARED_MEMORY",
        "a loader process ran out of shared memory",
        "give the container more: --shm-size 16g, or set dataset.{task}.workers=0",
        retryable=True,
    ),
    _known(
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError|CUDNN_STATUS_ALLOC_FAILED",
        "E_RUN_MEMORY",
        "a step needs more memory than the GPU has",
        "lower dataset.{task}.batch_size, or choose a free GPU: --gpus auto",
        retryable=True,
    ),
    _known(
        r"DataLoader worker .*(?:exited unexpectedly|killed by signal)",
        "E_RUN_LOADER",
        "a loader process died, most often for lack of memory",
        "lower dataset.{task}.workers, or give the container more memory",
        retryable=True,
    ),
    _known(
        r"No (?:supported gpu backend|CUDA GPUs are available)|Found no NVIDIA driver|no CUDA-capable device",
        "E_TAO_NO_GPU",
        "NVIDIA's container found no GPU, and it can not run without one",
        "skillrun doctor, then --gpus auto; without a GPU leave out --container tao",
    ),
    _known(
        r"(?:FileNotFoundError|File system error).*?((?:https?|hf|ngc)://?[^\s'\"]+)",
        "E_TAO_BACKBONE_URL",
        "model.backbone.pretrained_backbone_path is {0}, and NVIDIA's container reads local files only",
        "stage the file first and name it: model.backbone.pretrained_backbone_path=<file>",
    ),
    _known(
        r"(?:FileNotFoundError|File system error|No such file).*?([^\s'\"]*predict\.txt)",
        "E_TAO_LIST_MISSING",
        "the list {0} does not exist",
        "dataset.segment.predict_split=test, or write that list",
    ),
    _known(
        r"(?:Image file wasn't found at|No inference csv file was found at)\s+(\S.*)",
        "E_TAO_FILE_MISSING",
        "the container did not find {0}",
        "skillrun data check on the folder of the data; look at the mounts with --dry-run",
    ),
    _known(
        r"(?:FileNotFoundError|File system error).*?(?:No such file or directory|Errno 2\]):?\s*['\"]?([^'\"]+)"
        r"|FileNotFoundError:\s*(\S.*?) not found",
        "E_TAO_FILE_MISSING",
        "the container did not find {0}",
        "look at the mounts with --dry-run; the path must be an input of the spec",
    ),
    _known(
        r"Dataset size \((\d+)\) is smaller than the total batch size",
        "E_TAO_DATASET_SMALL",
        "NVIDIA's container refuses a list of {0} pairs that is shorter than one batch",
        "dataset.{task}.batch_size={0}",
    ),
    _known(
        r"num_samples should be a positive integer value|num_samples=0|unsupported operand type.*NoneType"
        r"|len\(\) of unsized object",
        "E_TAO_NO_SAMPLES",
        "NVIDIA's container read no samples, or a list with a single line",
        "skillrun data check; check dataset.classify.image_ext, and give each list two lines or more",
    ),
    _known(
        r"Contrastive loss only supports Euclidean",
        "E_TAO_LOSS",
        "train.classify.loss=contrastive goes with difference_module=euclidean only",
        "model.classify.difference_module=euclidean or train.classify.loss=ce, the same as in training: --parent RUN",
    ),
    _known(
        r"CE \(Cross Entropy\) loss only supports learnable",
        "E_TAO_LOSS",
        "train.classify.loss=ce goes with difference_module=learnable only",
        "model.classify.difference_module=learnable or train.classify.loss=contrastive, the same as in training: "
        "--parent RUN",
    ),
    _known(
        r"size mismatch for (\S+?):|Error\(s\) in loading state_dict|(?:Missing|Unexpected) key\(s\) in state_dict",
        "E_TAO_CHECKPOINT_MISMATCH",
        "the checkpoint does not fit the network of the spec ({0})",
        "take over backbone, task, loss and sizes from the run that trained it: --parent RUN",
    ),
    _known(
        r"current_epoch=(\d+),? but you have set Trainer\(max_epochs=\d+\)|MisconfigurationException.*max_epochs",
        "E_TAO_EPOCHS",
        "the checkpoint to go on from has reached the epochs asked for ({0})",
        "raise train.num_epochs, or start a new run without train.resume_training_checkpoint_path",
    ),
    _known(
        r"KeyError: ['\"](input_path|golden_path|label|object_name)['\"]",
        "E_TAO_CSV_COLUMN",
        "the CSV file has no column {0}",
        "skillrun data check shows the columns; they are input_path, golden_path, label, object_name",
    ),
    _known(
        r"Key ['\"]?(\S+?)['\"]? (?:is )?not in ",
        "E_TAO_KEY",
        "this release of NVIDIA's container does not know the key {0}",
        "leave {0} at its default, or choose a newer image",
    ),
    _known(
        r"shape ['\"]?\[.*\]['\"]? is invalid for input of size",
        "E_TAO_IMAGE_SIZE",
        "the image size does not fit the backbone in NVIDIA's container",
        "use 224 x 224 pixels with a C-RADIO backbone",
    ),
    _known(
        r"onnx file (\S+) already exists",
        "E_TAO_ONNX_EXISTS",
        "{0} exists already, and NVIDIA's container does not write over it",
        "export.onnx_file=<another file>",
    ),
    _known(
        r"You shouldn't freeze a model without specifying pretrained_backbone_path",
        "E_TAO_FREEZE",
        "model.backbone.freeze_backbone=true needs pretrained weights",
        "give model.backbone.pretrained_backbone_path, or model.backbone.freeze_backbone=false",
    ),
    _known(
        r"No space left on device",
        "E_RUN_DISK",
        "the disk is full",
        "make room in the workspace, then skillrun runs resume",
        retryable=True,
    ),
    _known(
        r"integer division or modulo by zero|ZeroDivisionError",
        "E_TAO_DIVISION",
        "NVIDIA's container divided by zero: no defective row in the training list, or policy step below 3 epochs",
        "skillrun data check; train.optim.policy=linear",
    ),
    _known(
        r"invalid choice: ['\"]?(quantize|\w+)['\"]?",
        "E_TAO_COMMAND",
        "this release of NVIDIA's container has no command {0}",
        "choose a newer image, or leave out --container tao",
    ),
)
_RAISED = re.compile(r"(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception)(?::|$)|ERROR:")
# What the launcher says after every run.
_NOISE = re.compile(r"Execution status|[Tt]elemetry|^\[Error\]|HYDRA_FULL_ERROR|^$")


def explain(lines: Sequence[str], task: str) -> dict[str, Any] | None:
    """The error of a run from the last lines of its log: the last known text, else the last exception; None for none.

    Args:
        lines: oldest first; colours and progress bars are taken off.
        task: ``classify`` or ``segment``, for the keys in a fix.
    """
    clean = list(_clean(lines))
    for line in reversed(clean):
        for known in KNOWN:
            if found := known.pattern.search(line):
                return _told(known, found, task)
    raised = [line for line in clean if _RAISED.match(line)]
    told = raised or [line for line in clean if not _NOISE.search(line)]
    if not told:
        return None
    return {"code": "E_TAO_FAILED", "message": told[-1][:500], "fix": "skillrun runs logs", "retryable": False}


def _told(known: Known, found: re.Match[str], task: str) -> dict[str, Any]:
    word = next((group for group in found.groups() if group), "see the log").rstrip(" .,")
    message, fix = (text.replace("{0}", word).replace("{task}", task) for text in (known.message, known.fix))
    return {"code": known.code, "message": f"{message}.", "fix": fix, "retryable": known.retryable}


def _clean(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        for part in line.splitlines():
            yield re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part).strip()
