"""From a request and what the user said of the search to the settings of a study; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skillrun import lineage
from skillrun.automl import saved_request
from skillrun.automl.algorithms import process_missing
from skillrun.automl.budget import Budget, read_budget
from skillrun.automl.build import build_space
from skillrun.automl.earlier import earlier_epoch
from skillrun.automl.evaluations import WEIGHTS
from skillrun.automl.settings import LATENCY, SearchOptions, Settings
from skillrun.automl.slots import Slots
from skillrun.automl.study import FOLDER, StudyFolder, new_study_id
from skillrun.backends import Talk
from skillrun.datasets import is_address
from skillrun.errors import UsageError
from skillrun.lineage.choice import direction as usual_direction
from skillrun.overrides import flatten
from skillrun.preflight import check_data
from skillrun.prepare import Prepared, Request, prepare, spec_builder
from skillrun.runfolder import workspace
from skillrun.spec import path_keys

MONITOR = "train.optim.monitor_name"
SPEED = "train.measure_latency"
METRICS = {"classify": "val_ap", "segment": "val_iou_1"}
WAYS = {"less": "minimize", "more": "maximize"}
MARGIN = "model.classify.eval_margin"
WITHOUT_THRESHOLD = ("val_ap", "val_loss", "train_loss")
# Origins of values that the user did not type and that no trial may change.
_GIVEN = ("data set", "data of ", "--gpus", "--results")


def design(request: Request, options: SearchOptions, talk: Talk | None = None) -> Settings:
    """Decide a study. Every check of a plain training runs on the way: what can not train is not searched.

    Raises:
        SkillrunError: with code, place and fix.
    """
    _check(request)
    budget = read_budget(options.trials, options.epochs, options.time)
    root = workspace(request.workspace)
    request = replace(saved_request.standing(request), workspace=root)
    if request.parent:
        request = replace(request, parent=str(lineage.find_parent(request.parent, root).path))
    prepared = prepare(replace(request, automl=False, text=""), talk)
    if not _far(prepared):
        check_data(prepared.spec.values, prepared.plan.action, prepared.plan.waived)
    typed = _typed(prepared, request)
    metric, way = _goal(options, prepared, typed)
    second = LATENCY if "," in options.metric else ""
    per_trial = _gpus_of_one(prepared, typed)
    slots = Slots(request.host, options.jobs, per_trial, far=_far(prepared))
    study = StudyFolder(root / FOLDER / new_study_id())
    earlier = earlier_epoch(prepared.spec.values, prepared.plan.task, prepared.plan.backend, root)
    settings = Settings(
        study_id=study.study_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        cwd=str(Path.cwd()),
        request=request,
        action=prepared.plan.action,
        task=prepared.plan.task,
        space=_space(prepared, _fixed_for(metric, options, prepared), typed),
        algorithm=options.algorithm,
        seed=options.seed,
        budget=budget,
        metric=metric,
        direction=way,
        num_epochs=int(prepared.spec.get("train.num_epochs") or 1),
        jobs=options.jobs,
        per_trial=per_trial,
        first_rung=options.first_rung or 1,
        reduction=options.reduction,
        test_data=_place(options.test_data),
        keep_all=options.keep_all,
        outputs=_outputs(prepared, typed, request),
        process=not process_missing(),
        second=second,
        epoch_s=earlier.seconds if earlier else 0,
        epoch_run=earlier.run_id if earlier else "",
    )
    return _fitted(settings, options, prepared, typed, study, slots)


def _check(request: Request) -> None:
    if request.resume:
        raise UsageError(
            "E_AUTOML_RESUME",
            f"--resume {request.resume} goes on with one training, a search starts many",
            f"--no-automl, or to start the trials from its weights: --parent {request.resume}",
        )


def _typed(prepared: Prepared, request: Request) -> dict[str, Any]:
    """What the overrides of the command line say, by full key."""
    builder = spec_builder(prepared.plan.model, prepared.plan.action)
    builder.add_overrides(request.overrides)
    return builder.by_user()


def _fixed_for(metric: str, options: SearchOptions, prepared: Prepared) -> SearchOptions:
    """No threshold can change a metric that needs none; searching it would only blur the rest."""
    asked = any(text.partition("=")[0].strip() in (MARGIN, MARGIN.rpartition(".")[2]) for text in options.searches)
    there = MARGIN in prepared.builder.nodes and MARGIN not in options.freeze and not options.only
    if asked or not there or metric not in WITHOUT_THRESHOLD:
        return options
    return replace(options, freeze=(*options.freeze, MARGIN))


def _space(prepared: Prepared, options: SearchOptions, typed: Mapping[str, Any]) -> Any:
    values = flatten(prepared.spec.values, prepared.builder.nodes)
    origins = prepared.spec.origins
    weights = bool(prepared.spec.get(WEIGHTS))
    given = {key: values[key] for key in values if _is_given(key, str(origins.get(key, "")), weights=weights)}
    schema = prepared.builder.schema
    fixed = {**given, **typed}
    found = build_space(schema, prepared.plan.task, fixed, options.searches, options.only, options.freeze, values)
    if not found.params:
        raise UsageError(
            "E_AUTOML_EMPTY",
            "nothing is left to search: every key that AutoML searches is set, frozen or without a range",
            "--search train.optim.lr=1e-6..1e-3:log, or --no-automl",
        )
    return found


def _is_given(key: str, origin: str, *, weights: bool) -> bool:
    """Whether nobody typed a value and yet no trial may change it: data, and what the first weights are made for."""
    made_for = bool(lineage.contradictions({key: 0}, {key: 1}))
    return origin.startswith(_GIVEN) or (weights and made_for)


def _goal(options: SearchOptions, prepared: Prepared, typed: Mapping[str, Any]) -> tuple[str, str]:
    """Metric and direction; the metric also marks the best checkpoint of a trial, so both must agree."""
    metric = _first_metric(options.metric, prepared) or str(typed.get(MONITOR) or METRICS[prepared.plan.task])
    if MONITOR in typed and typed[MONITOR] != metric:
        raise UsageError(
            "E_AUTOML_METRIC",
            f"--metric {metric}, but {MONITOR}={typed[MONITOR]}: the best checkpoint would be another one",
            f"leave out {MONITOR}, or --metric {typed[MONITOR]}",
        )
    known = WAYS.get(usual_direction(metric) or "")
    marks = "minimize" if metric.endswith(("_loss", "_fpr")) else "maximize"
    asked = {"min": "minimize", "max": "maximize"}.get(options.direction, options.direction) or known or marks
    if asked not in WAYS.values():
        raise UsageError("E_AUTOML_DIRECTION", f"--direction {options.direction!r} is none of minimize, maximize", "")
    if asked != (known or marks) or asked != marks:
        raise UsageError(
            "E_AUTOML_DIRECTION",
            f"--direction {asked} contradicts {metric}, whose best checkpoint is the one that would {marks} it",
            f"leave out --direction, or name another --metric; usual: {METRICS[prepared.plan.task]}",
        )
    return metric, asked


def _first_metric(asked: str, prepared: Prepared) -> str:
    """The metric of the validation; the only one that may stand behind it is latency."""
    first, comma, second = (part.strip() for part in asked.partition(","))
    named = {"latency": LATENCY}
    if named.get(first, first) == LATENCY or (comma and named.get(second, second) != LATENCY):
        raise UsageError(
            "E_AUTOML_OBJECTIVES",
            f"--metric {asked}: a search has one metric of the validation, and may have latency beside it",
            f"--metric {METRICS[prepared.plan.task]},latency",
        )
    if comma and (prepared.plan.container == "tao" or SPEED not in prepared.builder.nodes):
        raise UsageError("E_AUTOML_OBJECTIVES", "this container measures no latency in a training", f"--metric {first}")
    return first


def _gpus_of_one(prepared: Prepared, typed: Mapping[str, Any]) -> int:
    """GPUs of one trial: as many as the spec names itself; ``--gpus`` names the pool of all trials."""
    if "train.num_gpus" in typed or "train.gpu_ids" in typed:
        return prepared.plan.gpu_count
    return 1


def _far(prepared: Prepared) -> bool:
    from skillrun.backends import get_backend

    return not get_backend(prepared.plan.backend).local_files


def _place(place: str) -> str:
    return place if not place or is_address(place) else str(Path(place).expanduser().absolute())


def _outputs(prepared: Prepared, typed: Mapping[str, Any], request: Request) -> dict[str, str]:
    """Folders for results that the user chose: trials must not share them."""
    ways = path_keys(prepared.builder.schema)
    user = prepared.builder.by_user()
    found = {
        key: str(prepared.spec.get(key))
        for key, value in {**user, **typed}.items()
        if value and ways.get(key, ("", ""))[1] == "out" and not key.endswith("cache_dir")
    }
    if request.results and not is_address(request.results):
        found["results_dir"] = str(request.results)
    return found


def _fitted(
    settings: Settings,
    options: SearchOptions,
    prepared: Prepared,
    typed: Mapping[str, Any],
    study: StudyFolder,
    slots: Slots,
) -> Settings:
    """With the overrides that follow from the search, and an algorithm that is checked against it."""
    extra = {MONITOR: settings.metric}
    if settings.second:
        extra[SPEED] = "true"
    cache = f"dataset.{settings.task}.cache_dir"
    if not prepared.spec.get(cache) and prepared.plan.container != "tao":
        extra[cache] = str(study.cache)
    if slots.threads and "train.threads" not in typed:
        extra["train.threads"] = str(slots.threads)
    rungs = settings.resolved().rungs
    every = int(prepared.spec.get("train.validation_interval") or 1)
    if rungs and "train.validation_interval" not in typed:
        extra["train.validation_interval"] = "1"
    elif rungs and settings.first_rung % every:
        if options.first_rung:
            raise UsageError(
                "E_AUTOML_RUNGS",
                f"trials are compared after {settings.first_rung} epochs and validated every {every}",
                f"--first-rung {every}, or leave out train.validation_interval",
            )
        settings = replace(settings, first_rung=every)
        settings.resolved()
    kept = {key: value for key, value in extra.items() if key in prepared.builder.nodes}
    return replace(settings, extra=tuple(f"{key}={value}" for key, value in kept.items()))


def extended(settings: Settings, trials: int, epochs: int, time_text: str) -> Settings:
    """The same study with a larger budget: what is given is added to what it had.

    Raises:
        UsageError: nothing is given, or the search is a grid, which is laid out for its size.
    """
    if not (trials or epochs or time_text):
        raise UsageError("E_AUTOML_BUDGET", "an extension needs a limit to raise", "--trials 10, or --time 30m")
    more, had = read_budget(trials, epochs, time_text), settings.budget
    if trials and settings.algorithm == "grid":
        raise UsageError(
            "E_AUTOML_GRID",
            f"the grid of {settings.study_id} is laid out for {had.trials} trials and can not grow",
            "a new search: --algorithm grid --trials N",
        )
    budget = Budget(
        had.trials + more.trials if had.trials or not trials else 0,
        had.epochs + more.epochs if had.epochs or not epochs else 0,
        had.seconds + more.seconds if had.seconds or not time_text else 0,
    )
    return replace(settings, budget=budget)
