"""``--check``, ``--fix``, ``--waive`` and ``--sarif`` as a user types them, on real data."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from skillrun.data.synth import synth

SMALL = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    *("dataset.classify.image_width=32", "dataset.classify.image_height=32", "batch_size=4", "num_epochs=1"),
    *("dataset.classify.workers=0", "train.threads=1", "model.decode_head.decoder_params.embed_dim=16"),
)


@pytest.fixture
def train(workspace: Path) -> tuple[str | Path, ...]:
    """A training on a small data set with names that are hard to quote."""
    boards = workspace / "my boards, ü"
    synth(boards, pairs=12, size=32, seed=3)
    sets = ("--train-data", boards / "train", "--eval-data", boards / "eval")
    return ("visual_changenet", "train", "--no-automl", *SMALL, *sets)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def codes(document: dict[str, Any], severity: str = "error") -> set[str]:
    return {finding["code"] for finding in document["findings"] if finding["severity"] == severity}


def test_a_sound_request_passes_and_starts_nothing(skillrun, workspace: Path, train) -> None:
    before = files_of(workspace)
    result = skillrun(*train, "--check")
    assert result.returncode == 0, result.stderr
    assert "ok: " in result.stderr
    assert "nothing was started" in result.stderr
    assert files_of(workspace) == before


def test_all_errors_are_shown_at_once_each_with_an_override(skillrun, workspace: Path, train) -> None:
    before = files_of(workspace)
    wrong = (
        *("batch_size=1", "model.classify.difference_module=euclidean", "dataset.classify.image_width=70"),
        *("train.checkpoint_interval=9", "dataset.classify.image_ext=.jpg"),
    )
    result = skillrun(*train, *wrong, "--check", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == 2
    assert document["complete"] is True
    assert codes(document) == {
        *("E_RULE_CLASSIFY_BATCH", "E_RULE_CE_NEEDS_LEARNABLE", "E_MODEL_SIZE", "E_DATA_IMAGE_EXT"),
    }
    assert "W_RULE_CHECKPOINT_INTERVAL" in codes(document, "warning")
    assert files_of(workspace) == before
    mends = [text for one in document["findings"] if one["severity"] == "error" for text in shlex.split(one["fix"])]
    again = skillrun(*train, *wrong, *dict.fromkeys(mends), "--check", "--json")
    assert again.returncode == 0, again.stdout


def test_words_that_no_spec_can_take_are_all_told_and_the_rest_is_looked_at(skillrun, workspace: Path, train) -> None:
    before = files_of(workspace)
    wrong = ("num_epohcs=3", "train.optim.learning_rte=1", "train.optim.lr=banana", "dataset.classify.image_ext=.jpg")
    result = skillrun(*train, *wrong, "--check", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == 2
    assert document["complete"] is True
    told = [one["message"] for one in document["findings"] if one["code"].startswith("E_SPEC_")]
    assert len(told) == 3 and all(any(word.partition("=")[0] in text for text in told) for word in wrong[:3])
    assert "E_DATA_IMAGE_EXT" in codes(document)
    assert files_of(workspace) == before


def test_the_table_names_code_place_and_fix_and_is_short(skillrun, train) -> None:
    result = skillrun(*train, "dataset.classify.image_ext=.jpg", "--check")
    assert result.returncode == 7
    assert "E_DATA_IMAGE_EXT" in result.stdout
    assert "dataset.classify.image_ext=.png" in result.stdout
    assert "more: --json" in result.stdout
    assert "would be refused" in result.stderr


def test_a_column_without_a_word_is_left_out_and_one_error_is_counted_as_one(skillrun, train) -> None:
    result = skillrun(*train, "dataset.classify.batch_size=1", "--check")
    head = next(line for line in result.stdout.splitlines() if "code" in line)
    assert head.split() == ["code", "severity", "message", "fix"]
    assert "would be refused: 1 error" in result.stderr and "1 errors" not in result.stderr


def test_where_no_plan_can_be_made_the_check_says_so(skillrun, train) -> None:
    result = skillrun("visual_changenet", "evaluate", *train[-2:], "--check", "--json")
    document = json.loads(result.stdout)
    assert (result.returncode, document["complete"], codes(document)) == (2, False, {"E_SPEC_REQUIRED"})


def test_sarif_has_the_shape_of_its_standard(skillrun, workspace: Path, train) -> None:
    result = skillrun(*train, "dataset.classify.image_ext=.jpg", "batch_size=1", "--sarif", "-")
    assert result.returncode == 2
    document = json.loads(result.stdout)
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(ids)) == len(ids)
    for found in run["results"]:
        assert ids[found["ruleIndex"]] == found["ruleId"]
        assert found["level"] in ("error", "warning")
        assert found["message"]["text"]
        for place in found.get("locations", []):
            uri = place["physicalLocation"]["artifactLocation"]["uri"]
            assert uri.startswith("file:///")
            assert " " not in uri
            assert place["physicalLocation"].get("region", {"startLine": 1})["startLine"] >= 1
    skillrun(*train, "--check", "--sarif", "findings.sarif")
    assert json.loads((workspace / "findings.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"


def test_an_error_refuses_the_launch_as_well(skillrun, workspace: Path, train) -> None:
    before = files_of(workspace)
    result = skillrun(*train, "dataset.classify.image_width=70")
    assert result.returncode == 2
    assert "error[E_MODEL_SIZE]: " in result.stderr
    assert "dataset.classify.image_width=80" in result.stderr
    assert files_of(workspace) == before


def test_fix_with_check_says_what_it_would_change_and_looks_again(skillrun, workspace: Path, train) -> None:
    before = files_of(workspace)
    result = skillrun(*train, "dataset.classify.image_ext=.jpg", "batch_size=1", "--check", "--fix")
    assert result.returncode == 0, result.stderr
    assert "would fix: dataset.classify.image_ext=.png  (E_DATA_IMAGE_EXT)" in result.stderr
    assert "would fix: dataset.classify.batch_size=2  (E_RULE_CLASSIFY_BATCH)" in result.stderr
    assert files_of(workspace) == before


def test_fix_mends_the_request_and_shows_it_in_the_plan(skillrun, train) -> None:
    result = skillrun(*train, "dataset.classify.image_ext=.jpg", "batch_size=1", "--fix", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    assert "fixed: dataset.classify.batch_size=2" in result.stderr
    spec = json.loads(result.stdout)["plan"]["spec_text"]
    assert "image_ext: .png" in spec
    assert "batch_size: 2" in spec


def test_a_waived_error_starts_a_run_and_stands_in_its_plan(skillrun, workspace: Path, train) -> None:
    csv = workspace / "my boards, ü" / "train" / "dataset.csv"
    first = csv.read_text(encoding="utf-8").splitlines()[1].split(",")
    first[2] = "PASS" if first[2] != "PASS" else "bridge"
    csv.write_text(csv.read_text(encoding="utf-8") + ",".join(first) + "\n", encoding="utf-8")
    refused = skillrun(*train)
    assert (refused.returncode, "E_DATA_LABEL_CONFLICT" in refused.stderr) == (7, True)
    checked = skillrun(*train, "--check", "--json", "--waive", "E_DATA_LABEL_CONFLICT")
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["waived"] == ["E_DATA_LABEL_CONFLICT"]
    result = skillrun(*train, "--waive", "E_DATA_LABEL_CONFLICT", "--detach", "--json")
    assert result.returncode == 0, result.stderr
    assert "waived: E_DATA_LABEL_CONFLICT" in result.stderr
    run = json.loads(result.stdout)
    plan = json.loads((Path(run["run_dir"]) / "plan.json").read_text(encoding="utf-8"))
    assert plan["waived"] == ["E_DATA_LABEL_CONFLICT"]
    skillrun("runs", "stop", run["run_id"])


def test_an_unknown_or_needed_code_can_not_be_waived(skillrun, train) -> None:
    unknown = skillrun(*train, "--waive", "E_DATA_LABEL_CONFLCT", "--check")
    assert unknown.returncode == 2
    assert "--waive E_DATA_LABEL_CONFLICT" in unknown.stderr
    needed = skillrun(*train, "--waive", "E_DATA_IMAGE_MISSING", "--dry-run")
    assert needed.returncode == 2
    assert needed.stderr.startswith("error[E_WAIVE_REFUSED]: ")


def test_pictures_that_are_trained_on_and_measured_on_are_found(skillrun, train) -> None:
    folder = train[train.index("--train-data") + 1]
    result = skillrun(*train, "--eval-data", folder.parent / "eval", "--check", "--json")
    assert "W_DATA_LEAK" not in codes(json.loads(result.stdout), "warning")
    inside = folder / "images" / "test"
    outside = folder.parent / "eval" / "images" / "test"
    first = sorted(inside.rglob("*.png"))[0]
    sorted(outside.rglob("*.png"))[0].write_bytes(first.read_bytes())
    result = skillrun(*train, "--check", "--json")
    assert result.returncode == 0
    assert "W_DATA_LEAK" in codes(json.loads(result.stdout), "warning")
