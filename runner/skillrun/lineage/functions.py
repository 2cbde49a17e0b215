"""The inference functions of a contract's ``spec_params``: how a key gets its value from the run and its parents.

Nothing is made or written here: a value that names an output is the place where the action will put it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skillrun.errors import NotFoundError, UsageError
from skillrun.inference_functions import INFERENCE_FUNCTIONS
from skillrun.lineage.candidates import model_files, seen
from skillrun.lineage.folders import Parent, find_parent
from skillrun.lineage.pick import pick_checkpoint
from skillrun.tao.checkpoints import checkpoints_in

ONLY_CHECKPOINT = "export.checkpoint"
_WORDS = {
    "onnx": ("ONNX file", "export"),
    "engine": ("TensorRT engine", "gen_trt_engine"),
    "quantized": ("quantized checkpoint", "quantize"),
}
Value = str | bool | None
_NEW_FILES = {
    "create_onnx_file": "model.onnx",
    "create_engine_file": "model.engine",
    "create_pth_file": "model.pth",
    "create_cal_cache": "cal.bin",
    "create_cal_data_file": "calibration.tensorfile",
    "create_inference_result_file": "inference.csv",
}


@dataclass(frozen=True)
class Context:
    """What the functions may look at.

    Attributes:
        results: results folder of the run that is prepared; it need not exist.
        key: the dotted key that gets the value; its name tells which kind of file it takes.
        parent: what the run starts from; None where no parent was named.
        pick: which checkpoint of the parent.
        ptm: path of staged weights.
        encryption_key: as the user gave it.
        trial: results folder of this trial of a search; resume_from: of the trial whose weights it goes on from.
    """

    results: Path
    key: str = ""
    parent: Parent | None = None
    pick: str = "best"
    ptm: str | None = None
    encryption_key: str | None = None
    trial: Path | None = None
    resume_from: Path | None = None


def model_of(reference: str, root: Path, pick: str = "best") -> Path:
    """The file to predict with: the named file itself, or the model that a run made or read.

    Args:
        reference: path of a file, or a parent as ``find_parent`` takes it.

    Raises:
        NotFoundError, UsageError, ConflictError: no such run or file, none that can be told, or it still runs.
    """
    file = Path(reference).expanduser()
    if file.is_file():
        return file.absolute()
    found = infer("parent_model", Context(root, "inference.checkpoint", find_parent(reference, root), pick))
    return Path(str(found))


def infer(name: str, context: Context) -> Value:
    """The value of an inference function; None where it has nothing to say and the key keeps its default.

    Raises:
        UsageError: no function has this name, or several files fit equally.
        NotFoundError: the parent does not hold what the key takes.
        ConflictError: the parent still runs.
    """
    if name in _NEW_FILES:
        return str(context.results / _NEW_FILES[name])
    function = _FUNCTIONS.get(name)
    if function is None:
        raise UsageError(
            "E_CONTRACT_FUNCTION",
            f"{context.key or 'spec_params'}: {name!r} is no inference function",
            f"write one of {', '.join(sorted(INFERENCE_FUNCTIONS))}",
        )
    return function(context)


def _kind(key: str) -> str:
    """What a key takes, by its name: ``onnx``, ``engine`` or ``checkpoint``."""
    leaf = key.rpartition(".")[2]
    return "engine" if leaf == "trt_engine" else "onnx" if leaf == "onnx_file" else "checkpoint"


def _parent_model(context: Context) -> str | None:
    """The parent's checkpoint; its ONNX or engine where the key takes one, or where it is all that it made.

    What takes an engine takes an ONNX file too, where the parent made no engine: ONNX Runtime then computes.
    """
    if context.parent is None:
        return None
    kind, its = _kind(context.key), made(context.parent)
    if kind == "checkpoint" and context.key != ONLY_CHECKPOINT:
        kind = its
    if kind == "engine" and its == "onnx":
        kind = "onnx"
    if kind != "checkpoint":
        return str(_only_file(context.parent, kind, context.key))
    return str(pick_checkpoint(context.parent, context.pick).path)


def made(parent: Parent) -> str:
    """What a parent offers: ``checkpoint``, ``onnx``, ``engine`` or ``quantized`` (a checkpoint of another kind)."""
    action = parent.action.removeprefix("segment_")
    if action == "quantize":
        return "onnx" if model_files(parent, "onnx") else "quantized"
    return {"export": "onnx", "gen_trt_engine": "engine", "trtexec": "engine"}.get(action, "checkpoint")


def _only_file(parent: Parent, kind: str, key: str) -> Path:
    parent.require_ended()
    found = model_files(parent, kind)
    what, action = _WORDS[kind]
    if not found:
        names = ", ".join(seen(parent)[:8]) or "nothing"
        raise NotFoundError(
            "E_PARENT_NO_MODEL",
            f"{parent.name} has no {what}; it holds {names}",
            f"name a run of {action} with --parent, or {key or 'KEY'}=PATH",
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:8])
        raise UsageError(
            "E_PARENT_AMBIGUOUS",
            f"{parent.name} has {len(found)} files that are a {what}: {names}",
            f"{key or 'KEY'}={found[0]}",
        )
    return found[0]


def _parent_model_folder(context: Context) -> str | None:
    """The folder of the parent's model; of one split into ``safetensors`` its merged twin, where that holds files."""
    model = _parent_model(context)
    if model is None:
        return None
    folder = Path(model).parent
    merged = folder.parent / "merged"
    is_split = folder.name == "safetensors" and merged.is_dir() and any(merged.iterdir())
    return str(merged if is_split else folder)


def _parent_model_or_ptm(context: Context) -> str | None:
    """Staged weights stand in for a parent that holds no checkpoint at all, never for one that can not be told."""
    try:
        return _parent_model(context) or context.ptm
    except NotFoundError as error:
        if context.ptm is None or error.code not in ("E_PARENT_NO_CHECKPOINT", "E_PARENT_NO_MODEL"):
            raise
        return context.ptm


def _parent_model_evaluate(context: Context) -> str | None:
    """An export that also built an engine is evaluated by it; every other parent by its own model."""
    parent = context.parent
    if parent is not None and made(parent) != "checkpoint" and model_files(parent, "engine"):
        return str(_only_file(parent, "engine", context.key))
    return _parent_model(context)


def _pruned_model(context: Context) -> str | None:
    folders = context.parent.folders if context.parent else ()
    found = [folder / "pruned_model.pth" for folder in folders if (folder / "pruned_model.pth").is_file()]
    return str(found[0]) if found else None


def _resume_in(*results: Path | None) -> str | None:
    """The newest whole checkpoint of the first folder that has one; a file that was cut short is passed over."""
    for root in filter(None, results):
        for folder in (root / "train", root):
            found = checkpoints_in(folder)
            if found:
                return str(found[-1].path)
    return None


def _resume(context: Context) -> str | None:
    return _resume_in(context.results)


def _trial_resume(context: Context) -> str | None:
    """A trial goes on from the trial it was told to, else from its own newest checkpoint."""
    return _resume_in(context.resume_from, context.trial or context.results)


_FUNCTIONS: Mapping[str, Callable[[Context], Value]] = {
    "output_dir": lambda context: str(context.results),
    "automl_output_dir": lambda context: str(context.trial or context.results),
    "key": lambda context: context.encryption_key or None,
    "ptm": lambda context: context.ptm,
    "parent_model": _parent_model,
    "parent_model_folder": _parent_model_folder,
    "parent_model_or_ptm": _parent_model_or_ptm,
    "parent_model_evaluate": _parent_model_evaluate,
    "pruned_model": _pruned_model,
    "resume_model": _resume,
    "resume_model_bool": lambda context: _resume(context) is not None,
    "resume_model_or_ptm": lambda context: _resume(context) or context.ptm,
    "ptm_if_no_resume_model": lambda context: None if _resume(context) else context.ptm,
    "automl_resume_model": _trial_resume,
    "automl_resume_model_bool": lambda context: _trial_resume(context) is not None,
    "automl_assign_ptm": lambda context: None if _trial_resume(context) else context.ptm,
    "automl_ptm_if_no_resume_model": lambda context: _trial_resume(context) or context.ptm,
}
