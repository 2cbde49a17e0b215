"""Parents through the whole preparation of a run: what every action takes from them, and which layer has the word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.data.synth import synth
from skillrun.datasets import DataSources
from skillrun.errors import ConflictError, NotFoundError, SkillrunError, UsageError
from skillrun.inference_functions import INFERENCE_FUNCTIONS
from skillrun.overrides import set_dotted
from skillrun.prepare import Prepared, Request, prepare
from skillrun.runfolder import RunFolder, write_atomic
from skillrun.specfile import dump_spec

MODEL = "visual_changenet"
GEOMETRY = {
    "model.backbone.type": "fan_small_12_p4_hybrid",
    "model.backbone.pretrained_backbone_path": "/gone/weights.pth",
    "dataset.classify.image_width": 96,
    "dataset.classify.image_height": 64,
    "dataset.classify.batch_size": 7,
    "dataset.segment.img_size": 96,
    "train.num_epochs": 99,
    "train.classify.cls_weight": [1.0, 3.0],
}
CHECKPOINTS: list[dict[str, Any]] = [
    {"epoch": 0, "step": 10, "metrics": {"val_loss": 0.5}, "sha256": "aa"},
    {"epoch": 1, "step": 20, "metrics": {"val_loss": 0.1}, "sha256": "bb", "best": True},
    {"epoch": 2, "step": 30, "metrics": {"val_loss": 0.3}, "sha256": "cc", "last": True},
]
# What each action is given as parent, without the task's prefix.
PARENT_OF = {
    "train": "train",
    "evaluate": "train",
    "inference": "train",
    "export": "train",
    "quantize": "train",
    "gen_trt_engine": "export",
    "trt_evaluate": "gen_trt_engine",
    "trt_inference": "gen_trt_engine",
}


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plan needs neither engine nor hub."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@dataclass(frozen=True)
class Line:
    """A workspace with runs that have ended: a training, an export and a build of an engine, of both tasks."""

    folder: Path

    def run(self, action: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / f"261120-120000-{action}-aa")

    def checkpoint(self, epoch: int, action: str = "train") -> Path:
        return self.run(action).path / "results" / "train" / file_name(CHECKPOINTS[epoch])

    def sources(self, action: str) -> DataSources:
        """The data sets that an action reads, of its task."""
        contract = bank.contract(MODEL, action)
        split = {"train_datasets": "train", "eval_dataset": "eval", "inference_dataset": "eval"}
        read = {rule.source for rule in contract.data_sources} & split.keys()
        if contract.task == "segment":
            return DataSources(**dict.fromkeys(read, self.folder / "pairs"))
        return DataSources(**{source: self.folder / "boards" / split[source] for source in read})

    def lay(self, action: str, spec: Mapping[str, Any], *, files: Mapping[str, str]) -> RunFolder:
        """A run that succeeded, with files of the given kinds."""
        run = self.run(action)
        run.path.mkdir(parents=True)
        task = bank.contract(MODEL, action).task
        run.write_record(run_id=run.run_id, action=action, task=task, backend="local", handle={"pid": 1})
        run.exit.write_text(json.dumps({"exit_code": 0}), encoding="utf-8")
        run.spec.write_text(dump_spec(spec), encoding="utf-8")
        entries: list[dict[str, Any]] = []
        for name, kind in files.items():
            path = run.results / action.removeprefix("segment_") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"model")
            entries.append({"path": str(path.relative_to(run.path)), "kind": kind})
        result: dict[str, Any] = {"status": "succeeded", "artifacts": entries}
        if action.endswith("train"):
            told = zip(entries, CHECKPOINTS, strict=True)
            result = {
                "status": "succeeded",
                "checkpoints": [{**numbers, "path": entry["path"]} for entry, numbers in told],
            }
        run.result.write_text(json.dumps(result), encoding="utf-8")
        return run


def file_name(entry: Mapping[str, Any]) -> str:
    return f"model_epoch_{entry['epoch']:03}_step_{entry['step']:05}.pth"


def recorded(action: str, results: Path) -> dict[str, Any]:
    values = bank.defaults(MODEL, action)
    for key, value in {**GEOMETRY, "results_dir": str(results)}.items():
        if key in bank.keys(MODEL, action):
            set_dotted(values, key, value)
    return values


FILES = {
    "train": {file_name(entry): "checkpoint" for entry in CHECKPOINTS},
    "export": {"model.onnx": "onnx", "labels.txt": "labels"},
    "gen_trt_engine": {"model.engine": "engine"},
}


@pytest.fixture
def line(workspace: Path) -> Line:
    synth(workspace / "boards", pairs=8, size=32, seed=1)
    synth(workspace / "pairs", pairs=8, size=32, seed=1, task="segment")
    found = Line(workspace)
    for prefix in ("", "segment_"):
        for action, files in FILES.items():
            values = recorded(prefix + action, found.run(prefix + action).results)
            found.lay(prefix + action, values, files=files)
    return found


def prepared(line: Line, action: str, *overrides: str, **changes: Any) -> Prepared:
    """An action with all data sets of its task, on a backend that it can have here."""
    found = bank.contract(MODEL, action)
    request = Request(
        MODEL,
        action,
        overrides=overrides,
        sources=line.sources(action),
        automl=False if action.endswith("train") else None,
        backend="docker" if found.container == "deploy" else "local",
        workspace=line.folder,
        **changes,
    )
    return prepare(request)


def parent_of(line: Line, action: str) -> RunFolder:
    prefix = "segment_" if action.startswith("segment_") else ""
    return line.run(prefix + PARENT_OF[action.removeprefix("segment_")])


def model_of(parent: RunFolder) -> str:
    """The one file that an action takes from each of the laid-out parents."""
    kind = parent.run_id.split("-")[2].removeprefix("segment_")
    name = {"train": file_name(CHECKPOINTS[1]), "export": "model.onnx", "gen_trt_engine": "model.engine"}[kind]
    return str(parent.results / kind / name)


def refused(kind: type[SkillrunError], line: Line, action: str, *overrides: str, **changes: Any) -> SkillrunError:
    before = set(line.folder.rglob("*"))
    with pytest.raises(kind) as caught:
        prepared(line, action, *overrides, **changes)
    assert caught.value.fix
    assert set(line.folder.rglob("*")) == before, "nothing is written"
    return caught.value


# --- every action, every function of its contract -----------------------------------------------------------------


@pytest.mark.parametrize("action", bank.actions(MODEL))
def test_every_key_that_the_contract_infers_gets_its_value(action: str, line: Line) -> None:
    parent = parent_of(line, action)
    made = prepared(line, action, "encryption_key=mine", parent=parent.run_id)
    results = Path(made.plan.run_dir) / "results"
    inferred = {
        "output_dir": str(results),
        "key": "mine",
        "parent_model": model_of(parent),
        "create_onnx_file": str(results / "model.onnx"),
        "create_engine_file": str(results / "model.engine"),
        "resume_model": "",  # a new run has nothing of its own to go on from
    }
    rules = bank.contract(MODEL, action).spec_params
    assert rules
    for key, rule in rules.items():
        if isinstance(rule, Mapping):
            assert not made.spec.get(key), "with a parent nothing is staged: its checkpoint brings all weights"
            continue
        assert rule in INFERENCE_FUNCTIONS
        assert (made.spec.get(key) or "") == inferred[rule], key
    assert not results.exists()


@pytest.mark.parametrize("action", bank.actions(MODEL))
def test_every_action_records_its_parent_and_takes_its_geometry(action: str, line: Line) -> None:
    parent = parent_of(line, action)
    made = prepared(line, action, parent=parent.run_id)
    assert made.plan.parent is not None
    assert made.plan.parent["run_id"] == parent.run_id
    assert made.plan.parent["checkpoint"] == model_of(parent)
    assert made.plan.parent["reason"]
    assert model_of(parent) in made.plan.spec_text
    taken = ("model.", "dataset.", "train.classify.")
    host = ("_path", ".batch_size")
    for key in GEOMETRY.keys() & bank.keys(MODEL, action) & bank.keys(MODEL, parent.run_id.split("-")[2]):
        if key.startswith(taken) and not key.endswith(host):
            assert made.spec.get(key) == GEOMETRY[key], key
            assert parent.run_id in made.spec.origins[key]
        else:
            assert made.spec.get(key) != GEOMETRY[key], key


@pytest.mark.parametrize("prefix", ["", "segment_"])
def test_a_container_reads_the_parents_file_at_a_place_of_its_own(prefix: str, line: Line) -> None:
    action = f"{prefix}trt_evaluate"
    plan = prepared(line, action, parent=parent_of(line, action).run_id).plan
    engine = model_of(parent_of(line, action))
    mounts = [mount for mount in plan.mounts if mount.source == engine]
    assert len(mounts) == 1
    assert mounts[0].read_only
    assert mounts[0].target in plan.container_spec_text
    assert engine not in plan.container_spec_text


def test_a_task_needs_no_word_where_the_parent_has_one(line: Line) -> None:
    request = Request(
        MODEL,
        "evaluate",
        sources=line.sources("segment_evaluate"),
        parent=line.run("segment_train").run_id,
        backend="local",
        workspace=line.folder,
    )
    assert prepare(request).plan.action == "segment_evaluate"


@pytest.mark.parametrize(
    ("action", "parent", "code"),
    [
        ("gen_trt_engine", "train", "E_PARENT_NO_MODEL"),
        ("gen_trt_engine", "gen_trt_engine", "E_PARENT_NO_MODEL"),
        ("trt_evaluate", "train", "E_PARENT_NO_MODEL"),
        ("export", "export", "E_PARENT_NO_CHECKPOINT"),
    ],
)
def test_a_parent_of_the_wrong_kind_is_refused_by_what_it_holds(
    action: str, parent: str, code: str, line: Line
) -> None:
    error = refused(NotFoundError, line, action, parent=line.run(parent).run_id)
    assert error.code == code
    assert line.run(parent).run_id in error.message
    assert next(iter(FILES[parent])) in error.message


@pytest.mark.parametrize(
    ("action", "key"),
    [
        ("evaluate", "evaluate.checkpoint"),
        ("inference", "inference.checkpoint"),
        ("trt_evaluate", "evaluate.trt_engine"),
        ("trt_inference", "inference.trt_engine"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "segment_"])
def test_what_measures_or_scores_takes_the_onnx_file_of_an_export(
    prefix: str, action: str, key: str, line: Line
) -> None:
    export = line.run(f"{prefix}export")
    assert prepared(line, prefix + action, parent=export.run_id).spec.get(key) == model_of(export)


def test_two_models_in_one_parent_are_listed_with_what_to_type(line: Line) -> None:
    run = line.run("export")
    (run.results / "export" / "other.onnx").write_bytes(b"model")
    run.result.write_text(json.dumps({"status": "succeeded"}), encoding="utf-8")
    error = refused(UsageError, line, "gen_trt_engine", parent=run.run_id)
    assert error.code == "E_PARENT_AMBIGUOUS"
    assert "model.onnx" in error.message
    assert "other.onnx" in error.message
    assert error.fix.startswith("gen_trt_engine.onnx_file=")


# --- which checkpoint ----------------------------------------------------------------------------------------------

PICKS = {"": 1, "best": 1, "last": 2, "epoch=0": 0, "epoch=2": 2, "step=20": 1}


@pytest.mark.parametrize(("pick", "epoch"), PICKS.items(), ids=lambda value: str(value) or "nothing")
@pytest.mark.parametrize("action", ["evaluate", "export", "quantize"])
def test_a_pick_leads_to_its_checkpoint_and_the_reason_says_which(
    action: str, pick: str, epoch: int, line: Line
) -> None:
    made = prepared(line, action, parent=line.run("train").run_id, pick=pick)
    assert made.plan.parent is not None
    assert made.plan.parent["checkpoint"] == str(line.checkpoint(epoch))
    assert made.plan.parent["sha256"] == CHECKPOINTS[epoch]["sha256"]
    assert (pick or "best") in made.plan.parent["reason"]


@pytest.mark.parametrize(
    ("pick", "kind", "fix"),
    [
        ("epoch=7", NotFoundError, "--pick best"),
        ("newest", UsageError, "--pick best"),
        ("epoch=", UsageError, "--pick"),
    ],
)
def test_a_pick_that_is_not_there_is_refused(pick: str, kind: type[SkillrunError], fix: str, line: Line) -> None:
    error = refused(kind, line, "evaluate", parent=line.run("train").run_id, pick=pick)
    assert error.code == "E_PARENT_PICK"
    assert fix in error.fix


def test_a_parent_that_still_runs_is_not_taken(line: Line) -> None:
    run = line.run("train")
    for proof in (run.exit, run.result):
        proof.unlink()
    write_atomic(run.supervisor, json.dumps({"pid": 1, "started": "1", "host": "another host"}))
    error = refused(ConflictError, line, "evaluate", parent=run.run_id)
    assert (error.code, error.retryable) == ("E_PARENT_RUNNING", True)


# --- a training that starts from another one, or goes on -----------------------------------------------------------


def test_a_training_starts_from_the_best_weights_of_its_parent(line: Line) -> None:
    made = prepared(line, "train", "num_epochs=3", parent=line.run("train").run_id)
    assert made.spec.get("train.pretrained_model_path") == str(line.checkpoint(1))
    assert not made.spec.get("train.resume_training_checkpoint_path")
    assert made.spec.get("train.num_epochs") == 3
    assert made.plan.parent is not None
    assert made.plan.parent["relation"] == "parent"
    assert made.plan.weights is None


def test_a_training_that_goes_on_keeps_everything_it_was_given(line: Line) -> None:
    values = recorded("train", line.run("train").results)
    for key, path in (("train_dataset", "boards/train"), ("validation_dataset", "boards/eval")):
        set_dotted(values, f"dataset.classify.{key}.csv_path", str(line.folder / path / "dataset.csv"))
        set_dotted(values, f"dataset.classify.{key}.images_dir", str(line.folder / path / "images"))
    set_dotted(values, "model.backbone.pretrained_backbone_path", "")
    line.run("train").spec.write_text(dump_spec(values), encoding="utf-8")
    request = Request(
        MODEL,
        "train",
        overrides=("num_epochs=120",),
        resume=line.run("train").run_id,
        automl=False,
        backend="local",
        workspace=line.folder,
    )
    made = prepare(request)
    assert made.spec.get("train.resume_training_checkpoint_path") == str(line.checkpoint(2))
    assert made.spec.get("train.num_epochs") == 120
    assert made.spec.get("dataset.classify.batch_size") == 7
    assert made.spec.get("dataset.classify.train_dataset.csv_path") == str(line.folder / "boards/train/dataset.csv")
    assert made.spec.get("results_dir") == str(Path(made.plan.run_dir) / "results"), "its results are its own"
    assert made.plan.parent is not None
    assert made.plan.parent["relation"] == "resume"
    assert not Path(made.plan.run_dir).exists()


@pytest.mark.parametrize("action", ["evaluate", "export", "trt_evaluate"])
def test_only_a_training_goes_on(action: str, line: Line) -> None:
    assert refused(UsageError, line, action, resume=line.run("train").run_id).code == "E_RESUME"


def test_a_folder_and_a_run_of_another_action_are_no_training_to_go_on_with(line: Line) -> None:
    folder = line.run("train").results
    for other in (str(folder), line.run("export").run_id):
        error = refused(UsageError, line, "train", resume=other)
        assert error.code == "E_RESUME"
        assert "--parent" in error.fix


def test_parent_and_resume_exclude_each_other(line: Line) -> None:
    run = line.run("train").run_id
    assert refused(UsageError, line, "train", parent=run, resume=run).code == "E_PARENT_TWICE"


# --- layers --------------------------------------------------------------------------------------------------------


def explained(made: Prepared) -> dict[str, tuple[Any, str]]:
    return {key: (value, origin) for key, value, origin in made.builder.explain(made.spec)}


def test_later_layers_win_and_each_key_says_where_its_value_came_from(line: Line) -> None:
    file = line.folder / "mine.yaml"
    lines = (
        "evaluate: {checkpoint: /mine.pth}",
        "dataset: {classify: {batch_size: 3, image_ext: .bmp}}",
        "train: {classify: {cls_weight: [9.0, 9.0]}}",
        "model: {classify: {eval_margin: 0.4}}",
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    run = line.run("train").run_id
    overrides = ("model.classify.eval_margin=0.7", "dataset.classify.workers=0")
    found = explained(prepared(line, "evaluate", *overrides, parent=run, spec_file=file))
    parent = f"parent {run}"
    assert found["model.classify.eval_margin"] == (0.7, "argument 'model.classify.eval_margin=0.7'")
    assert found["dataset.classify.workers"] == (0, "argument 'dataset.classify.workers=0'")
    value, origin = found["evaluate.checkpoint"]
    assert value == str(line.checkpoint(1)), "what is inferred wins over a spec file"
    assert origin.startswith(f"{parent} (best of 3: epoch 1 val_loss 0.1")
    assert found["dataset.classify.image_ext"] == (".png", "data set")
    assert found["train.classify.cls_weight"] == ([1.0, 3.0], parent)
    assert found["dataset.classify.image_width"] == (96, parent)
    assert found["dataset.classify.batch_size"][0] == 3
    assert "mine.yaml" in found["dataset.classify.batch_size"][1]
    assert found["results_dir"][1] == "run folder"
    assert found["evaluate.num_gpus"][1] == "template"


def test_an_argument_wins_over_the_parents_checkpoint(line: Line) -> None:
    own = line.checkpoint(0)
    made = prepared(line, "evaluate", f"evaluate.checkpoint={own}", parent=line.run("train").run_id)
    assert made.spec.get("evaluate.checkpoint") == str(own)
    assert explained(made)["evaluate.checkpoint"][1].startswith("argument ")


@pytest.mark.parametrize("by", ["argument", "spec file"])
@pytest.mark.parametrize("action", ["train", "evaluate", "inference", "export", "quantize"])
def test_what_contradicts_the_checkpoint_is_refused_field_by_field(action: str, by: str, line: Line) -> None:
    said: tuple[str, ...] = ("model.backbone.type=fan_tiny_8_p4_hybrid", "dataset.classify.image_width=128")
    changes: dict[str, Any] = {}
    if by == "spec file":
        text = "model: {backbone: {type: fan_tiny_8_p4_hybrid}}\ndataset: {classify: {image_width: 128}}\n"
        changes["spec_file"] = line.folder / "mine.yaml"
        changes["spec_file"].write_text(text, encoding="utf-8")
        said = ()
    error = refused(UsageError, line, action, *said, parent=line.run("train").run_id, **changes)
    assert error.code == "E_PARENT_CONTRADICTS"
    assert [row.split() for row in error.details] == [
        ["field", "parent", "asked"],
        ["dataset.classify.image_width", "96", "128"],
        ["model.backbone.type", "'fan_small_12_p4_hybrid'", "'fan_tiny_8_p4_hybrid'"],
    ]


def test_repeating_what_the_parent_has_is_no_contradiction(line: Line) -> None:
    overrides = ("model.backbone.type=fan_small_12_p4_hybrid", "dataset.classify.image_width=96")
    assert prepared(line, "evaluate", *overrides, parent=line.run("train").run_id).plan.parent
