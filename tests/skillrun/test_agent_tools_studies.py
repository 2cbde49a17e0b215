"""Searches through the tools: planned, approved, started once, stopped, gone on with, and read like a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from skillrun.agent import studies
from skillrun.agent.dialects import tell
from skillrun.agent.tools import TOOLS, call
from skillrun.automl.search import create
from skillrun.automl.study import StudyFolder, find_study, list_studies
from skillrun.backends.conformance import wait_until
from skillrun.data.synth import synth
from skillrun.errors import BackendError, ConflictError, NotFoundError, UsageError

OUTPUTS = {tool["name"]: tool["outputSchema"] for tool in tell(TOOLS, "mcp")}
TINY = (
    *("pretrained_backbone=", "model.backbone.type=fan_tiny_8_p4_hybrid", "num_epochs=1", "batch_size=4"),
    *("model.decode_head.decoder_params.embed_dim=16", "train.threads=1", "dataset.classify.workers=0"),
    *("dataset.classify.image_width=32", "dataset.classify.image_height=32"),
)


@pytest.fixture
def fields(hostile_dir: Path) -> dict[str, Any]:
    """A search with one trial on a few small boards."""
    boards = hostile_dir / "boards"
    synth(boards, task="classify", pairs=8, seed=1, size=32, force=False)
    data = {"train_data": str(boards / "train"), "eval_data": str(boards / "eval")}
    return {"action": "train", "search": "1 trial", "backend": "local", "overrides": list(TINY), **data}


def ask(root: Path, tool: str, /, **fields: Any) -> dict[str, Any]:
    answer = call(f"skillrun_{tool}", fields, root)
    Draft202012Validator(OUTPUTS[f"skillrun_{tool}"]).validate(answer)
    return answer


def test_a_search_is_approved_started_once_stopped_resumed_and_read(fields: dict[str, Any], workspace: Path) -> None:
    planned = ask(workspace, "plan_run", **fields)
    assert planned["ok"] and any("17 keys" in line for line in planned["review"])
    assert list(list_studies(workspace)) == []
    started = ask(workspace, "launch_run", **fields, key="k", plan_hash=planned["plan_hash"])
    again = ask(workspace, "launch_run", **fields, key="k", plan_hash=planned["plan_hash"])
    study = started["run_id"]
    assert again == started and [one.study_id for one in list_studies(workspace)] == [study]
    assert ask(workspace, "wait_run", run=study, timeout_s=0)["state"] == "running"

    wait_until(lambda: ask(workspace, "wait_run", run=study, timeout_s=0)["progress"]["trials"] >= 1)
    assert [ask(workspace, "stop_run", run=study)["state"] for _ in range(2)] == ["interrupted"] * 2
    told = ask(workspace, "wait_run", run=study)
    assert told["done"] and told["error"]["retryable"] and f"resume={study}" in told["error"]["fix"]

    assert ask(workspace, "launch_run", action="train", resume=study, key="on")["run_id"] == study
    while not (told := ask(workspace, "wait_run", run=study, timeout_s=50))["done"]:
        assert told["state"] == "running"
    assert (told["state"], told["next"], told["progress"]["complete"]) == ("succeeded", "skillrun_get_result", 1)
    result = ask(workspace, "get_result", run=study)
    assert Path(result["best_checkpoint"]).is_file() and Path(result["report"]).is_file()
    assert {"best_val_ap", "best: average_precision"} <= result["metrics"].keys()
    assert ask(workspace, "resolve_parent", run=study)["checkpoint"] == result["best_checkpoint"]
    assert ask(workspace, "list_runs")["runs"][0]["run_id"] == study
    assert ask(workspace, "read_log", run=study)["lines"]
    assert ask(workspace, "stop_run", run=study)["state"] == "succeeded"


def test_another_search_than_the_approved_one_does_not_start(fields: dict[str, Any], workspace: Path) -> None:
    approved = ask(workspace, "plan_run", **fields)["plan_hash"]
    wider = {**fields, "ranges": ["train.optim.lr=1e-6..1e-3:log"], "plan_hash": approved}
    with pytest.raises(ConflictError) as caught:
        ask(workspace, "launch_run", **wider, key="k")
    assert caught.value.code == "E_PLAN_CHANGED" and list(list_studies(workspace)) == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"search": "soon"}, "E_ARG_DURATION"),
        ({"ranges": ["train.optim.lr=-1..1"]}, "E_SEARCH_RANGE"),
        ({"action": "evaluate", "parent": "last"}, "E_ARG_AUTOML"),
    ],
)
def test_what_can_not_be_searched_is_said(
    wrong: dict[str, Any], code: str, fields: dict[str, Any], workspace: Path
) -> None:
    with pytest.raises((UsageError, NotFoundError)) as caught:
        ask(workspace, "launch_run", **{**fields, **wrong}, key="k")
    assert caught.value.code == code and list(list_studies(workspace)) == []


def planned_study(fields: dict[str, Any], root: Path) -> StudyFolder:
    given = next(tool for tool in TOOLS if tool.name == "skillrun_plan_run").read(fields)
    return create(studies.design(given, root))  # type: ignore[arg-type]


def test_a_search_that_can_not_begin_says_why(fields: dict[str, Any], workspace: Path) -> None:
    study = planned_study(fields, workspace)
    raw = json.loads(study.record.read_text(encoding="utf-8"))
    raw["space"]["hash"] = "edited"
    study.record.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(BackendError) as caught:
        ask(workspace, "launch_run", action="train", resume=study.study_id, key="on")
    assert caught.value.code == "E_STUDY_NOT_DRIVEN" and "did not begin" in caught.value.message
    assert find_study(study.study_id, workspace).state() == "interrupted"


def test_a_search_that_another_host_drives_is_not_stopped_from_here(fields: dict[str, Any], workspace: Path) -> None:
    study = planned_study(fields, workspace)
    with study.driving():
        study.driver_lock.write_text("pid 1 on line3", encoding="utf-8")
        with pytest.raises(BackendError) as caught:
            ask(workspace, "stop_run", run=study.study_id)
    assert caught.value.code == "E_STUDY_NOT_STOPPED" and "line3" in caught.value.message


def test_a_study_that_another_version_wrote_is_listed_as_such(fields: dict[str, Any], workspace: Path) -> None:
    study = planned_study(fields, workspace)
    study.record.write_text('{"schema_version": 99}', encoding="utf-8")
    (listed,) = ask(workspace, "list_runs")["runs"]
    assert (listed["run_id"], listed["state"]) == (study.study_id, "unreadable")
