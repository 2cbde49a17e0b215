"""The page of a run and its machine copy, from run folders written in the layout that the containers leave."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skillrun.errors import DataError, NotFoundError, UsageError
from skillrun.inspection import Outcome, Rate
from skillrun.report import charts, compare, write
from skillrun.report.compare import paired_interval
from skillrun.report.spread import MOST_PAIRS, areas, intervals
from skillrun.report.sweep import sweep, thinned
from skillrun.runfolder import RunFolder, find_run

HOSTILE = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "a\u202egnp.exe", "🙂" * 3, "x" * 300]
Row = tuple[str, str, float]


def classify_run(root: Path, rows: Sequence[Row], name: str = "r-evaluate-1", margin: float = 0.3) -> RunFolder:
    """An evaluation of (object, label, score); pictures exist for names that a file can have."""
    run, images = root / "runs" / name, root / "images"
    table = run / "results" / "evaluate" / "evaluate.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_path", "golden_path", "label", "object_name", "siamese_score", "predicted"])
        for name_, label, score in rows:
            writer.writerow(["t", "g", label, name_, score, "NO_PASS" if score > margin else "PASS"])
    for folder, shade in (("t", 200), ("g", 60)):
        (images / folder).mkdir(parents=True, exist_ok=True)
        for name_, _, _ in rows[:8]:
            if "/" not in name_ and len(name_) < 200:
                Image.new("RGB", (20, 20), (shade, 90, 30)).save(images / folder / f"{name_}.png")
    place = {"csv_path": str(root / "none.csv"), "images_dir": str(images)}
    spec = {"task": "classify", "dataset": {"classify": {"test_dataset": place, "image_ext": ".png"}}}
    artifacts = [{"path": "results/evaluate/evaluate.csv", "kind": "table"}]
    return finish(run, "evaluate", "classify", spec, {"margin": margin}, artifacts)


def finish(
    run: Path, action: str, task: str, spec: dict[str, Any], metrics: dict[str, Any], artifacts: list[dict[str, str]]
) -> RunFolder:
    run.mkdir(parents=True, exist_ok=True)
    record = {"run_id": run.name, "model": "visual_changenet", "action": action, "task": task, "backend": "local"}
    result = {"status": "succeeded", "action": action, "task": task, "metrics": metrics, "artifacts": artifacts}
    for file, value in (("run", record), ("result", result), ("plan", {}), ("spec", spec)):
        ending = "yaml" if file == "spec" else "json"
        (run / f"{file}.{ending}").write_text(json.dumps(value), encoding="utf-8")
    return RunFolder(run)


def segment_run(root: Path, *, masks: bool) -> RunFolder:
    run = root / "runs" / "r-segment_evaluate-1"
    table = run / "results" / "evaluate" / "predictions.csv"
    table.parent.mkdir(parents=True)
    table.write_text(
        "path,label,score,decision,iou,changed_share,predicted_share\n"
        "a.png,CHANGE,0.9,CHANGE,0.8,0.1,0.1\nb.png,CHANGE,0.2,NO_CHANGE,0,0.1,0\nc.png,NO_CHANGE,0.1,NO_CHANGE,1,0,0\n",
        encoding="utf-8",
    )
    for folder in ("A", "B", "label"):
        (root / "data" / folder).mkdir(parents=True)
        for name in "abc":
            Image.new("L", (24, 24), 255 if folder == "label" else 40).save(root / "data" / folder / f"{name}.png")
    artifacts = [{"path": "results/evaluate/predictions.csv", "kind": "table"}]
    if masks:
        (table.parent / "masks").mkdir()
        for name in "abc":
            Image.new("L", (24, 24), 255).save(table.parent / "masks" / f"{name}.png")
        artifacts.append({"path": "results/evaluate/masks", "kind": "pictures"})
    spec = {"dataset": {"segment": {"root_dir": str(root / "data")}}}
    metrics = {"test_miou": 0.9, "test_acc": 0.99, "test_iou_0": 0.99, "test_iou_1": 0.8, "test_F1_0": 1.0}
    metrics |= {"test_objects_small": 4.0, "test_object_recall_small": 0.75, "test_objects_large": 0.0}
    return finish(run, "segment_evaluate", "segment", spec, metrics, artifacts)


def page_of(run: RunFolder) -> tuple[str, dict[str, Any]]:
    written = write(run)
    assert json.loads(written.json.read_text(encoding="utf-8")) == json.loads(json.dumps(written.numbers))
    return written.page.read_text(encoding="utf-8"), written.numbers


def test_a_report_tells_escapes_and_overkill_with_their_intervals_misses_first(hostile_dir: Path) -> None:
    rows = [("a", "short", 0.9), ("b", "short", 0.1), ("c", "PASS", 0.7), ("d", "PASS", 0.2), ("e", "open", 0.05)]
    page, numbers = page_of(classify_run(hostile_dir, rows))
    assert numbers["classify"]["escape"] == Rate(2, 3).to_json()
    assert numbers["classify"]["overkill"] == Rate(1, 2).to_json()
    assert numbers["classify"]["confusion"] == {
        "defect_called": 1,
        "defect_passed": 2,
        "good_called": 1,
        "good_passed": 1,
    }
    assert re.findall(r'data-outcome="([a-z-]+)"', page)[:3] == ["escape", "escape", "false-call"]
    assert "66.7 %" in page and "666\u202f667 ppm" in page
    assert page.count("data:image/jpeg;base64,") == 15


def test_nothing_a_user_typed_becomes_markup_or_ends_a_script(tmp_path: Path) -> None:
    rows = [(name, name, 0.5 + index / 10) for index, name in enumerate(HOSTILE)] + [("ok", "PASS", 0.1)]
    page, _ = page_of(classify_run(tmp_path, rows))
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "onerror=alert(1)>" not in page and "&lt;script&gt;" in page
    assert '<bdi class="name">a\u202egnp.exe</bdi>' in page
    assert "default-src 'none'" in page and "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "PASS", 0.1)], "escapes are unknown"),
        ([("a", "short", 0.9), ("b", "short", 0.8)], "overkill is unknown"),
        ([("a", "short", 0.9), ("b", "PASS", 0.1)], "None of 1 defect escaped"),
        ([("a", "short", 0.3), ("b", "PASS", 0.3)], "1 of 1 defect escaped"),
    ],
)
def test_one_class_one_pair_and_no_error_give_a_sensible_page(tmp_path: Path, rows: list[Row], words: str) -> None:
    page, _ = page_of(classify_run(tmp_path, rows))
    assert words in " ".join(page.split()) and "nan" not in page.lower().split("<body>")[1].split("<script>")[0]


def test_a_hundred_thousand_pairs_stay_below_five_megabytes(tmp_path: Path) -> None:
    rows = [(f"o{i}", "short" if i % 3 == 0 else "PASS", ((i * 7919) % 100_003) / 100_003) for i in range(100_000)]
    run = classify_run(tmp_path, rows)
    page, numbers = page_of(run)
    assert (run.path / "report.html").stat().st_size < 5_000_000
    assert not numbers["classify"]["sweep"]["exact"] and len(numbers["classify"]["sweep"]["rows"]) <= 1502
    assert "of 100\u202f000 pairs" in page


def test_a_sweep_counts_ties_once_and_its_thinned_rows_stay_true(tmp_path: Path) -> None:
    from skillrun.inspection import read_outcomes

    rows = [(str(i), "short" if i % 2 else "PASS", (i % 50) / 50) for i in range(200)]
    outcomes = read_outcomes(classify_run(tmp_path, rows))
    full = sweep(outcomes.pairs)
    assert len(full.rows) == 51
    for row in thinned(full, 0.3, limit=10).rows:
        assert (row.escapes, row.false_calls) == (
            outcomes.escapes(row.margin).count,
            outcomes.overkill(row.margin).count,
        )
    perfect = sweep(read_outcomes(classify_run(tmp_path, [("a", "x", 0.9), ("b", "PASS", 0.1)], "r-evaluate-2")).pairs)
    assert (perfect.auroc(), perfect.average_precision()) == (1.0, 1.0)


def test_a_csv_that_leads_out_of_its_folder_shows_no_picture_from_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    page, _ = page_of(classify_run(tmp_path, [("../../secret", "short", 0.9)]))
    assert "data:image" not in page and "not where the run read them" in page


def test_gates_are_claimed_only_where_a_threshold_was_chosen(tmp_path: Path) -> None:
    from skillrun.inspection import calibrate, parse_rule, read_outcomes, write_threshold

    run = classify_run(tmp_path, [("a", "short", 0.2), ("b", "short", 0.9), ("c", "PASS", 0.1)])
    assert page_of(run)[1]["gates"] == []
    write_threshold(run, calibrate(run, read_outcomes(run), parse_rule("1%", "", "")))
    page, numbers = page_of(run)
    assert [(gate["which"], gate["passed"], gate["proven"]) for gate in numbers["gates"]] == [
        ("in use", False, False),
        ("chosen", True, False),
    ]
    assert "<b>FAIL</b>" in page and "not proven" in page


@pytest.mark.parametrize("masks", [True, False])
def test_a_segment_report_does_with_and_without_masks(tmp_path: Path, masks: bool) -> None:
    page, numbers = page_of(segment_run(tmp_path, masks=masks))
    assert numbers["segment"]["escape"] == Rate(1, 2).to_json()
    assert ('id="overlay"' in page) is masks and "Changes found" in page
    assert 'id="slider"' not in page
    assert [one["size"] for one in numbers["segment"]["sizes"]] == ["small"] and "3/4" in page


def test_a_training_shows_its_course_and_an_export_its_parity(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r-train-1"
    training = finish(run, "train", "classify", {}, {}, [])
    events = [
        {"event": "epoch", "epoch": n, "metrics": {"train_loss": 1 / n, "val_ap": 0.9}, "lr": 1e-3} for n in (1, 2)
    ]
    training.events.write_text("".join(json.dumps(one) + "\n" for one in events) + '{"event": "epoch", "metr', "utf-8")
    page, numbers = page_of(training)
    assert numbers["training"]["loss"] == {"train_loss": [1.0, 0.5]} and page.count("<polyline") == 3
    batch = {"batch": 1, "score_max_abs": 1e-7, "score_mean_abs": 1e-8, "output_max_rel": 1e-6, "flips": 0.0}
    export = finish(tmp_path / "runs" / "r-export-1", "export", "classify", {}, {}, [{"path": "parity.json"}])
    told = {"passed": True, "tolerance": 1e-3, "pairs": 7, "source": "x", "provider": "cpu", "batches": [batch]}
    (export.path / "parity.json").write_text(json.dumps(told), encoding="utf-8")
    assert "decides as the checkpoint does" in page_of(export)[0]


def test_a_run_that_left_nothing_says_what_to_name_instead(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        write(finish(tmp_path / "runs" / "r-train-1", "train", "classify", {}, {}, []))
    assert caught.value.code == "E_REPORT_EMPTY" and not (tmp_path / "runs/r-train-1/report.html").exists()


def test_a_comparison_names_flips_both_ways_and_other_data(tmp_path: Path) -> None:
    before = classify_run(tmp_path, [("a", "x", 0.1), ("b", "PASS", 0.1), ("c", "x", 0.9), ("only", "x", 0.9)])
    after = classify_run(tmp_path, [("a", "x", 0.8), ("b", "PASS", 0.9), ("c", "x", 0.9)], "r-evaluate-2")
    written = compare(before, after)
    numbers, page = written.numbers, written.page.read_text(encoding="utf-8")
    assert numbers["flips"] == {"mended": 1, "broken": 1} and numbers["common"] == 3 and not numbers["same_data"]
    assert "Not the same data." in page and page.index("t/b" if "t/b" in page else "PASS") < len(page)
    escape = next(one for one in numbers["metrics"] if one["name"] == "escape")
    assert escape["difference"] == -0.5 and escape["low"] < -0.5 < escape["high"]
    with pytest.raises(DataError):
        compare(classify_run(tmp_path, [("z", "x", 0.1)], "r-evaluate-3"), after)


def test_a_comparison_of_two_segment_runs_tells_the_mean_iou_and_refuses_another_task(tmp_path: Path) -> None:
    one, other = segment_run(tmp_path / "one", masks=True), segment_run(tmp_path / "other", masks=False)
    iou = next(told for told in compare(one, other).numbers["metrics"] if told["name"] == "iou")
    assert iou["difference"] == 0 and iou["before"] == iou["after"]
    with pytest.raises(UsageError) as caught:
        compare(one, classify_run(tmp_path, [("a", "x", 0.9)]))
    assert caught.value.code == "E_COMPARE_TASK"


def test_the_interval_of_a_difference_spans_zero_where_nothing_flipped() -> None:
    low, high = paired_interval(0, 0, 100)
    assert low == pytest.approx(-high) and 0 < high < 0.03
    assert paired_interval(0, 40, 100)[0] > 0


def test_the_command_writes_both_files_and_takes_either_spelling(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from skillrun.cli.report import report

    run = classify_run(workspace, [("a", "x", 0.9), ("b", "PASS", 0.1)])
    classify_run(workspace, [("a", "x", 0.2), ("b", "PASS", 0.1)], "r-evaluate-2")
    report([run.run_id])
    said = capsys.readouterr()
    assert said.out.strip() == str(run.path / "report.html") and "next: skillrun report" in said.err
    report(["compare", "r-evaluate-1", "r-evaluate-2"], json=True)
    assert json.loads(capsys.readouterr().out)["report"]["flips"] == {"mended": 0, "broken": 1}
    assert find_run("r-evaluate-2", workspace).path.joinpath("compare-r-evaluate-1.html").is_file()
    with pytest.raises(UsageError):
        report(["compare", "r-evaluate-1"])


def scored(*, defects: Sequence[float], good: Sequence[float]) -> list[Outcome]:
    return [*(Outcome("short", score) for score in defects), *(Outcome("PASS", score) for score in good)]


def test_areas_of_counts_are_those_of_the_sweep() -> None:
    pairs = scored(defects=[0.9, 0.7, 0.7, 0.2], good=[0.7, 0.3, 0.2, 0.1, 0.1])
    ranks = {score: rank for rank, score in enumerate(sorted({pair.score for pair in pairs}, reverse=True))}
    counts = [Counter(ranks[pair.score] for pair in pairs if pair.defect is side) for side in (True, False)]
    full = sweep(pairs)
    assert areas(*counts) == pytest.approx((full.auroc(), full.average_precision()))


def test_intervals_hold_the_measured_value_narrow_with_more_pairs_and_repeat() -> None:
    few = scored(defects=[0.9, 0.6, 0.4, 0.3] * 5, good=[0.5, 0.35, 0.2, 0.1] * 5)
    many = few * 10
    widths = []
    for pairs in (few, many):
        found, full = intervals(pairs), sweep(pairs)
        assert found is not None and found == intervals(pairs[::-1])
        for name, value in (("auroc", full.auroc()), ("average_precision", full.average_precision())):
            low, high = found[name]
            assert value is not None and 0 <= low < value < high <= 1
        widths.append(found["auroc"][1] - found["auroc"][0])
    assert widths[1] < widths[0] / 2


def test_no_interval_is_claimed_for_one_pair_of_a_class_or_more_pairs_than_are_drawn_again(tmp_path: Path) -> None:
    assert intervals(scored(defects=[0.9], good=[0.1, 0.2])) is None
    assert intervals(scored(defects=[0.9, 0.8] * MOST_PAIRS, good=[0.1, 0.2])) is None
    run = classify_run(tmp_path, [("a", "x", 0.9), ("b", "PASS", 0.1), ("c", "PASS", 0.2)])
    assert "without an interval: too few pairs of a class" in write(run).page.read_text(encoding="utf-8")


def test_labels_of_a_chart_fit_left_of_its_axis() -> None:
    """13 px letters of the widest of the page's fonts take at most 8.3 px a digit and 12.4 a percent sign."""
    assert charts.LEFT - 6 > 4 * 8.3 + 4.2 + 12.4, "98.75%"
