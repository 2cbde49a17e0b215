"""Model cards: counted from what runs left, silent about what nobody measured, safe from any name."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from skillrun.card import FILE, MARK, make_card, write_card
from skillrun.card.markdown import bullets, code, escaped, plain, table
from skillrun.cli.card import card as card_command
from skillrun.errors import ConflictError, RunFailedError, UsageError
from skillrun.inspection import calibrate, parse_rule, read_outcomes, write_threshold
from skillrun.runfolder import RunFolder

HEAD = "input_path,golden_path,label,object_name"
SCORES = (("PASS", 0.1), ("PASS", 0.2), ("PASS", 0.6), ("short", 0.9), ("short", 0.4), ("open", 0.8))
MODEL = {"backbone": {"type": "fan_tiny_8_p4_hybrid"}, "classify": {"difference_module": "learnable"}}
HOSTILE = ("a|b", "<script>alert(1)</script>", "`code`", "[x](http://evil)", "# *x* _y_ \\|", "\u202eevil", "é😀")


def write_rows(path: Path, head: str, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([head.split(","), *rows])


class Workspace:
    """Runs as they lie on a disk when they have ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self._number = 0

    def dataset(self, name: str, labels: Sequence[str]) -> Path:
        path = self.data / name / "dataset.csv"
        path.parent.mkdir(parents=True)
        write_rows(path, HEAD, [("t", "g", label, i) for i, label in enumerate(labels)])
        return path

    def run(
        self,
        action: str,
        *,
        spec: dict[str, Any],
        result: dict[str, Any] | None = None,
        parent: dict[str, Any] | None = None,
        task: str = "classify",
        status: str = "succeeded",
        plan: dict[str, Any] | None = None,
    ) -> RunFolder:
        self._number += 1
        run = RunFolder(self.root / "runs" / f"261121-0000{self._number:02d}-{action}-abcd")
        run.results.mkdir(parents=True)
        run.write_record(
            run_id=run.run_id, action=action, task=task, backend="local", parent=parent, plan_hash="ab" * 32
        )
        run.spec.write_text(yaml.safe_dump({"task": task, **spec}), encoding="utf-8")
        run.plan.write_text(json.dumps(plan or {}), encoding="utf-8")
        environment = {"device": "cpu", "threads": 2, "python": "3.11"}
        told = {"status": status, "task": task, "environment": environment, **(result or {})}
        run.result.write_text(json.dumps(told), encoding="utf-8")
        ended = {"succeeded": 0, "cancelled": 130}.get(status, 1)
        run.exit.write_text(json.dumps({"exit_code": ended}), encoding="utf-8")
        return run

    def train(self, labels: Sequence[str] = ("PASS", "PASS", "short"), **more: Any) -> RunFolder:
        sets = {
            "train_dataset": {"csv_path": str(self.dataset("train", labels))},
            "validation_dataset": {"csv_path": str(self.dataset("val", labels))},
        }
        data = {"classify": {**sets, "image_width": 64, "image_height": 48, "num_input": 1}}
        run = self.run("train", spec={"model": MODEL, "dataset": data}, **more)
        model = run.results / "model_epoch_001_step_00002.pth"
        model.write_bytes(b"weights")
        digest = hashlib.sha256(b"weights").hexdigest()
        entry = {"path": f"results/{model.name}", "best": True, "last": True, "sha256": digest}
        told = json.loads(run.result.read_text(encoding="utf-8")) | {"checkpoints": [entry]}
        run.result.write_text(json.dumps(told), encoding="utf-8")
        return run

    def parent(self, run: RunFolder, file: str = "results/model_epoch_001_step_00002.pth") -> dict[str, Any]:
        digest = hashlib.sha256((run.path / file).read_bytes()).hexdigest()
        return {"run_id": run.run_id, "checkpoint": str(run.path / file), "sha256": digest}

    def evaluate(
        self,
        parent: dict[str, Any],
        scores: Sequence[tuple[str, float]] = SCORES,
        *,
        csv_path: Path | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> RunFolder:
        test = csv_path or self.dataset(f"test{self._number}", [label for label, _ in scores])
        spec = {
            "dataset": {"classify": {"test_dataset": {"csv_path": str(test)}, "batch_size": 8}},
            "evaluate": {"checkpoint": parent["checkpoint"]},
        }
        result = {
            "metrics": {"margin": 0.5, **(metrics or {})},
            "artifacts": [{"path": "results/evaluate.csv", "kind": "table"}],
        }
        run = self.run("evaluate", spec=spec, result=result, parent=parent)
        rows = [("t", "g", label, i, score) for i, (label, score) in enumerate(scores)]
        write_rows(run.results / "evaluate.csv", f"{HEAD},siamese_score", rows)
        return run

    def export(self, parent: dict[str, Any]) -> RunFolder:
        artifacts = [{"path": "results/model.onnx", "kind": "onnx"}, {"path": "results/parity.json", "kind": "parity"}]
        run = self.run("export", spec={}, result={"artifacts": artifacts, "metrics": {}}, parent=parent)
        (run.results / "model.onnx").write_bytes(b"graph")
        report = {"sha256": hashlib.sha256(b"graph").hexdigest()}
        (run.results / "parity.json").write_text(json.dumps(report), encoding="utf-8")
        return run


@pytest.fixture
def place(hostile_dir: Path) -> Workspace:
    return Workspace(hostile_dir)


def text_of(run: RunFolder, place: Workspace) -> str:
    return make_card(run, place.root).text


def test_precision_recall_and_rates_are_counted_from_the_scored_pairs(place: Workspace) -> None:
    made = make_card(place.evaluate(place.parent(place.train())), place.root)
    numbers = made.numbers["measures"]
    assert (numbers["pairs"], numbers["margin"], numbers["accuracy"]) == (6, 0.5, pytest.approx(4 / 6))
    assert numbers["classes"]["NO_PASS"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "iou": 0.5}
    )
    assert (numbers["escape"]["count"], numbers["escape"]["total"], numbers["overkill"]["count"]) == (1, 3, 1)
    assert "| escape | 33.3% | 1 of 3 | 6.15% to 79.2% | 333333 |" in made.text
    assert "| short | 1 of 2 | 0.5000 |" in made.text


def test_the_header_is_read_by_the_hubs_own_library(place: Workspace) -> None:
    read = ModelCard(text_of(place.evaluate(place.parent(place.train())), place))
    results = {one.metric_name: one.metric_value for one in read.data.eval_results or []}
    assert read.data.pipeline_tag == "image-classification"
    assert results["recall of NO_PASS"] == pytest.approx(2 / 3, abs=1e-5)
    assert results["escape rate"] == pytest.approx(1 / 3, abs=1e-5)
    assert read.data.license is None


def test_a_training_shows_its_newest_evaluation_and_its_data(place: Workspace) -> None:
    training = place.train()
    place.evaluate(place.parent(training))
    newest = place.evaluate(place.parent(training), SCORES[:5])
    made = make_card(training, place.root)
    assert (made.numbers["evaluation"], made.numbers["measures"]["pairs"]) == (newest.run_id, 5)
    assert made.numbers["data"][0]["labels"] == {"PASS": 2, "short": 1}
    for words in ("`fan_tiny_8_p4_hybrid`", "64 x 48 pixels", "| PASS | 2 | 2 |", made.numbers["model"]["sha256"]):
        assert words in made.text


def test_the_chosen_margin_decides_and_is_said_to_be_chosen_on_these_pairs(place: Workspace) -> None:
    run = place.evaluate(place.parent(place.train()))
    write_threshold(run, calibrate(run, read_outcomes(run), parse_rule("", "", "escape=50,overkill=1")))
    made = make_card(run, place.root)
    assert made.numbers["measures"]["escape"]["count"] == 0
    assert "chosen by `cost escape=50,overkill=1`" in made.text
    assert "The margin was chosen on the same pairs" in made.text


def test_a_training_that_nobody_evaluated_has_no_numbers_and_says_how_to_get_them(place: Workspace) -> None:
    training = place.train()
    made = make_card(training, place.root)
    assert (made.numbers["evaluation"], made.numbers["measures"]) == (None, None)
    assert "No evaluation was found" in made.text
    assert f"evaluate --parent {training.run_id}" in made.text
    assert "Not measured." in made.text
    assert "## Quality" not in made.text
    assert ModelCard(made.text).data.eval_results is None


def test_an_exported_model_without_an_evaluation_of_its_own_says_what_was_measured(place: Workspace) -> None:
    training = place.train()
    place.evaluate(place.parent(training))
    exported = place.export(place.parent(training))
    made = make_card(exported, place.root)
    assert not made.numbers["measured_on_this_file"]
    assert "measured on the checkpoint that this model was made from, not on its own file" in made.text
    own = place.evaluate({**place.parent(exported, "results/model.onnx"), "sha256": None})
    made = make_card(exported, place.root)
    assert (made.numbers["measured_on_this_file"], made.numbers["evaluation"]) == (True, own.run_id)
    assert made.numbers["model"]["sha256"] == hashlib.sha256(b"graph").hexdigest()
    assert make_card(training, place.root).numbers["evaluation"] != own.run_id


def test_a_file_that_changed_since_it_was_measured_is_told(place: Workspace) -> None:
    training = place.train()
    run = place.evaluate(place.parent(training))
    assert "is not what was recorded" not in text_of(run, place)
    (training.results / "model_epoch_001_step_00002.pth").write_bytes(b"other")
    assert "is not what was recorded" in text_of(run, place)


def test_a_test_set_that_chose_the_checkpoint_or_trained_it_is_told(place: Workspace) -> None:
    parent = place.parent(place.train())
    chosen = place.evaluate(parent, csv_path=place.data / "val" / "dataset.csv")
    trained = place.evaluate(parent, csv_path=place.data / "train" / "dataset.csv")
    other = place.evaluate(parent)
    words = ("The checkpoint was chosen on the same pairs", "was tested on the pairs that it was trained on")
    assert [[word in text_of(run, place) for word in words] for run in (chosen, trained, other)] == [
        [True, False],
        [False, True],
        [False, False],
    ]
    assert "The test table has 3 rows now; 6 were scored" in text_of(chosen, place)


def test_a_rate_of_zero_and_small_classes_are_put_in_their_place(place: Workspace) -> None:
    text = text_of(place.evaluate(place.parent(place.train()), [("PASS", 0.1), ("short", 0.9)]), place)
    assert "1 times a defect without an error prove a rate below 79.35%, not zero" in text
    assert "Fewer than 30 pairs, too few to compare: short (1)." in text


def test_broken_neighbours_are_passed_over(place: Workspace) -> None:
    training = place.train()
    evaluation = place.evaluate(place.parent(training))
    for file, content in (("run.json", "[1"), ("result.json", ""), ("spec.yaml", "a: [")):
        broken = place.run("evaluate", spec={})
        (broken.path / file).write_text(content, encoding="utf-8")
    assert make_card(training, place.root).numbers["evaluation"] == evaluation.run_id


def test_an_evaluation_of_a_checkpoint_by_path_finds_the_training_that_the_file_lies_in(place: Workspace) -> None:
    training = place.train()
    run = place.evaluate(place.parent(training))
    run.write_record(parent=None)
    assert make_card(run, place.root).numbers["training"] == training.run_id
    assert make_card(training, place.root).numbers["evaluation"] is None


def test_data_that_is_gone_is_said_to_be_gone(place: Workspace) -> None:
    run = place.evaluate(place.parent(place.train()))
    for name in ("train", "val"):
        (place.data / name / "dataset.csv").unlink()
    assert "not readable here any more" in text_of(run, place)


@pytest.mark.parametrize("device", ["weights", "file", "none"])
def test_the_licence_of_weights_is_never_invented(place: Workspace, device: str) -> None:
    plan = {
        "source": "hf://nvidia/C-RADIOv2-B/model.safetensors",
        "revision": "c" * 40,
        "sha256": "d" * 64,
        "path": "/w",
    }
    training = place.train(plan={"weights": plan} if device == "weights" else {})
    if device == "file":
        spec = yaml.safe_load(training.spec.read_text(encoding="utf-8"))
        spec["model"] = {"backbone": {"type": "x", "pretrained_backbone_path": "/weights/mine.pth"}}
        training.spec.write_text(yaml.safe_dump(spec), encoding="utf-8")
    made = make_card(training, place.root)
    read = ModelCard(made.text).data
    assert ("unknown: ask the owner of the weights" in made.text) is (device != "none")
    assert read.license == (None if device == "none" else "unknown")
    assert read.base_model == (["nvidia/C-RADIOv2-B"] if device == "weights" else None)
    assert ("`" + "d" * 64 + "`" in made.text) is (device == "weights")


def test_speeds_are_shown_with_what_they_cover(place: Workspace) -> None:
    training = place.train()
    whole = place.evaluate(place.parent(training))
    event = {"event": "progress", "phase": "evaluate", "pairs_per_s": 120.0}
    whole.events.write_text(json.dumps(event) + "\n", encoding="utf-8")
    speed = {"latency_batch": 4.0, "latency_p50_ms": 20.0, "latency_p95_ms": 25.0, "pairs_per_s": 190.0}
    exported = place.export(place.parent(training))
    place.evaluate(place.parent(exported, "results/model.onnx"), metrics=speed)
    times = {"latency_p50_ms_batch1_after": 8.0, "latency_p95_ms_batch1_after": 9.0}
    place.run("quantize", spec={}, result={"metrics": times}, parent=place.parent(training))
    text = text_of(training, place)
    assert "| checkpoint, PyTorch | cpu, 2 threads | 8 | 120.0 | – | – | the whole evaluation" in text
    assert "| ONNX | cpu, 2 threads | 4 | 190.0 | 20.00 | 25.00 | the model alone, arrays to arrays |" in text
    assert "| after quantisation | cpu, 2 threads | 1 | – | 8.00 | 9.00 | the model alone |" in text


def test_masks_have_scores_per_class_and_rates_of_whole_pictures(place: Workspace) -> None:
    (place.root / "lists").mkdir()
    (place.root / "lists" / "test.txt").write_text("a.png\nb.png\nc.png\n", encoding="utf-8")
    metrics = {"test_acc": 0.99, "test_miou": 0.8, "test_mf1": 0.85, "test_mprecision": 0.9, "test_mrecall": 0.82}
    metrics |= {f"test_{name}_{i}": 0.6 + i / 10 for name in ("iou", "F1", "precision", "recall") for i in (0, 1)}
    spec = {"root_dir": str(place.root), "list_folder_name": "lists", "test_split": "test", "img_size": 128}
    artifacts = [{"path": "results/predictions.csv", "kind": "table"}]
    result = {"metrics": metrics, "artifacts": artifacts}
    run = place.run("segment_evaluate", task="segment", spec={"dataset": {"segment": spec}}, result=result)
    rows = "path,label,decision\na,CHANGE,NO_CHANGE\nb,CHANGE,CHANGE\nc,NO_CHANGE,NO_CHANGE\n"
    (run.results / "predictions.csv").write_text(rows, encoding="utf-8")
    made = make_card(run, place.root)
    assert made.numbers["measures"]["classes"]["change"]["iou"] == pytest.approx(0.7)
    assert (made.numbers["measures"]["escape"]["count"], made.numbers["measures"]["escape"]["total"]) == (1, 2)
    assert "| mean | 0.9000 | 0.8200 | 0.8500 | 0.8000 |" in made.text
    assert "No training run is known" in made.text
    assert "128 x 128 pixels" in made.text
    assert made.numbers["data"][0]["pairs"] == 3
    assert ModelCard(made.text).data.pipeline_tag == "image-segmentation"


def test_runs_without_a_model_and_runs_that_failed_are_refused(place: Workspace) -> None:
    training = place.train()
    inference = place.run("inference", spec={}, parent=place.parent(training))
    with pytest.raises(UsageError) as caught:
        make_card(inference, place.root)
    assert (caught.value.code, caught.value.fix) == ("E_CARD_RUN", f"skillrun card {training.run_id}")
    with pytest.raises(RunFailedError):
        make_card(place.run("export", spec={}, status="failed"), place.root)


def test_a_training_that_was_stopped_has_a_card_that_says_so(place: Workspace) -> None:
    assert "did not end by itself: cancelled" in text_of(place.train(status="cancelled"), place)


def cells(text: str) -> list[list[str]]:
    """What a reader sees of the rows of all tables; fails where anything but our marks is a structure."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    rows: list[list[str]] = []
    for index, token in enumerate(tokens):
        assert token.type != "html_block" or MARK in token.content
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "code_inline", "strong_open", "strong_close", "softbreak", "text_special"}, kinds
            if tokens[index - 1].type in ("td_open", "th_open"):
                rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def test_no_label_changes_the_structure_of_a_card(place: Workspace) -> None:
    training = place.train([*HOSTILE, "PASS"])
    run = place.evaluate(place.parent(training), [("PASS", 0.1), *((label, 0.9) for label in HOSTILE)])
    text = text_of(run, place).partition("\n---\n")[2]
    rows = cells(text)
    for label in HOSTILE:
        assert [plain(label), "1", "1"] in rows, label
    assert "<script" not in text
    assert "\u202e" not in text


@given(st.text(max_size=60))
def test_escaped_text_is_read_as_it_was(text: str) -> None:
    rows = cells("\n".join(table(("name",), [(f"x{escaped(text)}x",), (f"x{code(text)}x",)])))
    assert rows[1] == [f"x{plain(text)}x"]
    assert rows[2][0].replace(" ", "") == f"x{plain(text)}x".replace(" ", ""), "code may lose blanks at its ends"
    assert cells("\n".join(bullets([f"x{escaped(text)}"]))) == []


def test_long_names_are_cut() -> None:
    assert len(plain("x" * 5000)) == 160


def test_an_earlier_card_is_replaced_and_no_other_file_is(place: Workspace) -> None:
    made = make_card(place.train(), place.root)
    path = place.root / "new" / "card.md"
    write_card(made, path)
    write_card(made, path)
    assert path.read_text(encoding="utf-8") == made.text
    other = place.root / "README.md"
    other.write_text("mine", encoding="utf-8")
    for target, kind in ((other, ConflictError), (place.root, UsageError)):
        with pytest.raises(kind):
            write_card(made, target)
    assert other.read_text(encoding="utf-8") == "mine"


def test_the_command_writes_into_the_run_folder_and_answers_with_the_numbers(place: Workspace) -> None:
    app = typer.Typer()
    app.command()(card_command)
    run = place.evaluate(place.parent(place.train()))
    answer = CliRunner().invoke(app, [run.run_id, "--workspace", str(place.root), "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert Path(told["path"]) == run.path / FILE
    assert told["measures"]["escape"]["total"] == 3
    assert (run.path / FILE).read_text(encoding="utf-8").startswith("---\n")
    out = place.root / "out" / "card.md"
    answer = CliRunner().invoke(app, [str(run.path), "--out", str(out)])
    assert (answer.exit_code, answer.stdout) == (0, f"{out}\n")
    assert answer.stderr == f"quality: measured by {run.run_id}\n"
