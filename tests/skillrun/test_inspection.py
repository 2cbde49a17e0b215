"""Outcomes of an evaluation and the rates counted from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skillrun.errors import NotFoundError
from skillrun.inspection import Rate, read_outcomes
from skillrun.runfolder import RunFolder

TABLE = """input_path,golden_path,label,object_name,siamese_score,predicted
test,golden,PASS,a,0.1,PASS
test,golden,pass,b,0.7,NO_PASS
test,golden,short,c,0.9,NO_PASS
test,golden,open,d,0.2,PASS
"""


def evaluation(folder: Path, *, task: str = "classify") -> RunFolder:
    table = folder / "results" / "evaluate" / "evaluate.csv"
    table.parent.mkdir(parents=True)
    table.write_text(TABLE, encoding="utf-8")
    artifacts = [{"path": "results/evaluate/evaluate.csv", "kind": "table"}]
    result = {"task": task, "metrics": {"margin": 0.3}, "artifacts": artifacts}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return RunFolder(folder)


def test_outcomes_count_escapes_and_overkill_at_the_evaluations_margin_and_at_others(tmp_path: Path) -> None:
    outcomes = read_outcomes(evaluation(tmp_path / "run"))
    assert (outcomes.escapes(), outcomes.overkill()) == (Rate(1, 2), Rate(1, 2))
    assert (outcomes.escapes(0.1), outcomes.overkill(0.8)) == (Rate(0, 2), Rate(0, 2))
    assert outcomes.pairs[2].cells == {
        "input_path": "test",
        "golden_path": "golden",
        "label": "short",
        "object_name": "c",
    }


def test_a_run_without_scored_pairs_is_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "run")
    for table in run.path.rglob("evaluate.csv"):
        table.unlink()
    with pytest.raises(NotFoundError) as caught:
        read_outcomes(run)
    assert caught.value.code == "E_EVALUATION_MISSING"
    assert "evaluate --parent run" in caught.value.fix


def test_a_segment_run_is_told_to_have_no_margin_and_is_not_sent_to_evaluate_again(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="segment run") as caught:
        read_outcomes(evaluation(tmp_path / "run", task="segment"))
    assert caught.value.fix == "skillrun report run"


def test_the_interval_of_a_rate_is_wilsons() -> None:
    # Worked example, 10 of 100 at 95 %: centre and width of the score interval.
    assert Rate(10, 100).interval() == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert Rate(0, 50).interval() == pytest.approx((0.0, 0.0713), abs=1e-4)
    assert Rate(50, 50).interval() == pytest.approx((0.9287, 1.0), abs=1e-4)
    assert Rate(0, 0).interval() == (0.0, 1.0)
    assert Rate(0, 0).value is None
