"""From a request to a plan: the corridor's rooms in their order, nothing started and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from skillrun import bank, datasets, lineage, policy
from skillrun.backends import Quiet, Talk
from skillrun.errors import NotFoundError, PreflightError, UsageError
from skillrun.hostoptions import HostOptions
from skillrun.plan import Plan
from skillrun.planning import Origins, Place, find_place, gpu_values, make_plan
from skillrun.preflight import waivable
from skillrun.preflight.schema_rules import resolve
from skillrun.progress import Progress
from skillrun.runfolder import RunFolder, check_writable, list_runs, new_run_id, workspace
from skillrun.spec import NOT_GIVEN, ResolvedSpec, SpecBuilder, path_keys
from skillrun.specfile import SpecText, read_spec
from skillrun.staging.backbone import KEY as BACKBONE
from skillrun.staging.backbone import add_backbone
from skillrun.watch import status


@dataclass(frozen=True)
class Request:
    """What a user, an agent or a program asks for. Empty fields mean "not said".

    Attributes:
        action: one of the model's actions; with ``task="segment"`` its segment twin is taken.
        overrides: ``key=value`` texts, typed by the schema; shorthand keys allowed.
        parent: run id, unique beginning, folder, or ``last``; its model and geometry are taken over.
        resume: likewise a training that goes on, in a run of its own and with everything that it was given.
        pick: which checkpoint; empty for the best of a parent, the last of a training that goes on.
        offline: no request to any server; what is not here already is an error.
        automl: True, False or None (not said); ``text`` is the user's own wording, for the policy.
        container: whose image a container backend runs: ``skillrun`` or ``tao``; ``image`` names another one.
        results: folder for the results, instead of the run's own ``results/``; or an address to which the run's
            folder is sent at the end.
        waive: codes of findings of the preflight that must not refuse the launch.
    """

    model: str
    action: str
    task: str = ""
    overrides: tuple[str, ...] = ()
    spec_file: Path | None = None
    sources: datasets.DataSources = field(default_factory=datasets.DataSources)
    parent: str = ""
    resume: str = ""
    pick: str = ""
    offline: bool = False
    automl: bool | None = None
    text: str = ""
    backend: str = "auto"
    container: str = "skillrun"
    image: str = ""
    host: HostOptions = field(default_factory=HostOptions)
    results: Path | str = ""
    workspace: Path | None = None
    waive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "waive", tuple(self.waive))  # JSON has lists only


@dataclass(frozen=True)
class Prepared:
    """A plan with the spec it came from, where each value came from, and why this backend where that was left open."""

    plan: Plan
    spec: ResolvedSpec
    builder: SpecBuilder
    backend_reason: str


def prepare(request: Request, talk: Talk | None = None) -> Prepared:
    """Resolve everything and build the plan.

    Raises:
        SkillrunError: with code, place and fix; nothing has been written.
    """
    root = workspace(request.workspace)
    given = read_spec(request.spec_file) if request.spec_file else SpecText({})
    wish = _wish(request, root)
    action = bank.resolve_action(request.model, request.action, _task(request, given, wish) or None)
    contract = bank.contract(request.model, action)
    builder = spec_builder(request.model, action)
    place = find_place(request, contract)
    _check_deploy(action, place)
    run = RunFolder(root / "runs" / new_run_id(action))
    here, talk = place.backend.local_files, talk or Quiet()
    bring = partial(_bring_data, offline=request.offline, here=here, show=partial(talk.fetched, "data"))
    parent = _add_layers(builder, request, given, wish, contract, run, bring)
    show = partial(talk.fetched, "weights")
    weights = add_backbone(builder, contract.spec_params, here=here, offline=request.offline, show=show)
    spec = resolve(builder)
    staged = {BACKBONE} if weights else set()
    _require_inputs(contract.inputs, spec, action, root, here=here, staged=staged)
    check_writable(Path(spec.get("results_dir")), what="the results folder")
    check_writable(run.path, what="the workspace")
    decision = _policy(request, action)
    plan = make_plan(request, run, spec, builder.schema, contract, place, Origins(parent, weights))
    changes = {
        "automl": decision.to_json() if decision else None,
        "waived": waivable(request.waive) if request.waive else (),
        "notices": (*plan.notices, *(lineage.told(spec, wish.parent) if wish else ()), *_policy_notices(decision)),
    }
    return Prepared(plan.model_copy(update=changes).hashed(), spec, builder, place.reason)


def _wish(request: Request, root: Path) -> lineage.Wish | None:
    if request.parent and request.resume:
        raise UsageError(
            "E_PARENT_TWICE",
            f"--parent {request.parent} starts anew from weights, --resume {request.resume} goes on: not both",
            f"--resume {request.resume}",
        )
    if request.resume:
        return lineage.Wish(lineage.find_parent(request.resume, root), "resume", request.pick)
    return lineage.Wish(lineage.find_parent(request.parent, root), "parent", request.pick) if request.parent else None


def _add_layers(
    builder: SpecBuilder,
    request: Request,
    given: SpecText,
    wish: lineage.Wish | None,
    contract: bank.ActionContract,
    run: RunFolder,
    bring: Callable[[str], Path],
) -> dict[str, Any] | None:
    """All layers but the staged weights, in the documented order; returns what the plan records of the parent."""
    lineage.add_outputs(builder, contract.spec_params, run.results)
    if request.spec_file:
        builder.add_file(given)
    if wish:
        lineage.add_recorded(builder, wish)
    _add_data(builder, request.sources.brought(bring), contract.data_sources)
    parent = lineage.add_files(builder, wish, contract.spec_params, run.results) if wish else None
    if request.results and not datasets.is_address(request.results):
        builder.add("--results", {"results_dir": str(Path(request.results).expanduser().absolute())})
    builder.add_overrides(request.overrides)
    if builder.latest("results_dir")[0] in (None, "", NOT_GIVEN):
        builder.add("run folder", {"results_dir": str(run.results)})
    _add_addresses(builder, bring)
    if wish:
        lineage.add_margin(builder, wish, contract.spec_params, run.path.parent)
    builder.add(f"--gpus {request.host.gpus}", gpu_values(contract.subcommand, request.host.gpus))
    if wish:
        lineage.check_asked(builder, wish)
    return parent


def spec_builder(model: str, action: str) -> SpecBuilder:
    """A builder over the packaged schema of an action."""
    return SpecBuilder(action, bank.schema(model, action), bank.shorthand(model, action), bank.all_keys(model))


def _task(request: Request, given: SpecText, wish: lineage.Wish | None) -> str:
    """``--task`` wins, then ``task=`` among the overrides, the spec file, the parent; classify else."""
    if request.task:
        return request.task
    for text in reversed(request.overrides):
        if text.startswith("task="):
            return text.removeprefix("task=").strip("\"'")
    if isinstance(given.values.get("task"), str):
        return str(given.values["task"])
    return wish.parent.task if wish else ""


def _check_deploy(action: str, place: Place) -> None:
    """Engines are built by TensorRT alone; what reads one has ONNX Runtime to fall back on."""
    if action.endswith("gen_trt_engine") and not place.in_container:
        import importlib.util

        if importlib.util.find_spec("tensorrt") is None:
            raise PreflightError(
                "E_DEPLOY_NO_TENSORRT",
                "TensorRT actions need NVIDIA's TensorRT libraries, which are not on this host",
                "evaluate the ONNX file instead: skillrun visual_changenet evaluate --parent RUN",
            )


def _bring_data(url: str, *, offline: bool, here: bool, show: Callable[[Progress], None]) -> Path:
    """A data set behind an address, as a folder of the content cache; raises what ``remote.fetch`` raises."""
    from skillrun.remote import fetch

    if not here:
        raise UsageError(
            "E_REMOTE_ELSEWHERE",
            f"{url.partition('://')[0]}://... would be fetched to this host, but the engine is on another",
            "name the folder as the engine's host knows it",
        )
    return fetch(url, datasets.cache_root(), offline=offline, show=show)


def _add_addresses(builder: SpecBuilder, bring: Callable[[str], Path]) -> None:
    """Spec keys that read a file or folder and name an address; weights have a staging of their own."""
    for key, (_, direction) in path_keys(builder.schema).items():
        value, origin = builder.latest(key)
        if direction == "in" and key != BACKBONE and datasets.is_address(value):
            builder.add(f"{origin}, fetched", {key: str(bring(value))})


def _add_data(builder: SpecBuilder, sources: datasets.DataSources, rules: Sequence[bank.DataSource]) -> None:
    """Paths of the named data sets, and the image extension where the folders hold only one."""
    paths = datasets.resolve_sources(rules, sources)
    values: dict[str, Any] = dict(paths)
    if "dataset.classify.image_ext" in builder.nodes:
        folders = sorted({path for key, path in paths.items() if key.endswith(".images_dir")})
        found = {datasets.only_extension(Path(folder)) for folder in folders}
        if len(found) == 1 and (extension := found.pop()):
            values["dataset.classify.image_ext"] = extension
    builder.add("data set", values)


def _require_inputs(
    inputs: Sequence[bank.Port], spec: ResolvedSpec, action: str, root: Path, *, here: bool, staged: Container[str]
) -> None:
    """Every required input has a value; it exists, where the run sees the files of this host and it is not staged."""
    for port in inputs:
        key, value = port.key, spec.get(port.key)
        if not value or value == NOT_GIVEN:
            if not port.optional:
                raise UsageError("E_SPEC_REQUIRED", f"{action} needs {key}", _how_to_give(key, root))
        elif here and key not in staged and not Path(str(value)).exists() and "://" not in str(value):
            raise NotFoundError(
                "E_SPEC_PATH",
                f"{spec.origins.get(key, '')}: {key}={str(value)!r} does not exist",
                f"{key}=PATH",
            )


def _how_to_give(key: str, root: Path) -> str:
    flags = {
        "train_dataset": "--train-data FOLDER",
        "validation_dataset": "--eval-data FOLDER",
        "test_dataset": "--eval-data FOLDER",
        "infer_dataset": "--infer-data FOLDER",
        "root_dir": "--train-data FOLDER (train), --eval-data (evaluate) or --infer-data (inference)",
    }
    for part, flag in flags.items():
        if part in key:
            return f"{flag}, or {key}=PATH"
    if key.endswith(("checkpoint", "model_path", "onnx_file", "trt_engine")):
        for run in list_runs(root):
            found = status(run)
            if found.action.endswith("train") and found.state == "succeeded":
                return f"--parent {found.run_id}"
        return f"--parent RUN (after a train run), or {key}=PATH"
    return f"{key}=PATH"


def searches(request: Request) -> bool:
    """Whether a training of this request is a search (`skillrun.automl`) and not one run."""
    task = _task(request, read_spec(request.spec_file) if request.spec_file else SpecText({}), None)
    decision = _policy(request, bank.resolve_action(request.model, request.action, task or None))
    return decision is not None and decision.state == "on"


def _policy(request: Request, action: str) -> policy.Decision | None:
    if not action.endswith("train"):
        if request.automl:
            raise UsageError("E_ARG_AUTOML", f"{action} can not search: AutoML belongs to train", "leave out --automl")
        return None
    if request.resume:
        if request.automl:
            raise UsageError("E_ARG_AUTOML", "--resume goes on with one training", "leave out --automl, or --resume")
        return policy.Decision("off", "--resume goes on with one training", "flag")
    return policy.resolve(
        request.automl,
        request.text,
        automl_enabled=bool(bank.skill_info(request.model).get("automl_enabled")),
        schema_present=bank.train_schema_present(request.model, action),
    )


def _policy_notices(decision: policy.Decision | None) -> list[str]:
    if decision and decision.state == "blocked":
        return [decision.reason + "; training once"]
    return []
