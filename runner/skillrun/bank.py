"""The bank: which models there are, what each action reads and writes, its schema and its template.

Everything is plain files below one root: ``schemas/<model>/`` and ``references/<model>/``. In a
checkout that is the repository, in an installed wheel the package folder ``skillrun/_bank``. No disk cache;
within a process each file is parsed once, so callers must not change what they get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun import signatures
from skillrun.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS = ("classify", "segment")
_MARK = ("schemas", "references")


@dataclass(frozen=True)
class Port:
    """One input or output of an action: a spec key that holds a path. ``kind`` is ``file`` or ``folder``."""

    key: str
    kind: str
    optional: bool


@dataclass(frozen=True)
class DataSource:
    """Where a spec key gets its path from when the user names a data set instead.

    ``source`` is ``train_datasets``, ``eval_dataset``, ``inference_dataset`` or ``calibration_dataset``.
    ``path`` is relative to the data set, empty for its root; ``runtime`` is ``extracted_folder`` or empty.
    """

    key: str
    source: str
    path: str
    runtime: str


@dataclass(frozen=True)
class ActionContract:
    """What ``skill_info.yaml`` says about one action.

    ``command`` holds ``{config_path}``; ``container`` is ``train`` or ``deploy``. ``container_image`` is the published
    image, ``own_image`` ours, both as keys of ``references/versions.yaml``. ``spec_params``
    maps a spec key to an inference function, or to a mapping with ``link`` and ``destination_path``.
    """

    name: str
    task: str
    container: str
    container_image: str
    own_image: str
    command: str
    mode: str
    config_format: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    data_sources: tuple[DataSource, ...]
    spec_params: Mapping[str, str | Mapping[str, str]]

    @property
    def subcommand(self) -> str:
        """The word after the program name, e.g. ``train`` for ``segment_train``."""
        return self.command.split()[1]


def is_bank(folder: Path) -> bool:
    """True for a folder that the runner could read its schemas and contracts from."""
    return all((folder / name).is_dir() for name in _MARK)


@cache
def bank_root() -> Path:
    """The folder that holds ``schemas`` and ``references``. It is verified here, where that is demanded, or nowhere.

    Raises:
        NotFoundError: neither a checkout nor packaged data surrounds this module.
        PreflightError: ``E_BANK_UNVERIFIED``: a signature is demanded, and there is none that holds.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "_bank", *here.parents):
        if is_bank(folder):
            signatures.demand(folder)
            return folder
    raise NotFoundError(
        "E_BANK_MISSING",
        f"No folder with schemas and references was found around {here}.",
        "Reinstall the package: pip install --force-reinstall skillrun",
    )


@cache
def models() -> tuple[str, ...]:
    """Names of all models, sorted."""
    return tuple(sorted(path.parent.name for path in (bank_root() / "references").glob("*/skill_info.yaml")))


@cache
def skill_info(model: str) -> dict[str, Any]:
    """The parsed contract of a model. Raises NotFoundError for an unknown model."""
    if model not in models():
        raise NotFoundError(
            "E_MODEL_UNKNOWN",
            f"There is no model {model!r}{_meant(model, models())}.",
            f"Choose one of: {', '.join(models())}",
        )
    info: dict[str, Any] = load_yaml(bank_root() / "references" / model / "skill_info.yaml")
    return info


def actions(model: str) -> tuple[str, ...]:
    """Names of all actions of a model, in the order of its contract."""
    return tuple(skill_info(model)["actions"])


def resolve_action(model: str, action: str, task: str | None = None) -> str:
    """The action that a user means: ``train`` with task ``segment`` is ``segment_train``.

    A name with a task in it needs no task. Dashes are read as underscores.

    Raises:
        NotFoundError: no such action; names the nearest ones.
        UsageError: the task is unknown, or the name says one task and ``task`` another.
    """
    if task is not None and task not in TASKS:
        raise UsageError(
            "E_TASK_UNKNOWN",
            f"There is no task {task!r}{_meant(task, TASKS)}.",
            "--task classify or --task segment",
        )
    known = actions(model)
    name = action.replace("-", "_")
    twin = f"segment_{name}"
    if task == "segment" and twin in known:
        return twin
    if name not in known:
        raise NotFoundError(
            "E_ACTION_UNKNOWN",
            f"{model} has no action {action!r}{_meant(name, known)}.",
            f"Choose one of: {', '.join(known)}",
        )
    if task == "classify" and name.startswith("segment_"):
        raise UsageError(
            "E_TASK_CONFLICT",
            f"Action {name} belongs to task segment, but task classify was asked for.",
            f"Use {name.removeprefix('segment_')}, or leave the task out.",
        )
    return name


@cache
def contract(model: str, action: str) -> ActionContract:
    """The contract of one action. Raises NotFoundError for an unknown action."""
    name = resolve_action(model, action)
    info = skill_info(model)
    raw = info["actions"][name]
    return ActionContract(
        name=name,
        task=raw["task"],
        container=raw["container"],
        container_image=raw.get("container_image", info["container_image"]),
        own_image=info["own_images"][raw["container"]],
        command=raw["command"],
        mode=raw["mode"],
        config_format=raw["config_format"],
        inputs=_ports(raw["inputs"]),
        outputs=_ports(raw["outputs"]),
        data_sources=tuple(
            DataSource(key, rule["source"], rule["path"], rule.get("runtime", ""))
            for key, rule in info["data_sources"].get(name, {}).items()
        ),
        spec_params=info["spec_params"].get(name, {}),
    )


def _ports(raw: Mapping[str, Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(key, port["type"], bool(port.get("optional", False))) for key, port in raw.items())


@cache
def shorthand(model: str, action: str) -> dict[str, str]:
    """Short name → spec key for one action, e.g. ``num_epochs`` → ``train.num_epochs``.

    The table of the task goes over the common one, that of the action over both; only keys of the action.
    """
    name = resolve_action(model, action)
    info = skill_info(model)
    overrides = info.get("spec_shorthand_overrides", {})
    task = info["actions"][name]["task"]
    table = info["spec_shorthand_keys"] | overrides.get(task, {}) | overrides.get(name, {})
    known = keys(model, name)
    return {alias: key for alias, key in table.items() if key in known}


@cache
def schema(model: str, action: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an action's spec. Raises NotFoundError where it is not packaged."""
    import json

    parsed: dict[str, Any] = json.loads(_read(schema_path(model, action)))
    return parsed


def schema_path(model: str, action: str) -> Path:
    """File of an action's schema; it may be missing."""
    return bank_root() / "schemas" / model / f"{resolve_action(model, action)}.schema.json"


@cache
def template(model: str, action: str) -> str:
    """The commented YAML template of an action's spec. Raises NotFoundError where it is not packaged."""
    return _read(template_path(model, action))


def template_path(model: str, action: str) -> Path:
    """File of an action's template; it may be missing."""
    name = resolve_action(model, action)
    return bank_root() / "references" / model / str(skill_info(model)["spec_templates"][name])


def defaults(model: str, action: str) -> dict[str, Any]:
    """The nested default spec of an action, as a fresh copy."""
    import copy

    default: dict[str, Any] = copy.deepcopy(schema(model, action)["default"])
    return default


@cache
def keys(model: str, action: str) -> frozenset[str]:
    """Dotted keys of all leaves that an action reads."""
    return frozenset(_leaf_keys(schema(model, action), ""))


@cache
def all_keys(model: str) -> frozenset[str]:
    """Dotted keys of all leaves of all actions of a model."""
    return frozenset[str]().union(*(keys(model, action) for action in actions(model)))


@cache
def manifest(model: str) -> dict[str, Any]:
    """The parsed ``schemas/<model>/manifest.json``."""
    import json

    parsed: dict[str, Any] = json.loads(_read(bank_root() / "schemas" / model / "manifest.json"))
    return parsed


def train_schema_present(model: str, action: str = "train") -> bool:
    """True where the schema and the template of the train action exist and parse: AutoML can run."""
    import json

    import yaml

    try:
        parsed = json.loads(_read(schema_path(model, action)))
        return isinstance(parsed, dict) and isinstance(load_yaml(template_path(model, action)), dict)
    except (NotFoundError, ValueError, yaml.YAMLError):
        return False


def load_yaml(path: Path) -> Any:
    """Parse a YAML file with the safe loader, in C where PyYAML was built with it."""
    import yaml

    return yaml.load(_read(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _leaf_keys(node: Mapping[str, Any], prefix: str) -> Iterable[str]:
    for name, child in node["properties"].items():
        if "properties" in child:
            yield from _leaf_keys(child, f"{prefix}{name}.")
        else:
            yield prefix + name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise NotFoundError(
            "E_BANK_FILE_MISSING",
            f"The bank file {path} can not be read: {error.strerror}.",
            "skillrun bank generate",
        ) from error


def _meant(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}" if near else ""
