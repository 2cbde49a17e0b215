"""Choosing a margin on scored pairs: rules, ties, intervals, refusals, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from skillrun.errors import DataError, NotFoundError, UsageError
from skillrun.inspection import (
    Outcome,
    Outcomes,
    Rate,
    calibrate,
    evaluation_of,
    needed_to_prove,
    parse_rule,
    parse_share,
    read_outcomes,
    read_threshold,
    write_threshold,
)
from skillrun.inspection.margins import best_gap, margin_in, margin_interval
from skillrun.inspection.rules import Rule
from skillrun.inspection.threshold import FILE
from skillrun.runfolder import RunFolder

GOOD = [0.05, 0.1, 0.1, 0.2, 0.6]
DEFECTS = [0.15, 0.5, 0.7, 0.9]


def outcomes(good: list[float], defects: list[float]) -> Outcomes:
    pairs = [*(Outcome("PASS", score) for score in good), *(Outcome("open", score) for score in defects)]
    return Outcomes(pairs, 0.3, Path("evaluate.csv"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "261121-000000-evaluate-aa")
    folder.path.mkdir()
    folder.write_record(action="evaluate", task="classify")
    return folder


@pytest.mark.parametrize("text", ["0.1%", "0.001", ".001", "1e-3", "1000ppm", " 0.1 % ", "1000 ppm"])
def test_shares_are_read_alike_however_they_are_written(text: str) -> None:
    assert parse_share(text, "--max-escape") == pytest.approx(0.001)


@pytest.mark.parametrize("text", ["", "-1%", "101%", "1.5", "1/1000", "nan", "0.1%%", "1e9ppm"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_share(text, "--max-escape")
    assert caught.value.code == "E_ARG_SHARE"


@pytest.mark.parametrize(
    "cost", ["escape=50", "escape=50,overkill=0", "escape=50,escape=1", "a", "escape=1,overkill=x"]
)
def test_prices_that_are_not_two_above_zero_are_refused(cost: str) -> None:
    with pytest.raises(UsageError, match="two prices") as caught:
        parse_rule("", "", cost)
    assert caught.value.code == "E_ARG_COST"


@pytest.mark.parametrize("given", [("", "", ""), ("1%", "1%", ""), ("1%", "", "escape=1,overkill=1")])
def test_exactly_one_rule_is_asked_for(given: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rule(*given)
    assert caught.value.code == "E_THRESHOLD_RULE"


@pytest.mark.parametrize(
    ("rule", "gap"),
    [
        (("25%", "", ""), (0.2, 0.5)),  # one escape allowed: the fewest false calls, of those the fewest escapes
        (("24%", "", ""), (0.1, 0.15)),
        (("50%", "", ""), (0.6, 0.7)),
        (("", "20%", ""), (0.2, 0.5)),
        (("", "0", ""), (0.6, 0.7)),
        (("", "", "escape=1,overkill=1"), (0.1, 0.15)),  # as dear as (0.2, 0.5) and (0.6, 0.7): the fewest escapes
        (("", "", "escape=50,overkill=1"), (0.1, 0.15)),
        (("", "", "escape=1,overkill=50"), (0.6, 0.7)),
    ],
)
def test_a_rule_prefers_the_margin_that_was_worked_out_by_hand(
    rule: tuple[str, str, str], gap: tuple[float, float]
) -> None:
    assert best_gap(DEFECTS, GOOD, parse_rule(*rule)) == gap


@pytest.mark.parametrize("seed", range(20))
def test_no_other_margin_is_better(seed: int) -> None:
    chance = random.Random(seed)
    good, defects = ([chance.randrange(12) / 12 for _ in range(15)] for _ in range(2))
    rule = [Rule("max-escape", "", 0.4), Rule("max-overkill", "", 0.3), Rule("cost", "", escape=3, overkill=1)][
        seed % 3
    ]
    gap = best_gap(defects, good, rule)
    tried = outcomes(good, defects)
    levels = sorted({*good, *defects})
    ranks = {
        margin: rank
        for margin in levels[:-1]
        if (rank := rule.rank(tried.escapes(margin).count, tried.overkill(margin).count, 15, 15)) is not None
    }
    assert (gap is None) == (not ranks)
    if gap is not None:
        assert ranks[gap[0]] == min(ranks.values())
        assert list(ranks.values()).count(min(ranks.values())) == 1, "no tie is left to chance"


@pytest.mark.parametrize(
    ("low", "high", "margin"), [(0.2, 0.5, 0.3), (0.1, 0.15, 0.12), (0.123456, 0.123458, 0.123457), (1.0, 9.0, 5.0)]
)
def test_a_margin_has_few_digits_and_lies_in_the_middle_half_of_its_gap(low: float, high: float, margin: float) -> None:
    assert margin_in(low, high) == margin


def test_neighbouring_float32_scores_are_still_told_apart() -> None:
    low, high = 0.5, 0.5000000596046448
    assert low < margin_in(low, high) < high


def test_the_interval_of_the_margin_is_the_same_every_time_and_narrows_with_more_pairs() -> None:
    rule, widths = Rule("max-escape", "", 0.05), []
    for count in (30, 600):
        chance = random.Random(3)
        good = [chance.gauss(0.3, 0.1) for _ in range(count)]
        defects = [chance.gauss(0.7, 0.1) for _ in range(count)]
        found = margin_interval(defects, good, rule)
        assert found == margin_interval(defects, good, rule)
        assert found is not None
        widths.append(found[1] - found[0])
    assert widths[1] < 0.7 * widths[0]


def test_a_limit_is_proven_by_the_upper_end_and_the_number_that_is_told_proves_it() -> None:
    assert not Rate(0, 100).within(0.01)
    for limit in (0.1, 0.01, 0.001):
        needed = needed_to_prove(limit)
        assert needed is not None
        assert Rate(0, needed).within(limit)
        assert not Rate(0, needed - 1).within(limit)
    assert needed_to_prove(0) is None


def test_a_chosen_margin_is_kept_and_read_back(run: RunFolder) -> None:
    chosen = calibrate(run, outcomes(GOOD, DEFECTS), parse_rule("25%", "", ""))
    assert (chosen.margin, chosen.escape, chosen.overkill) == (0.3, Rate(1, 4), Rate(1, 5))
    assert chosen.interval[0] <= chosen.margin <= chosen.interval[1]
    assert (chosen.rule, chosen.pairs, chosen.run_id) == ("max-escape 25%", 9, run.run_id)
    assert read_threshold(run) is None
    assert write_threshold(run, chosen) == run.path / FILE
    assert read_threshold(run) == chosen
    assert json.loads((run.path / FILE).read_text(encoding="utf-8"))["escape"]["count"] == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"margin": 0.1}', '{"margin": "x", "interval": [1]}'])
def test_a_broken_file_is_named_and_never_taken_for_no_threshold(text: str, run: RunFolder) -> None:
    (run.path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_threshold(run)
    assert caught.value.code == "E_THRESHOLD_FILE"
    assert str(run.path / FILE) in caught.value.message


@pytest.mark.parametrize(("good", "defects", "word"), [(GOOD, [], "a defect"), ([], DEFECTS, "labelled PASS")])
def test_one_class_alone_is_refused(good: list[float], defects: list[float], word: str, run: RunFolder) -> None:
    with pytest.raises(DataError) as caught:
        calibrate(run, outcomes(good, defects), parse_rule("1%", "", ""))
    assert caught.value.code == "E_THRESHOLD_CLASS_MISSING"
    assert word in caught.value.message


def test_a_limit_out_of_reach_says_what_is_reachable_and_that_is_then_accepted(run: RunFolder) -> None:
    good, defects = [0.3, 0.4, 0.9], [0.1, 0.5, 0.6]
    for rule in (("10%", "", ""), ("", "10%", "")):
        with pytest.raises(DataError) as caught:
            calibrate(run, outcomes(good, defects), parse_rule(*rule))
        assert caught.value.code == "E_THRESHOLD_UNREACHABLE"
        offered = caught.value.fix.rpartition(" ")[2]
        assert offered == "33.3334%"
        accepted = calibrate(run, outcomes(good, defects), parse_rule(*(offered if text else "" for text in rule)))
        assert f"{accepted.escape.count} of 3 escapes" in caught.value.message


def test_equal_scores_have_no_margin(run: RunFolder) -> None:
    with pytest.raises(DataError, match="are equal: no margin"):
        calibrate(run, outcomes([0.4, 0.4], [0.4]), parse_rule("1%", "", ""))


def test_the_model_is_known_by_its_recorded_digest_else_by_the_file_unless_it_changed_since(run: RunFolder) -> None:
    model = run.path / "model.pth"
    model.write_bytes(b"weights")
    run.spec.write_text(f"evaluate: {{checkpoint: {model}}}\n", encoding="utf-8")
    pairs, rule = outcomes(GOOD, DEFECTS), parse_rule("25%", "", "")
    run.write_record(parent={"run_id": "t", "checkpoint": str(model), "sha256": "aa"})
    assert calibrate(run, pairs, rule).sha256 == "aa"
    run.write_record(parent={"run_id": "t", "checkpoint": "/other.pth", "sha256": "aa"})
    run.result.write_text('{"started": "2099-01-01T00:00:00+00:00"}', encoding="utf-8")
    assert calibrate(run, pairs, rule).sha256 == hashlib.sha256(b"weights").hexdigest()
    run.result.write_text('{"started": "2001-01-01T00:00:00+00:00"}', encoding="utf-8")
    assert calibrate(run, pairs, rule).sha256 == "", "the file is younger than the evaluation"


def test_a_training_stands_for_its_newest_evaluation_that_succeeded(tmp_path: Path) -> None:
    def lay(name: str, action: str, *, status: str = "succeeded") -> RunFolder:
        made = RunFolder(tmp_path / "runs" / name)
        made.path.mkdir(parents=True)
        made.write_record(action=action, parent={"run_id": "1-train"} if action == "evaluate" else None)
        made.result.write_text(json.dumps({"status": status}), encoding="utf-8")
        return made

    training = lay("1-train", "train")
    with pytest.raises(NotFoundError, match="without an evaluation"):
        evaluation_of(training, tmp_path)
    lay("2-evaluate", "evaluate")
    wanted = lay("3-evaluate", "evaluate")
    lay("4-evaluate", "evaluate", status="failed")
    lay("5-train", "train")
    assert evaluation_of(training, tmp_path) == wanted
    assert evaluation_of(training, tmp_path / "elsewhere") == wanted
    assert evaluation_of(wanted, tmp_path) == wanted


@pytest.mark.parametrize("cell", ["", "nan", "inf", "high"])
def test_a_score_that_is_no_number_is_named_with_its_line(cell: str, run: RunFolder) -> None:
    table = run.path / "evaluate.csv"
    table.write_text(f"label,siamese_score\nPASS,0.1\nopen,{cell}\n", encoding="utf-8")
    run.result.write_text('{"artifacts": [{"path": "evaluate.csv"}]}', encoding="utf-8")
    with pytest.raises(DataError, match="line 3") as caught:
        read_outcomes(run)
    assert caught.value.code == "E_EVALUATION_TABLE"
