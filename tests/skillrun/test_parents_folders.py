"""Plain results folders as parents, the inference functions over them, and ``skillrun parents``."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from skillrun.backends.supervisor import identity
from skillrun.cli.parents import parents
from skillrun.errors import ConflictError, NotFoundError, SkillrunError, UsageError
from skillrun.inference_functions import INFERENCE_FUNCTIONS
from skillrun.lineage import (
    Context,
    Parent,
    contradictions,
    explain,
    find_parent,
    infer,
    inherited,
    pick_checkpoint,
    refuse_contradictions,
)
from skillrun.lineage.choice import direction
from skillrun.runfolder import RunFolder, write_atomic

SPEC = """\
task: classify
results_dir: /results
model:
  backbone: {type: c_radio_v2_vit_base_patch16_224, pretrained_backbone_path: null}
dataset:
  classify:
    image_width: 96
    input_map: {LowAngle: 0, Side: 1}
    num_golden: null
    batch_size: 4
    cls: ???
    validation_dataset: {csv_path: /data/eval.csv}
train:
  optim: {monitor_name: MONITOR}
"""


def torch_file(path: Path) -> Path:
    """A file in the format that torch writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", "weights")
    return path


def container_status(folder: Path, epochs: Sequence[Mapping[str, float]], mode: str = "train") -> None:
    """``status.json`` as the published container appends it; ``kpi`` sticks."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = [{"status": "STARTED", "message": f"Starting Visual ChangeNet {mode}."}]
    for number, kpi in enumerate(epochs):
        loop = {"epoch": number, "step": number, "max_epoch": len(epochs) - 1, "kpi": dict(kpi)}
        lines.append({"status": "RUNNING", "message": "Eval metrics generated.", "kpi": dict(kpi)})
        lines.append({"status": "RUNNING", "message": "Training loop in progress", **loop})
        lines.append({"status": "RUNNING", "message": "Train metrics generated.", "kpi": {"train_loss": 1.0}})
    stamp = {"date": "1/2/2026", "time": "1:2:3", "verbosity": "INFO"}
    text = "".join(json.dumps({**stamp, **line}) + "\n" for line in lines)
    (folder / "status.json").write_text(text, encoding="utf-8")


def trained(folder: Path, epochs: Sequence[Mapping[str, float]], monitor: str = "val_loss") -> Path:
    """A train folder of the published container: one checkpoint an epoch, link, status, recorded spec."""
    container_status(folder, epochs)
    for number in range(len(epochs)):
        newest = torch_file(folder / f"model_epoch_{number:03}_step_{2 * number + 2:05}.pth")
    if epochs:
        (folder / "changenet_model_classify_latest.pth").symlink_to(newest.name)
    (folder / "experiment.yaml").write_text(SPEC.replace("MONITOR", monitor), encoding="utf-8")
    return folder


def losses(*values: float) -> list[dict[str, float]]:
    return [{"val_loss": value} for value in values]


def folder_parent(folder: Path) -> Parent:
    return find_parent(str(folder), folder.parent)


@pytest.fixture
def results(hostile_dir: Path) -> Path:
    return hostile_dir / "best latest epoch_500"


def test_best_is_by_the_number_in_the_status_file_and_says_so(results: Path) -> None:
    found = pick_checkpoint(folder_parent(trained(results, losses(0.5, 0.2, 0.4))))
    assert found.path == results / "model_epoch_001_step_00004.pth"
    assert found.reason.startswith("best of 3 by val_loss (less is better): epoch 1 val_loss 0.2")
    assert found.run_id == str(results)


def test_the_results_folder_above_the_actions_folder_will_do(results: Path) -> None:
    trained(results / "train", losses(0.5, 0.2))
    assert pick_checkpoint(folder_parent(results)).path.parent == results / "train"


def test_best_follows_the_recorded_monitor_and_its_direction(results: Path) -> None:
    kpis = [{"val_loss": 0.1, "val_miou": 0.5}, {"val_loss": 0.9, "val_miou": 0.8}]
    found = pick_checkpoint(folder_parent(trained(results, kpis, "val_miou")))
    assert found.entry == {}
    assert "epoch 1 val_miou 0.8" in found.reason
    assert "more is better" in found.reason


def test_of_two_equally_good_ones_the_later_is_taken_and_said(results: Path) -> None:
    found = pick_checkpoint(folder_parent(trained(results, losses(0.2, 0.2, 0.4))))
    assert found.path.name == "model_epoch_001_step_00004.pth"
    assert "2 are equally good, the later one is taken" in found.reason


def test_last_is_where_the_link_leads(results: Path) -> None:
    trained(results, losses(0.5, 0.2, 0.4))
    assert pick_checkpoint(folder_parent(results), "last").path.name == "model_epoch_002_step_00006.pth"
    link = results / "changenet_model_classify_latest.pth"
    link.unlink()
    link.symlink_to("model_epoch_000_step_00002.pth")
    assert pick_checkpoint(folder_parent(results), "last").path.name == "model_epoch_000_step_00002.pth"


def test_a_folder_with_only_a_copied_latest_gives_that(results: Path) -> None:
    torch_file(results / "changenet_model_segment_latest.pth")
    assert pick_checkpoint(folder_parent(results)).path.name == "changenet_model_segment_latest.pth"


def test_two_files_of_the_same_epoch_and_step_are_listed_with_what_to_type(results: Path) -> None:
    for name in ("model_epoch_003_step_00010.pth", "epoch=3-step=10.ckpt"):
        torch_file(results / name)
    for pick in ("last", "epoch=3", "step=10", "best"):
        with pytest.raises(UsageError, match=r"model_epoch_003_step_00010\.pth") as caught:
            pick_checkpoint(folder_parent(results), pick)
        assert "epoch=3-step=10.ckpt" in caught.value.message
        assert caught.value.code == "E_PARENT_AMBIGUOUS"
        assert "checkpoint=" in caught.value.fix


def test_a_folder_without_checkpoints_says_what_it_holds(results: Path) -> None:
    container_status(results, [])
    (results / "model_epoch_000_step_00002.pth").write_bytes(b"half")
    with pytest.raises(NotFoundError, match=r"model_epoch_000_step_00002\.pth \(not whole\), status\.json"):
        pick_checkpoint(folder_parent(results))


def test_what_is_neither_run_nor_folder_is_refused(hostile_dir: Path) -> None:
    for reference in ("nowhere", str(hostile_dir / "nowhere"), "~nobody/x", "a\0b", "x" * 5000):
        with pytest.raises(NotFoundError):
            find_parent(reference, hostile_dir)


@pytest.mark.parametrize(
    ("metric", "way"),
    {
        "val_loss": "less",
        "val_fpr": "less",
        "val_iou_loss": "less",
        "classification_error": "less",
        "false_alarm": "less",
        "val_acc": "more",
        "val_ap": "more",
        "val_miou": "more",
        "val_iou_1": "more",
        "val_F1_1": "more",
        "average_precision": "more",
        "val_flap": None,
        "best": None,
    }.items(),
)
def test_the_direction_is_read_from_whole_words_of_the_name(metric: str, way: str | None) -> None:
    assert direction(metric) == way


def test_geometry_comes_from_the_recorded_spec_without_paths_and_empty_values(results: Path) -> None:
    keys = {
        "model.backbone.type",
        "model.backbone.pretrained_backbone_path",
        "dataset.classify.image_width",
        "dataset.classify.input_map",
        "dataset.classify.num_golden",
        "dataset.classify.cls",
        "dataset.classify.batch_size",
        "results_dir",
    }
    taken = inherited(folder_parent(trained(results, losses(1))), keys, {"model.backbone.pretrained_backbone_path"})
    assert taken == {
        "model.backbone.type": "c_radio_v2_vit_base_patch16_224",
        "dataset.classify.image_width": 96,
        "dataset.classify.input_map": {"LowAngle": 0, "Side": 1},
    }


def test_a_best_trial_stands_for_its_search(hostile_dir: Path) -> None:
    search = hostile_dir / "search"
    trained(search / "trials" / "3", losses(0.3, 0.1))
    (search / "result.json").write_text('{"best_trial": "trials/3"}', encoding="utf-8")
    assert pick_checkpoint(folder_parent(search)).path.parent == search / "trials" / "3"
    for bad in ("../elsewhere", ".", "trials/4"):
        (search / "result.json").write_text(json.dumps({"best_trial": bad}), encoding="utf-8")
        with pytest.raises(SkillrunError) as caught:
            folder_parent(search)
        assert caught.value.code == "E_PARENT_TRIAL"


PARENT_VALUES = {
    "model.backbone.type": "a",
    "model.classify.eval_margin": 0.3,
    "model.decode_head.in_index": [0, 1],
    "dataset.classify.image_width": 224,
    "dataset.classify.input_map": {"A": 0, "B": 1},
    "dataset.classify.batch_size": 4,
}


def test_what_does_not_fit_the_checkpoint_is_told_field_by_field() -> None:
    asked = {"model.backbone.type": "b", "dataset.classify.input_map": {"A": 0}, "dataset.classify.image_width": 96}
    found = contradictions(PARENT_VALUES, asked)
    assert [item.key for item in found] == sorted(asked)
    assert found[-1].to_json() == {"key": "model.backbone.type", "parent": "a", "asked": "b"}
    with pytest.raises(UsageError, match=r"3 fields do not fit the checkpoint of run-1: ") as caught:
        refuse_contradictions("run-1", PARENT_VALUES, asked)
    assert [line.split() for line in caught.value.details][-1] == ["model.backbone.type", "'a'", "'b'"]
    assert caught.value.code == "E_PARENT_CONTRADICTS"
    assert "model.backbone.type" in caught.value.fix


@pytest.mark.parametrize(
    "asked",
    [
        {"model.classify.eval_margin": 0.5},
        {"dataset.classify.batch_size": 1},
        {"dataset.classify.image_width": 224.0},
        {"model.decode_head.in_index": (0, 1)},
        {"dataset.classify.input_map": {"B": 1, "A": 0}},
        {"dataset.classify.num_input": 4},
        {},
    ],
)
def test_what_the_weights_do_not_depend_on_or_what_is_the_same_may_be_said(asked: dict[str, Any]) -> None:
    assert contradictions(PARENT_VALUES, asked) == []
    refuse_contradictions("run-1", PARENT_VALUES, asked)


def model_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"model")
    return path


def test_every_published_name_has_a_function(results: Path) -> None:
    for name in INFERENCE_FUNCTIONS:
        infer(name, Context(results))
    with pytest.raises(UsageError, match="parent_modle"):
        infer("parent_modle", Context(results))


def test_outputs_are_named_below_the_results_and_nothing_is_made(results: Path) -> None:
    context = Context(results, trial=results / "trial 1")
    assert infer("output_dir", context) == str(results)
    assert infer("automl_output_dir", context) == str(results / "trial 1")
    assert infer("create_onnx_file", context) == str(results / "model.onnx")
    assert infer("create_engine_file", context) == str(results / "model.engine")
    assert not results.exists()
    assert infer("key", context) is None
    assert infer("key", Context(results, encryption_key="k")) == "k"


def test_a_parent_gives_the_kind_of_file_that_the_key_takes(results: Path) -> None:
    trained(results / "train", losses(0.5, 0.2))
    onnx, engine = model_file(results / "export" / "model.onnx"), model_file(results / "gen_trt_engine" / "m.engine")
    parent = folder_parent(results)
    expected = {
        "evaluate.checkpoint": results / "train" / "model_epoch_001_step_00004.pth",
        "gen_trt_engine.onnx_file": onnx,
        "evaluate.trt_engine": engine,
    }
    for key, path in expected.items():
        assert infer("parent_model", Context(results, key, parent)) == str(path)
        assert infer("parent_model_folder", Context(results, key, parent)) == str(path.parent)


def test_an_export_parent_gives_its_onnx_and_its_engine_to_an_evaluation(results: Path) -> None:
    container_status(results, [], "export")
    onnx = model_file(results / "model.onnx")
    context = Context(results, "quantize.model_path", folder_parent(results))
    assert infer("parent_model", context) == infer("parent_model_evaluate", context) == str(onnx)
    engine = model_file(results / "model.engine")
    assert infer("parent_model_evaluate", context) == str(engine)


def test_a_listed_onnx_goes_before_others_and_two_are_refused(results: Path) -> None:
    first, second = model_file(results / "a.onnx"), model_file(results / "b.onnx")
    context = Context(results, "gen_trt_engine.onnx_file", folder_parent(results))
    with pytest.raises(UsageError, match=r"a\.onnx.*b\.onnx") as caught:
        infer("parent_model", context)
    assert caught.value.fix == f"gen_trt_engine.onnx_file={first}"
    (results / "result.json").write_text('{"artifacts": [{"path": "b.onnx", "kind": "onnx"}]}', encoding="utf-8")
    fresh = Context(results, "gen_trt_engine.onnx_file", folder_parent(results))
    assert infer("parent_model", fresh) == str(second)


def test_a_parent_without_the_file_says_what_it_holds(results: Path) -> None:
    context = Context(results, "evaluate.trt_engine", folder_parent(trained(results, losses(1))))
    with pytest.raises(NotFoundError, match=r"no TensorRT engine; it holds .*model_epoch_000_step_00002\.pth"):
        infer("parent_model", context)


def test_staged_weights_stand_in_for_a_parent_that_holds_nothing_but_not_for_a_doubt(results: Path) -> None:
    results.mkdir()
    assert infer("parent_model_or_ptm", Context(results, ptm="/w.pth")) == "/w.pth"
    assert infer("parent_model_or_ptm", Context(results, parent=folder_parent(results), ptm="/w.pth")) == "/w.pth"
    with pytest.raises(NotFoundError):
        infer("parent_model_or_ptm", Context(results, parent=folder_parent(results)))
    for name in ("model_epoch_003_step_00010.pth", "epoch=3-step=10.ckpt"):
        torch_file(results / name)
    with pytest.raises(UsageError):
        infer("parent_model_or_ptm", Context(results, parent=folder_parent(results), ptm="/w.pth"))


def test_resuming_takes_the_newest_whole_checkpoint_of_the_run_itself(results: Path) -> None:
    other = folder_parent(trained(results.with_name("other"), losses(1)))
    fresh = Context(results, parent=other, ptm="/w.pth")
    assert infer("resume_model", fresh) is None
    assert infer("resume_model_bool", fresh) is False
    assert infer("resume_model_or_ptm", fresh) == infer("ptm_if_no_resume_model", fresh) == "/w.pth"
    trained(results / "train", losses(0.1, 0.5))
    (results / "train" / "model_epoch_009_step_00090.pth").write_bytes(b"cut short")
    newest = str(results / "train" / "model_epoch_001_step_00004.pth")
    assert infer("resume_model", fresh) == infer("resume_model_or_ptm", fresh) == newest
    assert infer("resume_model_bool", fresh) is True
    assert infer("ptm_if_no_resume_model", fresh) is None


def test_a_trial_goes_on_from_the_trial_it_was_told_to_else_from_its_own_newest(results: Path) -> None:
    trial, winner = results / "1", results / "2"
    context = Context(results, trial=trial, ptm="/w.pth")
    assert infer("automl_resume_model", context) is None
    assert infer("automl_assign_ptm", context) == infer("automl_ptm_if_no_resume_model", context) == "/w.pth"
    trained(trial, losses(0.1, 0.5, 0.7))
    own = str(trial / "model_epoch_002_step_00006.pth")
    assert infer("automl_resume_model", context) == infer("automl_ptm_if_no_resume_model", context) == own
    assert infer("automl_assign_ptm", context) is None
    assert infer("automl_resume_model_bool", context) is True
    trained(winner, losses(0.3))
    told = Context(results, trial=trial, resume_from=winner)
    assert infer("automl_resume_model", told) == str(winner / "model_epoch_000_step_00002.pth")


def test_a_merged_model_stands_for_its_split_one(results: Path) -> None:
    split = torch_file(results / "safetensors" / "model_epoch_000_step_00002.pth").parent
    parent = folder_parent(split)
    assert infer("parent_model_folder", Context(results, parent=parent)) == str(split)
    (results / "merged").mkdir()
    assert infer("parent_model_folder", Context(results, parent=parent)) == str(split)
    model_file(results / "merged" / "weights")
    assert infer("parent_model_folder", Context(results, parent=parent)) == str(results / "merged")


def test_a_pruned_model_is_found_and_never_taken_for_a_checkpoint(results: Path) -> None:
    pruned = torch_file(results / "pruned_model.pth")
    torch_file(results / "quantized_model_torchao.pth")
    parent = folder_parent(results)
    assert infer("pruned_model", Context(results, parent=parent)) == str(pruned)
    with pytest.raises(NotFoundError):
        infer("parent_model", Context(results, "evaluate.checkpoint", parent))


def evaluation(workspace: Path, **parent: str) -> RunFolder:
    run = RunFolder(workspace / "runs" / "261120-120000-evaluate-aa")
    run.path.mkdir(parents=True)
    run.write_record(run_id=run.run_id, action="evaluate", backend="local", parent={"run_id": "261119-train", **parent})
    run.exit.write_text('{"exit_code": 0}', encoding="utf-8")
    run.result.write_text('{"status": "succeeded", "checkpoints": []}', encoding="utf-8")
    return run


def test_an_evaluation_as_parent_stands_for_the_checkpoint_that_it_read(hostile_dir: Path) -> None:
    file = torch_file(hostile_dir / "model_epoch_003_step_00008.pth")
    run = evaluation(hostile_dir, checkpoint=str(file), reason="best of 4: epoch 3", sha256="ab")
    found = pick_checkpoint(find_parent("last", hostile_dir))
    assert (found.run_id, found.path) == ("261119-train", file)
    assert found.reason == f"the one that {run.run_id} read: best of 4: epoch 3"
    with pytest.raises(NotFoundError, match="lists no checkpoint"):
        pick_checkpoint(find_parent("last", hostile_dir), "epoch=2")


def test_an_evaluation_whose_checkpoint_is_gone_names_the_run_that_had_it(hostile_dir: Path) -> None:
    evaluation(hostile_dir, checkpoint=str(hostile_dir / "gone.pth"), reason="best")
    with pytest.raises(NotFoundError, match=r"\(evaluate\) lists no checkpoint") as caught:
        pick_checkpoint(find_parent("last", hostile_dir))
    assert caught.value.fix == "--parent 261119-train"


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, str, str, list[float | None], set[int]]:
    """(folder name, file pattern, monitor, its number by epoch, epochs whose file is cut short)."""
    folder = draw(st.sampled_from(["best_pcb", "latest_run", "epoch_500_run", "step=9", "ü 1", "train"]))
    pattern = draw(
        st.sampled_from(
            [
                "model_epoch_{0:03}_step_{1:05}.pth",
                "epoch={0}-step={1}.ckpt",
                "MODEL-EPOCH-{0}-STEP-{1}.PTH",
                "best_ep{0}_iter{1}.pt",
            ]
        )
    )
    monitor = draw(st.sampled_from(["val_loss", "val_miou", "val_acc", "val_fpr"]))
    number = st.none() | st.integers(0, 4).map(lambda value: value / 4)
    values = draw(st.lists(number, min_size=1, max_size=7))
    cut = draw(st.sets(st.integers(0, len(values) - 1), max_size=len(values) - 1))
    return folder, pattern, monitor, values, cut


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_any_layout_gives_the_best_by_number_the_last_by_position_and_only_whole_files(
    layout: tuple[str, str, str, list[float | None], set[int]],
) -> None:
    name, pattern, monitor, values, cut = layout
    with TemporaryDirectory() as place:
        folder = Path(place).resolve() / name
        container_status(folder, [{} if value is None else {monitor: value} for value in values])
        (folder / "experiment.yaml").write_text(SPEC.replace("MONITOR", monitor), encoding="utf-8")
        files = {}
        for epoch in range(len(values)):
            files[epoch] = torch_file(folder / pattern.format(epoch, 5 * epoch + 5))
            if epoch in cut:
                files[epoch].write_bytes(b"PK cut short")
        whole = [epoch for epoch in files if epoch not in cut]
        parent = folder_parent(folder)
        assert [entry.path for entry in explain(parent).candidates] == [files[epoch] for epoch in whole]
        assert pick_checkpoint(parent, "last").path == files[whole[-1]]
        assert infer("resume_model", Context(folder)) == str(files[whole[-1]])
        for epoch in whole:
            assert pick_checkpoint(parent, f"epoch={epoch}").path == files[epoch]
            assert pick_checkpoint(parent, f"step={5 * epoch + 5}").path == files[epoch]
        sign = 1 if monitor in ("val_loss", "val_fpr") else -1
        scored = [(sign * value, -epoch) for epoch in whole if (value := values[epoch]) is not None]
        if scored:
            assert pick_checkpoint(parent).path == files[-min(scored)[1]]
        elif len(whole) == 1:
            assert pick_checkpoint(parent).path == files[whole[0]]
        else:
            assert getattr(explain(parent).problem, "code", "") == "E_PARENT_AMBIGUOUS"


@pytest.fixture
def app() -> typer.Typer:
    single = typer.Typer()
    single.command()(parents)
    return single


def test_the_command_shows_the_candidates_the_choice_and_the_next_step(app: typer.Typer, results: Path) -> None:
    trained(results, losses(0.5, 0.2, 0.4))
    said = CliRunner().invoke(app, [str(results)], catch_exceptions=False)
    assert said.exit_code == 0
    for text in ("model_epoch_000_step_00002.pth", "→", "val_loss 0.5", "because best of 3 by val_loss"):
        assert text in said.stdout
    assert "next: skillrun visual_changenet evaluate --parent '" in said.stderr


def test_json_is_one_document_with_the_choice(app: typer.Typer, results: Path) -> None:
    trained(results, losses(0.5, 0.2))
    said = CliRunner().invoke(app, [str(results), "--json", "--pick", "last"], catch_exceptions=False)
    told = json.loads(said.stdout)
    assert told["chosen"]["checkpoint"].endswith("model_epoch_001_step_00004.pth")
    assert [entry["last"] for entry in told["candidates"]] == [False, True]
    assert told["candidates"][0]["metrics"] == {"train_loss": 1.0, "val_loss": 0.5}
    assert told["problem"] is None
    assert told["monitor"] == "val_loss"


def test_a_choice_that_fails_shows_the_candidates_and_ends_with_its_code(app: typer.Typer, results: Path) -> None:
    trained(results, losses(0.5, 0.2))
    said = CliRunner().invoke(app, [str(results), "--json", "--pick", "epoch=9"], catch_exceptions=False)
    assert said.exit_code == NotFoundError.exit_code
    assert json.loads(said.stdout)["problem"]["code"] == "E_PARENT_PICK"
    with pytest.raises(NotFoundError, match="it has epoch=0, epoch=1"):
        CliRunner().invoke(app, [str(results), "--pick", "epoch=9"], catch_exceptions=False)


def test_an_export_is_shown_with_its_files_and_leads_to_the_next_action(app: typer.Typer, results: Path) -> None:
    container_status(results, [], "export")
    model_file(results / "model.onnx")
    said = CliRunner().invoke(app, [str(results)], catch_exceptions=False)
    assert said.exit_code == 0
    assert "model.onnx" in said.stdout
    assert "next: skillrun visual_changenet evaluate --parent" in said.stderr


def test_a_running_parent_is_shown_but_not_taken(hostile_dir: Path) -> None:
    run = RunFolder(hostile_dir / "runs" / "261120-120000-train-aa")
    run.path.mkdir(parents=True)
    run.write_record(backend="local")
    write_atomic(run.supervisor, json.dumps(identity(os.getpid())))
    run.events.touch()
    trained(run.results / "train", losses(0.5, 0.2))
    found = explain(run)
    assert len(found.candidates) == 2
    assert isinstance(found.problem, ConflictError)
