"""``skillrun <model> <action>``: plan, launch and watch; also its schemas, templates and resolved specs."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli import check, predict
from skillrun.cli.options import Json, Offline, Workspace
from skillrun.cli.output import Output
from skillrun.cli.search_options import with_search, without_search

if TYPE_CHECKING:
    from skillrun.plan import Plan
    from skillrun.prepare import Prepared, Request

ACTIONS = {
    "train": "Train; ends with a checkpoint, metrics and the next command.",
    "evaluate": "Measure a checkpoint on labelled pairs.",
    "inference": "Score unlabelled pairs.",
    "export": "Write the model as ONNX.",
    "quantize": "Write a smaller model.",
    "gen_trt_engine": "Build a TensorRT engine.",
    "trt_evaluate": "Measure an engine on labelled pairs.",
    "trt_inference": "Score pairs with an engine.",
}
DEPLOY = ("gen_trt_engine", "trt_evaluate", "trt_inference")

Search = Any  # filled in by `with_search`, no option of its own
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Spec values, e.g. num_epochs=5 train.optim.lr=1e-4."),
]
ActionName = Annotated[str, typer.Argument(metavar="ACTION", help="e.g. train or segment_evaluate.")]
Task = Annotated[str, typer.Option("--task", help="classify (default) or segment.")]
SpecFile = Annotated[
    Path | None,
    typer.Option("--spec", "-e", metavar="FILE", help="Spec file; its values win over the template."),
]
TrainData = Annotated[str, typer.Option("--train-data", metavar="DIR|URL", help="Data set to train on.")]
EvalData = Annotated[str, typer.Option("--eval-data", metavar="DIR|URL", help="Data set to measure on.")]
InferData = Annotated[str, typer.Option("--infer-data", metavar="DIR|URL", help="Data set to score.")]
CalibrationData = Annotated[
    str, typer.Option("--calibration-data", metavar="DIR|URL", help="Images to calibrate with.")
]
Parent = Annotated[
    str,
    typer.Option("--parent", metavar="RUN|DIR", help="Take model and geometry from this run; 'last' works."),
]
Resume = Annotated[
    str,
    typer.Option("--resume", metavar="RUN", help="Go on with this training in a new run, e.g. with more num_epochs."),
]
Pick = Annotated[
    str, typer.Option("--pick", help="Which checkpoint: best (default), last (default of --resume), epoch=N, step=N.")
]
Automl = Annotated[bool | None, typer.Option("--automl/--no-automl", help="Search, or train once.")]
Text = Annotated[str, typer.Option("--request", help="The user's own words; they may turn AutoML off for this run.")]
BackendName = Annotated[str, typer.Option("--backend", help="auto, local or docker.")]
Container = Annotated[str, typer.Option("--container", help="Whose image: skillrun, or tao for NVIDIA's.")]
Image = Annotated[str, typer.Option("--image", help="Container image instead of the model's own.")]
Pull = Annotated[str, typer.Option("--pull", help="Fetch the image: never, missing or always.")]
Gpus = Annotated[str, typer.Option("--gpus", help="auto, none, all, a count, ids (0,1) or UUIDs.")]
WaitGpu = Annotated[str, typer.Option("--wait-gpu", metavar="TIME", help="Wait for free GPUs, e.g. 30m.")]
ShmSize = Annotated[str, typer.Option("--shm-size", help="Shared memory of a container, e.g. 8g.")]
Memory = Annotated[str, typer.Option("--memory", help="Memory limit of a container, e.g. 16g.")]
Cpus = Annotated[str, typer.Option("--cpus", help="Processors of a container, e.g. 4.")]
Ulimit = Annotated[
    list[str] | None, typer.Option("--ulimit", metavar="NAME=SOFT[:HARD]", help="Limit of a container; repeatable.")
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME[=VALUE]", help="Variable for the run, e.g. OMP_NUM_THREADS=4; no secrets."),
]
Network = Annotated[str, typer.Option("--network", help="Network of a container; none by default.")]
Results = Annotated[
    str, typer.Option("--results", metavar="DIR|URL", help="Folder for the results, or where they are sent at the end.")
]
Force = Annotated[bool, typer.Option("--force", help="export: write over an ONNX file that exists.")]
MaxDrop = Annotated[
    str,
    typer.Option("--max-drop", metavar="SHARE", help="quantize: largest accepted loss, e.g. 0.5% or 0.005."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; start and write nothing.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show each key's value and where it came from; start nothing.")
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for the run.")]


def group(model: str) -> typer.Typer:
    """The commands of one model."""
    app = typer.Typer(help=f"Actions of {model}: train, evaluate, inference and more.", no_args_is_help=True)
    for action, words in ACTIONS.items():
        app.command(action, help=words)(_action_command(model, action))
        if action not in DEPLOY:
            app.command(f"segment_{action}", help=f"{words} (segment)", hidden=True)(
                _action_command(model, f"segment_{action}")
            )
    app.command("predict")(predict.command(model))
    _inspect_commands(app, model)
    return app


def launcher_group(model: str, *, deploy: bool = False) -> typer.Typer:
    """The documented launcher's spelling of the same actions: no AutoML, the spec in ``-e``."""
    app = typer.Typer(help=f"Actions of {model}.", no_args_is_help=True)
    names = {"gen_trt_engine": "gen_trt_engine", "evaluate": "trt_evaluate", "inference": "trt_inference"}
    spelled = names if deploy else {name: name for name in ACTIONS if name not in DEPLOY}
    for name, action in spelled.items():
        app.command(name, help=ACTIONS[action])(_launcher_command(model, action))
    return app


def _launcher_command(model: str, action: str) -> Any:
    def command(
        overrides: Overrides = None,
        spec: SpecFile = None,
        json: Json = False,
        workspace: Workspace = None,
        dry_run: DryRun = False,
    ) -> None:
        from skillrun.prepare import Request

        automl = False if action == "train" else None
        request = Request(
            model,
            action,
            overrides=tuple(overrides or ()),
            spec_file=spec,
            automl=automl,
            workspace=workspace,
        )
        _go(request, Output(json), dry_run=dry_run, explain=False, detach=False)

    return command


def _action_command(model: str, action: str) -> Any:
    trains = action.removeprefix("segment_") == "train"

    def command(
        overrides: Overrides = None,
        task: Task = "",
        spec: SpecFile = None,
        train_data: TrainData = "",
        eval_data: EvalData = "",
        infer_data: InferData = "",
        calibration_data: CalibrationData = "",
        parent: Parent = "",
        resume: Resume = "",
        pick: Pick = "",
        automl: Automl = None,
        request_text: Text = "",
        backend: BackendName = "auto",
        container: Container = "skillrun",
        image: Image = "",
        pull: Pull = "missing",
        gpus: Gpus = "auto",
        wait_gpu: WaitGpu = "",
        shm_size: ShmSize = "",
        memory: Memory = "",
        cpus: Cpus = "",
        ulimit: Ulimit = None,
        env: Env = None,
        network: Network = "",
        offline: Offline = False,
        force: Force = False,
        max_drop: MaxDrop = "",
        results: Results = "",
        workspace: Workspace = None,
        dry_run: DryRun = False,
        explain: Explain = False,
        check_only: check.Check = False,
        fix: check.Fix = False,
        waive: check.Waive = None,
        sarif: check.Sarif = "",
        detach: Detach = False,
        json: Json = False,
        search: Search = None,
    ) -> None:
        from skillrun.datasets import DataSources
        from skillrun.hostoptions import HostOptions
        from skillrun.prepare import Request, searches

        request = Request(
            model=model,
            action=action,
            task=task,
            overrides=(*(overrides or ()), *_gates(force, max_drop)),
            spec_file=spec,
            sources=DataSources(train_data, eval_data, infer_data, calibration_data),
            parent=parent,
            resume=resume,
            pick=pick,
            offline=offline,
            automl=automl,
            text=request_text,
            backend=backend,
            container=container,
            image=image,
            host=HostOptions(
                gpus, wait_gpu, shm_size, memory, cpus, tuple(ulimit or ()), tuple(env or ()), network, pull
            ),
            results=results,
            workspace=workspace,
            waive=tuple(waive or ()),
        )
        output = Output(json)
        if check_only or sarif:
            return check.check(request, output, check.CheckOptions(fix, sarif))
        if fix:
            request = check.mended(request, output)
        if trains and search and not explain and searches(request):
            return _search(request, search, output, dry_run=dry_run, detach=detach)
        return _go(request, output, dry_run=dry_run, explain=explain, detach=detach)

    return with_search(command) if trains else without_search(command)


def _search(request: Request, search: Any, output: Output, *, dry_run: bool, detach: bool) -> None:
    from skillrun.cli.automl import search as run

    options, yes = search
    run(request, options(), output, dry_run=dry_run, yes=yes, detached=detach)


def _gates(force: bool, max_drop: str) -> list[str]:
    """Options that are spec keys with a name of their own."""
    share = f"{float(max_drop[:-1]) / 100:g}" if re.fullmatch(r"[0-9.]+%", max_drop) else max_drop
    return [*(["export.overwrite=true"] if force else []), *([f"quantize.max_drop={share}"] if share else [])]


def _go(request: Request, output: Output, *, dry_run: bool, explain: bool, detach: bool) -> None:
    from skillrun.cli.launch_talk import LaunchTalk
    from skillrun.launch import launch
    from skillrun.prepare import prepare

    with LaunchTalk(output) as talk:
        prepared = prepare(request, talk)
    if explain:
        return _show_explained(prepared, output)
    if dry_run:
        return _show_plan(prepared, output)
    for notice in prepared.plan.notices:
        output.say(f"note: {notice}")
    if prepared.plan.parent:
        output.say(_from_parent(prepared.plan.parent))
    with LaunchTalk(output) as talk:
        run = launch(prepared.plan, talk)
    if prepared.plan.automl and prepared.plan.automl["state"] == "off":
        output.say(f"AutoML off: {prepared.plan.automl['reason']}")
    where = f" on the {prepared.plan.backend} backend ({prepared.backend_reason})" if prepared.backend_reason else ""
    output.say(f"run {run.run_id} started in {run.path}{where}")
    if detach:
        output.data({"run_id": run.run_id, "run_dir": str(run.path), "state": "launched"}, run.run_id)
        return output.hint(f"skillrun runs attach {run.run_id}")
    from skillrun.cli.attach import attach
    from skillrun.cli.outcome import say_outcome

    return say_outcome(attach(run, output), output)


def _from_parent(parent: dict[str, Any]) -> str:
    how = "goes on with" if parent["relation"] == "resume" else "takes"
    return f"{how} {Path(parent['checkpoint']).name} of {parent['run_id']}: {parent['reason']}"


def _show_explained(prepared: Prepared, output: Output) -> None:
    rows = [(key, json_module.dumps(value), origin) for key, value, origin in prepared.builder.explain(prepared.spec)]
    output.table("keys", ("key", "value", "from"), rows, "no keys")


def _show_plan(prepared: Prepared, output: Output) -> None:
    from skillrun.backends import get_backend

    plan = prepared.plan
    rendering = get_backend(plan.backend).render(plan)
    why = f": {prepared.backend_reason}" if prepared.backend_reason else ""
    lines = [
        f"would run   {plan.action} of {plan.model} on the {plan.backend} backend{why}  (nothing was started)",
        f"command     {' '.join(plan.argv)}",
        f"run folder  {plan.run_dir}",
        f"results     {plan.results_dir}",
        f"AutoML      {plan.automl['state']}: {plan.automl['reason']}"
        if plan.automl
        else "AutoML      not for this action",
        f"plan hash   {plan.plan_hash}",
        *(_origin_lines(plan)),
        *(_container_lines(plan) if plan.user else _path_lines(plan)),
        *(f"note        {notice}" for notice in plan.notices),
        *(f"waived      {code}" for code in plan.waived),
        "",
        (plan.container_spec_text or plan.spec_text).rstrip(),
    ]
    if "docker_run" in rendering:
        lines += ["", "# the same by hand:", rendering["docker_run"]]
    output.data({"plan": plan.model_dump(mode="json"), "request": rendering}, "\n".join(lines))


def _origin_lines(plan: Plan) -> list[str]:
    """The parent, and the weights that are staged."""
    lines = [f"parent      {_from_parent(plan.parent)}"] if plan.parent else []
    if plan.weights:
        there = "is here" if Path(plan.weights["path"]).is_file() else "would be fetched"
        size = f"{plan.weights['size'] / 1e6:.0f} MB, sha256 {plan.weights['sha256'][:12]}…"
        lines.append(f"weights     {plan.weights['source']} ({size}) {there}")
    return lines


def _path_lines(plan: Plan) -> list[str]:
    return [f"{'reads' if mount.read_only else 'writes':<11} {mount.source}" for mount in plan.mounts]


def _container_lines(plan: Plan) -> list[str]:
    """Image, devices and the table of host and container paths."""
    limits = [f"{name} {value}" for name, value in plan.resources.items()]
    devices = "no GPU" if plan.gpus == "none" else f"GPUs {plan.gpus} ({plan.gpu_count} for the run)"
    width = max(len(mount.source) for mount in plan.mounts)
    return [
        f"image       {plan.image}",
        f"with        {', '.join([devices, f'shared memory {plan.shm_size}', f'network {plan.network}', *limits])}",
        f"as user     {plan.user}",
        f"{'':<11} {'on the host':<{width}}  in the container",
        *(
            f"{'reads' if mount.read_only else 'writes':<11} {mount.source:<{width}}  {mount.target}"
            for mount in plan.mounts
        ),
    ]


def _inspect_commands(app: typer.Typer, model: str) -> None:
    @app.command()
    def schema(
        action: ActionName,
        task: Task = "",
        keys: Annotated[bool, typer.Option("--keys", help="Only the keys, their types and defaults.")] = False,
        json: Json = False,
    ) -> None:
        """The JSON schema of an action."""
        from skillrun import bank
        from skillrun.overrides import leaves

        found = bank.schema(model, bank.resolve_action(model, action, task or None))
        if keys:
            rows = [(key, node.get("type"), json_module.dumps(node.get("default"))) for key, node in leaves(found)]
            return Output(json).table("keys", ("key", "type", "default"), rows, "no keys")
        return Output(json).data({"schema": found}, json_module.dumps(found, indent=2, ensure_ascii=False))

    @app.command()
    def template(action: ActionName, task: Task = "", json: Json = False) -> None:
        """The commented spec template of an action."""
        from skillrun import bank

        text = bank.template(model, bank.resolve_action(model, action, task or None))
        Output(json).data({"template": text}, text.rstrip())

    @app.command()
    def spec(
        action: ActionName,
        overrides: Overrides = None,
        task: Task = "",
        spec_file: SpecFile = None,
        explain: Explain = False,
        json: Json = False,
    ) -> None:
        """The resolved spec of an action: template, spec file and key=value, checked; no data needed."""
        from skillrun import bank
        from skillrun.preflight.schema_rules import resolve
        from skillrun.prepare import spec_builder
        from skillrun.specfile import SpecText, read_spec

        given = read_spec(spec_file) if spec_file else SpecText({})
        builder = spec_builder(
            model, bank.resolve_action(model, action, task or str(given.values.get("task") or "") or None)
        )
        if spec_file:
            builder.add_file(given)
        builder.add_overrides(overrides or [])
        resolved = resolve(builder)
        if explain:
            rows = [(key, json_module.dumps(value), origin) for key, value, origin in builder.explain(resolved)]
            return Output(json).table("keys", ("key", "value", "from"), rows, "no keys")
        for notice in resolved.notices:
            Output(json).say(f"note: {notice}")
        return Output(json).data({"spec": resolved.values}, resolved.text().rstrip())
