"""The spec for NVIDIA's published container: the same run, in the keys and types that its configuration parses.

Nothing is changed in silence: what has to be written otherwise, and what that container does otherwise with the same
key, is said in a notice. Values that it can not run with are refused before a launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skillrun.overrides import get_dotted, leaves, set_dotted
from skillrun.tao.demands import differences, refuse

# Keys that the first releases do not know, with the default of the releases that do. At that default they are left
# out, so that all releases parse the spec.
LATER_KEYS: Mapping[str, Any] = {
    "model_name": "",
    "model.decode_head.use_summary_token": False,
    "dataset.classify.num_golden": 1,
    "train.checkpoint_interval_unit": "epoch",
    "train.precision": "32-true",
    "train.sync_batchnorm": False,
    "train.use_distributed_sampler": False,
    "export.format": "onnx",
    "export.serialize_nvdsinfer": False,
    "wandb.group": "",
    "wandb.run_id": "",
}


def tao_spec(values: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The spec for the published container, and what the user should know about it.

    Args:
        values: a nested spec that satisfies the schema and its rules, with container paths.
        schema: the packaged schema of the action.

    Returns:
        Nested plain values without any key marked ``x-skillrun-only``, and one sentence per difference.

    Raises:
        UsageError: a value with which the published container fails (codes ``E_TAO_...``).
    """
    flat: dict[str, Any] = {}
    notices: list[str] = []
    for key, node in leaves(schema):
        value = get_dotted(values, key) if _has(values, key) else node.get("default")
        if not node.get("x-skillrun-only"):
            flat[key] = _plain(value, node)
        elif (value or None) != (node.get("default") or None):
            notices.append(f"{key}={value} is skillrun's own: NVIDIA's container runs without it")
    refuse(flat)
    for write in (_gpu_ids, _batch_size, _tensorboard, _data_name, _export):
        notices += write(flat)
    notices += differences(flat)
    spec: dict[str, Any] = {}
    for key, value in flat.items():
        if not _left_out(key, value, flat):
            set_dotted(spec, key, value)
    return spec, tuple(notices)


def _has(values: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.rpartition(".")
    here = get_dotted(values, section) if section else values
    return isinstance(here, Mapping) and name in here


def _plain(value: Any, node: Mapping[str, Any]) -> Any:
    """A value in the one type that the published class has for the key.

    Its whole numbers refuse 8.0, its texts refuse null, and the names in its tables have to be texts.
    """
    types = node.get("type", [])
    kinds = {types} if isinstance(types, str) else set(types)
    if value is None:
        return "" if "string" in kinds else None
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(item, node.get("items", {})) for item in value]
    if isinstance(value, Mapping):
        inside: Mapping[str, Any] = next(iter(node.get("patternProperties", {}).values()), {})
        return {str(name): _plain(item, inside) for name, item in value.items()}
    return value


def _left_out(key: str, value: Any, flat: Mapping[str, Any]) -> bool:
    if key.startswith("wandb.") and key != "wandb.enable" and not flat["wandb.enable"]:
        return True
    return key in LATER_KEYS and value == LATER_KEYS[key]


def _gpu_ids(flat: dict[str, Any]) -> list[str]:
    """The published launcher takes the larger of the two where they disagree; say so and write it out."""
    notices = []
    for section in ("train", "evaluate", "inference"):
        count, ids = flat.get(f"{section}.num_gpus"), flat.get(f"{section}.gpu_ids")
        if count is None or ids is None or count == len(ids):
            continue
        wanted = max(count, len(ids))
        flat[f"{section}.num_gpus"] = wanted
        flat[f"{section}.gpu_ids"] = ids if len(ids) == wanted else list(range(wanted))
        notices.append(
            f"{section}.num_gpus={count} and {section}.gpu_ids={ids} disagree; written as {wanted} GPUs "
            f"{flat[f'{section}.gpu_ids']}"
        )
    return notices


def _batch_size(flat: dict[str, Any]) -> list[str]:
    """The published loaders read the batch size of the data set section only."""
    for section in ("evaluate", "inference"):
        key, of_data = f"{section}.batch_size", f"dataset.{flat['task']}.batch_size"
        if key not in flat or of_data not in flat:
            continue
        given = flat[key]
        if given is None:
            flat[key] = flat[of_data]
        elif given != flat[of_data]:
            flat[of_data] = given
            return [f"{of_data} is written as {given}, like {key}: NVIDIA's container reads that one only"]
    return []


def _tensorboard(flat: dict[str, Any]) -> list[str]:
    enabled, frequency = "train.tensorboard.enabled", "train.tensorboard.infrequent_logging_frequency"
    if enabled not in flat:
        return []
    epochs, given = flat["train.num_epochs"], flat[frequency]
    if flat["task"] == "segment" and flat[enabled]:
        flat[enabled] = False
        return [f"{enabled} is written as false: NVIDIA's container draws no images for masks; scores are still logged"]
    # It divides by the frequency even where the drawing is off.
    if given == 0 or (flat[enabled] and given > epochs):
        flat[frequency] = epochs
        return [f"{frequency}={given} is written as {epochs}: NVIDIA's container needs 1 to train.num_epochs"]
    return []


def _data_name(flat: dict[str, Any]) -> list[str]:
    key = "dataset.segment.data_name"
    if flat.get(key) != "LEVIR-CD":
        return []
    flat[key] = "LEVIR"
    return [f"{key}=LEVIR-CD is written as LEVIR, its name in NVIDIA's container"]


def _export(flat: dict[str, Any]) -> list[str]:
    """Size and file of the exported network, which the published container does not work out itself."""
    if "export.onnx_file" not in flat:
        return []
    height, width = _network_size(flat)
    flat["export.input_height"] = flat["export.input_height"] or height
    flat["export.input_width"] = flat["export.input_width"] or width
    if flat["export.onnx_file"]:
        return []
    folder = flat["export.results_dir"] or f"{flat['results_dir'].rstrip('/')}/export"
    flat["export.onnx_file"] = f"{folder.rstrip('/')}/model.onnx"
    return [f"export.onnx_file is written as {flat['export.onnx_file']}: NVIDIA's container has no default for it"]


def _network_size(flat: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) in pixels of one network input, all lights joined."""
    if flat["task"] == "segment":
        return flat["dataset.segment.img_size"], flat["dataset.segment.img_size"]
    data = {name: flat[f"dataset.classify.{name}"] for name in ("image_height", "image_width", "num_input")}
    if flat["dataset.classify.concat_type"] == "grid" and data["num_input"] % 2 == 0:
        rows, columns = flat["dataset.classify.grid_map.y"], flat["dataset.classify.grid_map.x"]
        return data["image_height"] * rows, data["image_width"] * columns
    return data["image_height"] * data["num_input"], data["image_width"]
