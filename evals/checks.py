"""What assertions of tasks look at: files, records of runs and answers of the command line; never at kind words.

Each check takes the scene and its own arguments, and returns what is wrong; an empty text means that it holds.
"""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from door import Call, Door, skillrun
from workshop import AS_IT_WAS

Check = Callable[..., str]
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Scene:
    """What is there after a task.

    Attributes:
        door: the workspace, and what was asked in it.
        given: ids of the runs that were there before, by name.
        answer: what the agent told, by name.
    """

    door: Door
    given: Mapping[str, str]
    answer: Mapping[str, str]

    def said(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and JSON of a command of skillrun in this workspace."""
        done = skillrun(self.door.workspace, *words)
        return done.returncode, json.loads(done.stdout)

    def new_runs(self, action: str = "") -> list[dict[str, Any]]:
        """The runs that were not given, as the command line lists them."""
        _, told = self.said("runs", "list", "--limit", "50", "--json")
        fresh = [run for run in told["runs"] if run["run"] not in self.given.values()]
        return [run for run in fresh if not action or run["action"] == action]

    def folder(self, action: str) -> Path | None:
        """The folder of the only new run of an action."""
        found = self.new_runs(action)
        return self.door.workspace / "runs" / str(found[0]["run"]) if len(found) == 1 else None

    def record(self, action: str, name: str) -> dict[str, Any]:
        """``plan.json`` or ``result.json`` of that run; empty where there is none."""
        folder = self.folder(action)
        path = folder / name if folder else None
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path and path.is_file() else {}

    def calls(self, tool: str) -> list[Call]:
        """What was asked of a tool."""
        return [call for call in self.door.calls if call.tool == tool]


def check(function: Check) -> Check:
    """Register a check under the name of its function."""
    CHECKS[function.__name__] = function
    return function


@check
def skill_read(scene: Scene, name: str) -> str:
    """That skill was read to its end, and no other."""
    pages = [call for call in scene.calls("read_skills") if call.fields.get("name")]
    read = {call.fields["name"] for call in pages}
    if read != {name}:
        return f"read {', '.join(map(str, sorted(read))) or 'no skill'}, not {name}"
    return "" if pages[-1].answer.get("next_cursor") is None else f"{name} was not read to its end"


@check
def runs(scene: Scene, count: int, action: str = "", state: str = "") -> str:
    """So many new runs, all of that action and in that state; ``count`` counts other actions too."""
    found = [(run["action"], run["state"]) for run in scene.new_runs()]
    wanted = [(action, state)] * count
    return "" if found == wanted else f"new runs are {found}, not {wanted}"


@check
def approved(scene: Scene) -> str:
    """The launch demanded the hash that the plan before it told, and that plan is what ran."""
    told = [call.answer.get("plan_hash") for call in scene.calls("plan_run")]
    asked = [call.fields.get("plan_hash") for call in scene.calls("launch_run") if not call.refused]
    ran = scene.record("train", "plan.json").get("plan_hash")
    return "" if told and ran and asked == [told[-1]] == [ran] else f"shown {told}, demanded {asked}, ran {ran}"


@check
def value(scene: Scene, action: str, key: str, equals: Any) -> str:
    """The spec of the run has that value."""
    folder = scene.folder(action)
    node = yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8")) if folder else {}
    for part in key.split("."):
        node = node.get(part, {}) if isinstance(node, dict) else {}
    return "" if node == equals else f"{key} is {node!r}, not {equals!r}"


@check
def metric(scene: Scene, action: str, name: str, low: float, high: float) -> str:
    """The result has that number, within bounds."""
    found = scene.record(action, "result.json").get("metrics", {}).get(name)
    return "" if found is not None and low <= found <= high else f"{name} is {found}, not in {low}..{high}"


@check
def parent(scene: Scene, action: str, mark: str = "", epoch: int | None = None) -> str:
    """The run started from the checkpoint of the given training that has the mark (best, last), or the epoch."""
    taken = (scene.record(action, "plan.json").get("parent") or {}).get("checkpoint", "")
    trained = scene.door.workspace / "runs" / scene.given["trained"]
    entries = json.loads((trained / "result.json").read_text(encoding="utf-8"))["checkpoints"]
    (wanted,) = [one for one in entries if (one[mark] if mark else one["epoch"] == epoch)]
    same = taken and Path(taken).resolve() == (trained / wanted["path"]).resolve()
    return "" if same else f"took {taken or 'nothing'}, not {wanted['path']}"


@check
def file(scene: Scene, action: str, pattern: str, rows: int | None = None) -> str:
    """Below the run's folder lies a file that is not empty; a table with so many rows."""
    folder = scene.folder(action)
    found = [path for path in sorted(folder.rglob(pattern)) if path.stat().st_size] if folder else []
    if not found:
        return f"no {pattern}"
    if rows is None:
        return ""
    with found[0].open(encoding="utf-8", newline="") as stream:
        count = len(list(csv.DictReader(stream)))
    return "" if count == rows else f"{found[0].name} has {count} rows, not {rows}"


@check
def epochs(scene: Scene, action: str, are: Sequence[int]) -> str:
    """The run trained these epochs, counted from 1."""
    folder = scene.folder(action)
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines() if folder else []
    found = [event["epoch"] for event in map(json.loads, lines) if event["event"] == "epoch"]
    return "" if found == list(are) else f"epochs are {found}, not {list(are)}"


@check
def calls(scene: Scene, tool: str, at_most: int) -> str:
    """The tool was asked, but no more often than that."""
    count = len(scene.calls(tool))
    return "" if 0 < count <= at_most else f"{tool} was asked {count} times"


@check
def order(scene: Scene, tools: Sequence[str]) -> str:
    """These tools answered, each for the first time after the one before it."""
    asked = [call.tool for call in scene.door.calls if not call.refused]
    places = [asked.index(tool) if tool in asked else -1 for tool in tools]
    good = -1 not in places and places == sorted(places)
    return "" if good else f"answered in the order {asked}"


@check
def data_ok(scene: Scene, path: str) -> str:
    """The check of the data set finds no error."""
    code, told = scene.said("data", "check", path, "--json")
    return "" if code == 0 else f"exit {code}: {sorted(told.get('totals') or told.get('error', {}))}"


@check
def same_rows(scene: Scene, path: str) -> str:
    """The table has the rows that it had before it was spoilt."""
    now, before = (scene.door.workspace / name for name in (path, AS_IT_WAS))
    return "" if now.read_bytes() == before.read_bytes() else f"{path} has other rows than before"


@check
def cause(scene: Scene) -> str:
    """The code that was told is the one of the failed run."""
    _, told = scene.said("runs", "show", scene.given["failed"], "--json")
    return _same(scene, "code", told["run"]["error"]["code"])


@check
def reason_of_data(scene: Scene, path: str) -> str:
    """The code that was told is among those that the check of the data finds."""
    _, told = scene.said("data", "check", path, "--json")
    found = {finding["code"] for finding in told["findings"]}
    return "" if scene.answer.get("code") in found else f"told {scene.answer.get('code')}, found {sorted(found)}"


@check
def same_refusal(scene: Scene, command: Sequence[str]) -> str:
    """The command line refuses the same with the code that was told."""
    code, told = scene.said(*(word.format(**scene.given) for word in command))
    return _same(scene, "code", told["error"]["code"]) if code else "the command line does not refuse it"


@check
def told(scene: Scene, name: str) -> str:
    """The answer has that part."""
    return "" if scene.answer.get(name) else f"no {name} was told"


@check
def same_run(scene: Scene) -> str:
    """Two launches at least were answered, all with one run."""
    answered = [call.answer["run_id"] for call in scene.calls("launch_run") if not call.refused]
    return "" if len(answered) > 1 and len(set(answered)) == 1 else f"launches were answered with {answered}"


@check
def refused_once(scene: Scene, code: str) -> str:
    """One launch was refused, with that code."""
    codes = [call.answer["code"] for call in scene.calls("launch_run") if call.refused]
    return "" if codes == [code] else f"refusals were {codes}"


@check
def search_command(scene: Scene) -> str:
    """The command that was told plans a search, when it is typed with --dry-run."""
    words = shlex.split(scene.answer.get("command", ""))
    if words[:1] != ["skillrun"]:
        return f"told {words}"
    code, told = scene.said(*words[1:], "--dry-run", "--json")
    return "" if code == 0 and "study" in told else f"exit {code}: {sorted(told)}"


@check
def searched(scene: Scene, trials: int) -> str:
    """There is one study; it ended with so many trials, and the checkpoint that was told is its best."""
    _, listed = scene.said("automl", "list", "--json")
    states = [study["state"] for study in listed["studies"]]
    if states != ["ended"]:
        return f"studies are {states}"
    _, told = scene.said("automl", "status", "last", "--json")
    code, best = scene.said("automl", "best", "last", "--json")
    if code or len(told["trials"]) != trials:
        return f"it has {len(told['trials'])} trials"
    return _same(scene, "checkpoint", best["checkpoint"])


@check
def demanded(scene: Scene) -> str:
    """The launch demanded the hash that the plan before it told, and was answered with it."""
    told = [call.answer.get("plan_hash") for call in scene.calls("plan_run")]
    asked = [call.fields.get("plan_hash") for call in scene.calls("launch_run") if not call.refused]
    got = [call.answer.get("plan_hash") for call in scene.calls("launch_run") if not call.refused]
    return "" if told and asked == got == [told[-1]] else f"shown {told}, demanded {asked}, answered {got}"


@check
def like_doctor(scene: Scene) -> str:
    """The answer is the one of the doctor."""
    code, _ = scene.said("doctor", "--json")
    return _same(scene, "ok", str(code == 0))


def _same(scene: Scene, name: str, wanted: str) -> str:
    return "" if scene.answer.get(name) == wanted else f"{name} was told as {scene.answer.get(name)}, it is {wanted}"
