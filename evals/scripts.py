"""Each task as moves of the agent. Names are the ids of ``tasks.yaml``, with underscores."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from agent import Agent, Fields
from door import RefusedError

# Takes the agent and the ids of the runs that were there before.
Script = Callable[[Agent, Mapping[str, str]], None]
BOARDS = {"train_data": "boards/train", "eval_data": "boards/eval"}


def train_approved_plan(agent: Agent, _given: Mapping[str, str]) -> None:
    agent.do(training(), "approved")


def training(*overrides: str) -> Fields:
    """The training that most users here ask for."""
    return {"action": "train", **BOARDS, "spec_file": "quick.yaml", "overrides": list(overrides)}


def evaluate_best_of_last(agent: Agent, _given: Mapping[str, str]) -> None:
    agent.do({"action": "evaluate", "parent": "last", "eval_data": "boards/eval"}, "how good")
    agent.answer["page"] = agent.door.call("get_result", run=agent.answer["run"], report=True)["report"]


def mend_a_wrong_key(agent: Agent, _given: Mapping[str, str]) -> None:
    agent.do(training("num_epochs=1", "train.optim.learning_rte=0.0005"), "with a key")


def mend_a_bad_table(agent: Agent, _given: Mapping[str, str]) -> None:
    found = agent.door.call("check_data", paths=["messy"])
    if not found["ok"]:
        mend_table(agent, "messy/train/dataset.csv", {one["code"] for one in found["findings"]})
    agent.answer["ok"] = str(agent.door.call("check_data", paths=["messy"])["ok"])


def mend_table(agent: Agent, name: str, codes: set[str]) -> None:
    """Save a table of the user's as the fixes of these codes say."""
    path: Path = agent.door.workspace / name
    text = path.read_text(encoding="utf-8-sig" if "E_DATA_CSV_BOM" in codes else "utf-8")
    rows = csv.reader(io.StringIO(text), delimiter=";" if "E_DATA_CSV_DELIMITER" in codes else ",")
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def segment_train(agent: Agent, _given: Mapping[str, str]) -> None:
    fields = {"action": "train", "task": "segment", "train_data": "pairs", "eval_data": "pairs"}
    agent.do({**fields, "spec_file": "quick_segment.yaml"}, "masks")


def export_onnx(agent: Agent, given: Mapping[str, str]) -> None:
    result = agent.do({"action": "export", "parent": given["trained"]}, "onnx")
    agent.answer["flips"] = str(result["metrics"].get("parity_flips"))


def resume_a_training(agent: Agent, given: Mapping[str, str]) -> None:
    agent.do({"action": "train", "resume": given["trained"], "overrides": ["num_epochs=3"]}, "go on")


def stop_a_long_run(agent: Agent, _given: Mapping[str, str]) -> None:
    fields = training("num_epochs=5000")
    run = agent.launch(fields, "long", agent.plan(fields)["plan_hash"])
    while not (told := agent.door.call("wait_run", run=run, timeout_s=2)).get("progress"):
        if told["done"]:
            break
    agent.answer["state"] = agent.door.call("stop_run", run=run)["state"]
    agent.finish(run)
    agent.door.call("list_runs")


def score_new_pictures(agent: Agent, given: Mapping[str, str]) -> None:
    agent.do({"action": "inference", "parent": given["trained"], "infer_data": "boards/eval"}, "score")


def explain_and_mend_a_failure(agent: Agent, given: Mapping[str, str]) -> None:
    agent.door.call("read_log", run=given["failed"])
    told = agent.finish(given["failed"])
    agent.answer["code"] = told["error"]["code"]
    # "lower train.optim.lr": back to what the schema says is usual
    key = told["error"]["fix"].split()[-1]
    usual = agent.door.call("get_schema", action="train", path=key)["keys"][0]["default"]
    agent.do(training("num_epochs=1", f"{key}={usual}"), "again")


def pick_an_epoch(agent: Agent, given: Mapping[str, str]) -> None:
    found = agent.door.call("resolve_parent", run=given["trained"])
    first = min(one["epoch"] for one in found["candidates"])
    agent.do(
        {"action": "evaluate", "parent": given["trained"], "pick": f"epoch={first}", "eval_data": "boards/eval"}, "pick"
    )


def lost_answer(agent: Agent, given: Mapping[str, str]) -> None:
    fields: Fields = {"action": "evaluate", "parent": given["trained"], "eval_data": "boards/eval"}
    agent.launch(fields, "once")  # this answer is lost
    run = agent.launch(fields, "once")
    try:
        agent.launch({**fields, "pick": "last"}, "once")
    except RefusedError as error:
        agent.answer["code"] = error.code
    agent.answer["state"] = agent.finish(run)["state"]


def refuse_one_class(agent: Agent, _given: Mapping[str, str]) -> None:
    found = agent.door.call("check_data", paths=["one_class"])
    if found["ok"] and not found["findings"]:
        agent.do({**training(), "train_data": "one_class/train", "eval_data": "one_class/eval"}, "if fit")
    else:
        agent.answer["code"] = found["findings"][0]["code"]


def engine_without_tensorrt(agent: Agent, given: Mapping[str, str]) -> None:
    fields = {"action": "gen_trt_engine", "parent": given["trained"], "overrides": ["trt_data_type=fp16"]}
    try:
        agent.do(fields, "engine")
    except RefusedError as error:
        agent.answer |= {"code": error.code, "fix": error.fix}


def hand_over_a_search(agent: Agent, _given: Mapping[str, str]) -> None:
    agent.plan(training())  # data, values and host are fit for it
    words = ["skillrun", "visual_changenet", "train", "--automl", "--trials", "3", "--spec", "quick.yaml"]
    agent.answer["command"] = " ".join([*words, "--train-data", "boards/train", "--eval-data", "boards/eval"])


def search_parameters(agent: Agent, _given: Mapping[str, str]) -> None:
    result = agent.do({**training("num_epochs=1"), "search": "2 trials"}, "search")
    agent.answer["checkpoint"] = result["best_checkpoint"]


def look_at_the_host(agent: Agent, _given: Mapping[str, str]) -> None:
    found = agent.door.call("check_host")
    agent.answer |= {"ok": str(found["ok"]), "summary": found["summary"]}


def script(task: str) -> Script:
    """The script of a task, by its id."""
    found: Script = globals()[task.replace("-", "_")]
    return found
